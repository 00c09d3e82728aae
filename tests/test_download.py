"""A download is whole or not there, and never hangs: against a server on this machine."""

import hashlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from voice2face_gan import download as module
from voice2face_gan.download import download
from voice2face_gan.errors import DownloadError, OutputError

CONTENT = bytes(range(256)) * 4000  # 1 MB
DIGEST = hashlib.sha256(CONTENT).hexdigest()[:8]
MOST = 2_000_000


@pytest.fixture
def place(tmp_path):
    return tmp_path / "hub" / "checkpoints" / "weights.pth"


@pytest.fixture
def fetch(file_server, place):
    """Function (*paths, other arguments of `download`): downloads from the server's paths to `place`."""

    def call(*paths, **options):
        addresses = [path if "://" in path else file_server.url(path) for path in paths]
        given = {"digest": DIGEST, "max_bytes": MOST, "connect_timeout": 5, "stall_timeout": 5} | options
        return download(addresses, place, **given)

    return call


def nothing_at(place) -> bool:
    return not place.parent.exists() or not list(place.parent.iterdir())


def test_a_file_and_what_is_said_of_it(file_server, fetch, place):
    file_server.answers["/w"] = CONTENT
    said, done = [], []
    fetch("/w", begin=lambda *what: said.append(what), progress=done.append)
    assert place.read_bytes() == CONTENT and list(place.parent.iterdir()) == [place]
    assert said == [(file_server.host, len(CONTENT))]
    assert done == sorted(done) and done[-1] == len(CONTENT) and len(done) > 1
    assert place.stat().st_mode & 0o044  # others may read it as far as the umask lets them


def test_a_file_whose_length_is_not_said(file_server, fetch, place):
    def answer(handler):
        handler.begin()
        handler.wfile.write(CONTENT)

    file_server.answers["/w"] = answer
    said = []
    fetch("/w", begin=lambda *what: said.append(what))
    assert place.read_bytes() == CONTENT and said == [(file_server.host, None)]


def test_a_redirection_is_followed(file_server, fetch, place):
    def answer(handler):
        handler.send_response(302)
        handler.send_header("Location", file_server.url("/w"))
        handler.end_headers()

    file_server.answers |= {"/here": answer, "/w": CONTENT}
    fetch("/here")
    assert place.read_bytes() == CONTENT and file_server.asked == ["/here", "/w"]


def test_what_is_not_the_file_is_not_kept(file_server, fetch, place):
    def page(handler):  # as a hotel's network answers everything
        handler.begin()
        handler.wfile.write(b"<html>log in</html>")

    def cut_off(handler):
        handler.begin(len(CONTENT))
        handler.wfile.write(CONTENT[:-1])

    def endless(handler):
        handler.begin()
        while True:
            handler.wfile.write(CONTENT)

    def reset(handler):
        handler.begin(len(CONTENT))
        handler.wfile.write(CONTENT[:1000])
        handler.wfile.flush()
        linger = (1).to_bytes(4, sys.byteorder) + bytes(4)  # closing sends a reset
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        handler.connection.close()

    for answer, words in (
        (page, rf"sent another file \(19 bytes, SHA-256 [0-9a-f]{{8}}, not {DIGEST}\)"),
        (CONTENT[:-1] + b"x", "sent another file"),
        (cut_off, "broke off after 1,023,999 of 1,024,000 bytes"),
        (bytes(MOST + 1), "offers 2,000,001 bytes, which is not the file"),
        (endless, "sent more than 2,000,000 bytes"),
        (reset, "broke off"),
        (b"", "sent another file"),
    ):
        file_server.answers["/w"] = answer
        with pytest.raises(DownloadError, match=words):
            fetch("/w")
        assert nothing_at(place), words


def test_a_file_that_was_there_stays_when_the_new_one_is_wrong(file_server, fetch, place):
    place.parent.mkdir(parents=True)
    place.write_bytes(b"mine")
    file_server.answers["/w"] = b"wrong"
    with pytest.raises(DownloadError):
        fetch("/w")
    assert place.read_bytes() == b"mine" and list(place.parent.iterdir()) == [place]


def test_the_second_source_is_tried(file_server, fetch, place):
    file_server.answers |= {"/damaged": CONTENT[:10], "/w": CONTENT}
    fetch("/none", "/damaged", "/w")
    assert place.read_bytes() == CONTENT and file_server.asked == ["/none", "/damaged", "/w"]
    place.unlink()
    with pytest.raises(DownloadError) as caught:
        fetch("/none", "/damaged")
    text = str(caught.value)
    assert "answers 404 Not Found; " in text and "sent another file" in text and "\n" not in text
    assert nothing_at(place)


def test_a_host_that_is_not_reached_is_asked_once(fetch, place, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{free.getsockname()[1]}"
    opened = []
    own = module._open
    monkeypatch.setattr(module, "_open", lambda address, *more: opened.append(address) or own(address, *more))
    with pytest.raises(DownloadError) as caught:
        fetch(f"http://{closed}/a", f"http://{closed}/b")
    assert str(caught.value) == f"{closed} cannot be reached: Connection refused" and len(opened) == 1
    assert nothing_at(place)


def test_no_network_is_said_within_the_limit(fetch, monkeypatch):
    """A name that nobody answers for, a machine that lets packets fall, one that never says hello in TLS, and
    one that takes the question and no more."""
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(10))
        start = time.monotonic()
        with pytest.raises(DownloadError, match="somewhere.invalid does not answer"):
            fetch("https://somewhere.invalid/w", "https://somewhere.invalid/v", connect_timeout=0.3)
        assert time.monotonic() - start < 3
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        start = time.monotonic()
        for address in (f"https://{host}/w", f"http://{host}/w"):
            with pytest.raises(DownloadError, match=f"{host} does not answer"):
                fetch(address, connect_timeout=0.3, stall_timeout=0.3)
        assert time.monotonic() - start < 5


