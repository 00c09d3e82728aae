"""Large, slow, endless and many requests: each gets its sentence in time, and the next one its face."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from voice2face_gan.web import protocol


def head(length: int | None, form_bytes: bytes = b"") -> bytes:
    body = f"Content-Length: {length}" if length is not None else "Transfer-Encoding: chunked"
    lines = ["POST /api/v1/faces HTTP/1.1", "Host: 127.0.0.1", "Accept: application/json"]
    lines += ["Content-Type: multipart/form-data; boundary=b0undary", body, "", ""]
    return "\r\n".join(lines).encode() + form_bytes


@pytest.fixture(autouse=True)
def still_alive(small, sample):
    """After each of these requests the server makes a face, and holds no place for them."""
    yield
    engine, deadline = small.app.state.engine, time.monotonic() + 10
    # What a test sent may reach the server only now: a 429 that it causes is waited for as a client would.
    while (answer := small.post("/api/v1/faces", sample)).status == 429 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert answer.status == 200
    deadline = time.monotonic() + 10
    while (engine.uploads or engine.pool.in_flight) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert engine.uploads == 0 and engine.pool.in_flight == 0


def test_a_large_upload_is_refused_by_its_length(small):
    start = time.monotonic()
    answer = small.raw(head(2 * 2**30), seconds=5)
    assert answer.startswith(b"HTTP/1.1 413") and b"larger than 1 MiB" in answer
    assert time.monotonic() - start < 20


def test_and_by_what_comes(small, form):
    big = form([("audio", "a.wav", bytes(2 * 2**20))])
    answer = small(
        "POST", "/api/v1/faces", iter([big]), content_type="multipart/form-data; boundary=b0undary"
    )
    assert answer.status == 413


def test_a_length_that_lies_is_waited_for_no_longer_than_said(small, form):
    start = time.monotonic()
    answer = small.raw(head(10**6, form([("audio", "a.wav", b"RIFF")])), seconds=5)
    assert b" 408 " in answer.splitlines()[0] and b"stood still" in answer
    assert time.monotonic() - start < 8


def test_a_slow_upload_has_an_end(small):
    """A byte every tenth of a second: never still, never done."""
    with socket.create_connection(("127.0.0.1", small.port), timeout=20) as sock:
        sock.sendall(head(10**6, b"--b0undary\r\n"))
        answer, start = b"", time.monotonic()
        sock.settimeout(0.1)
        while time.monotonic() - start < 15 and not answer:
            try:
                answer = sock.recv(4096)
            except TimeoutError:
                sock.sendall(b"x")
        sock.settimeout(5)
        while b"}" not in answer:
            answer += sock.recv(4096) or b"}"
    assert answer.startswith(b"HTTP/1.1 408") and b"took too long" in answer


def test_slow_headers_have_an_end(small, monkeypatch):
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.5)
    for begun in (b"", b"GET /hea", b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: "):
        start = time.monotonic()
        assert small.raw(begun, seconds=10) == b""
        assert time.monotonic() - start < 5, begun


def test_an_endless_body_is_cut(small, monkeypatch):
    """Chunks without end: refused at the limit, then cut though they go on."""
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.5)
    chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
    with socket.create_connection(("127.0.0.1", small.port), timeout=20) as sock:
        start = time.monotonic()
        part = b'--b0undary\r\nContent-Disposition: form-data; name="audio"; filename="a"\r\n\r\n'
        sock.sendall(head(None) + f"{len(part):x}\r\n".encode() + part + b"\r\n")
        with pytest.raises(OSError):
            while time.monotonic() - start < 15:
                sock.sendall(chunk)
        assert time.monotonic() - start < 15


def test_a_client_that_leaves_is_no_trouble(small, form, sample):
    for part in (b"", b"--b0undary\r\nContent-Dis", form([("audio", "a.wav", sample)])[:50000]):
        with socket.create_connection(("127.0.0.1", small.port), timeout=5) as sock:
            sock.sendall(head(200000, part))


def test_a_long_recording_is_refused(small, write_wav, tmp_path):
    import numpy as np

    content = write_wav(tmp_path / "a.wav", np.zeros(80000, np.float32), rate=8000).read_bytes()
    answer = small.post("/api/v1/faces", content)
    assert answer.status == 413 and "longer than 8 s" in answer.json["error"]
    assert small.post("/api/v1/faces", content, end=5).status == 422, "a part of it is decoded"


def test_too_many_get_429_and_all_others_a_face(small, sample):
    """One worker, two may wait; the worker is held until all of them have come."""
    gate, engine = threading.Event(), small.app.state.engine
    decode = engine.decoders.decode

    def held(*arguments, **more):
        gate.wait(20)
        return decode(*arguments, **more)

    engine.decoders.decode = held
    try:
        with ThreadPoolExecutor(12) as clients:
            futures = [clients.submit(small.post, "/api/v1/faces", sample) for _ in range(12)]
            deadline = time.monotonic() + 20
            while sum(f.done() for f in futures) < 9 and time.monotonic() < deadline:
                time.sleep(0.02)
            gate.set()
            answers = [future.result() for future in futures]
    finally:
        gate.set()
        engine.decoders.decode = decode
    busy = [answer for answer in answers if answer.status == 429]
    assert len(busy) == 9 and [a.status for a in answers].count(200) == 3
    for answer in busy:
        assert int(answer.headers["retry-after"]) >= 1 and "try again in" in answer.json["error"]


def test_several_uploads_at_once_are_counted(small):
    """Three may be under way; the fourth is told to come again."""
    socks = [socket.create_connection(("127.0.0.1", small.port), timeout=5) for _ in range(3)]
    try:
        for sock in socks:
            sock.sendall(head(1000, b"--b0undary\r\n"))
        deadline = time.monotonic() + 5
        while small.app.state.engine.uploads < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert small.raw(head(10, b"0123456789"), seconds=3).startswith(b"HTTP/1.1 429")
    finally:
        for sock in socks:
            sock.close()