@pytest.mark.parametrize("trickles", [False, True])
def test_a_transfer_that_stalls_is_given_up(file_server, fetch, place, trickles):
    over = threading.Event()

    def answer(handler):
        handler.begin(len(CONTENT))
        handler.wfile.write(CONTENT[:1000])
        while not over.wait(0.02):
            if trickles:
                handler.wfile.write(b"x")

    file_server.answers["/w"] = answer
    start = time.monotonic()
    try:
        with pytest.raises(DownloadError, match="stalled"):
            fetch("/w", stall_timeout=0.4)
    finally:
        over.set()
    assert time.monotonic() - start < 5 and nothing_at(place)


def test_a_slow_transfer_that_goes_on_is_not(file_server, fetch, place):
    def answer(handler):
        handler.begin(len(CONTENT))
        for i in range(0, len(CONTENT), 1 << 17):
            handler.wfile.write(CONTENT[i : i + (1 << 17)])
            time.sleep(0.2)

    file_server.answers["/w"] = answer
    fetch("/w", stall_timeout=1.2)  # shorter than the whole
    assert place.read_bytes() == CONTENT


def test_a_full_disk(file_server, fetch, place, full_disk):
    file_server.answers["/w"] = CONTENT
    with (
        full_disk(300_000),
        pytest.raises(OutputError, match=r"weights.pth cannot be written \(File too large"),
    ):
        fetch("/w", "/w")
    assert nothing_at(place) and file_server.asked == ["/w"]  # another source would not help


def test_a_folder_that_cannot_be(file_server, fetch, place, tmp_path):
    file_server.answers["/w"] = CONTENT
    (tmp_path / "hub").write_text("a file")
    with pytest.raises(OutputError, match="cannot be written"):
        fetch("/w")


@pytest.mark.parametrize("name", ["V2F_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_asks_nobody(file_server, fetch, monkeypatch, name):
    file_server.answers["/w"] = CONTENT
    for value in ("1", "true", "YES"):
        monkeypatch.setenv(name, value)
        with pytest.raises(DownloadError, match=f"^{name} is set$"):
            fetch("/w")
    assert not file_server.asked
    monkeypatch.setenv(name, "0")
    fetch("/w")


def test_proxies_are_asked(file_server, fetch, place, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://user:secret@{file_server.host}")
    monkeypatch.setenv("https_proxy", f"http://user:secret@{file_server.host}")
    file_server.answers["http://weights.invalid/w"] = CONTENT
    fetch("http://weights.invalid/w")
    assert place.read_bytes() == CONTENT and file_server.asked == ["http://weights.invalid/w"]
    place.unlink()
    with pytest.raises(DownloadError, match="weights.invalid, through the proxy of https_proxy,") as caught:
        fetch("https://weights.invalid/w")
    assert "502" in str(caught.value) and "secret" not in str(caught.value)
    assert file_server.asked[1:] == ["CONNECT weights.invalid:443"]
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    file_server.answers["/w"] = CONTENT
    fetch("/w")
    assert file_server.asked[2:] == ["/w"]  # not a whole address: the server itself was asked


def test_https_with_certificates_that_are_trusted(fetch, place, tmp_path, monkeypatch):
    """A certificate made here is refused, and taken once SSL_CERT_FILE names it."""
    if not shutil.which("openssl"):
        pytest.skip("openssl, which makes a certificate, is not here")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda *_: None
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        address = f"https://localhost:{server.server_port}/w"
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        with pytest.raises(
            DownloadError, match=r"cannot be reached: self-signed certificate \(SSL_CERT_FILE"
        ):
            fetch(address)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        fetch(address)
        server.shutdown()
    assert place.read_bytes() == CONTENT


CODE = """
import sys
from pathlib import Path
from voice2face_gan.download import download
try:
    download([sys.argv[1]], Path(sys.argv[2]), sys.argv[3], 2_000_000)
except KeyboardInterrupt:
    sys.exit(130)
"""


def process(file_server, place) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", CODE, file_server.url("/w"), str(place), DIGEST])


def test_ctrl_c_in_the_middle_leaves_nothing(file_server, place):
    over = threading.Event()

    def answer(handler):
        handler.begin(len(CONTENT))
        handler.wfile.write(CONTENT[:600_000])
        over.wait(60)

    file_server.answers["/w"] = answer
    running = process(file_server, place)
    try:
        until = time.monotonic() + 20
        while nothing_at(place) and time.monotonic() < until:
            time.sleep(0.01)
        assert [path.suffix for path in place.parent.iterdir()] == [".partial"]
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
    finally:
        over.set()
        running.kill()
    assert nothing_at(place)


def test_two_processes_at_once(file_server, place):
    both = threading.Barrier(2, timeout=20)

    def answer(handler):
        handler.begin(len(CONTENT))
        handler.wfile.write(CONTENT[:500_000])
        handler.wfile.flush()
        both.wait()  # neither is done before both have begun
        handler.wfile.write(CONTENT[500_000:])

    file_server.answers["/w"] = answer
    running = [process(file_server, place) for _ in range(2)]
    assert [one.wait(20) for one in running] == [0, 0]
    assert place.read_bytes() == CONTENT and list(place.parent.iterdir()) == [place]
