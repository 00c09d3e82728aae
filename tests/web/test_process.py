"""`v2f-gan serve` as a process: what it prints, what it leaves, how it ends and begins again."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs Linux")
LINE = re.compile(r"Studio: http://127\.0\.0\.1:(\d+)/")


class Served:
    """A running `v2f-gan serve`; `lines` are what it printed on standard error."""

    def __init__(self, folder: Path, *arguments: str):
        self.temporary = folder / "tmp"
        self.temporary.mkdir(exist_ok=True)
        places = {"TMPDIR": str(self.temporary), "HOME": str(folder), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "voice2face_gan", "serve", "--checkpoint", "synthetic", *arguments],
            cwd=folder,
            env={**os.environ, **places},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines = [self.process.stderr.readline()]
        found = LINE.search(self.lines[0])
        self.port = int(found[1]) if found else None
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr), daemon=True)
        self.reader.start()

    def children(self) -> list[int]:
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


@pytest.fixture
def serve(tmp_path):
    """Function (*arguments) -> Served, in an empty folder."""
    started = []

    def start(*arguments: str) -> Served:
        started.append(Served(tmp_path, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


def gone(pids: list[int], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(_runs(pid) for pid in pids):
            return True
        time.sleep(0.1)
    return False


def _runs(pid: int) -> bool:
    try:
        return "decode_child" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False


def test_a_face_and_nothing_left(serve, client, sample, form, tmp_path):
    served = serve("--port", "0")
    ask = client(served.port)
    assert ask.get("/").status == 200
    body = form([("audio", "my-secret-name.wav", sample)])
    answer = ask("POST", "/api/v1/faces", body, content_type="multipart/form-data; boundary=b0undary")
    assert answer.status == 200 and answer.body.startswith(b"\x89PNG")
    big = sample[:44] + sample[44:] * 30  # larger than what Starlette keeps in memory
    assert ask.post("/api/v1/faces", big).status == 200
    assert ask.post("/api/v1/faces", b"nonsense").status == 400
    for file in Path(f"/proc/{served.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            assert str(tmp_path) not in os.readlink(file)
    children = served.children()
    assert children
    served.process.send_signal(signal.SIGINT)
    assert served.process.wait(120) == 0 and gone(children)
    left = [p.name for p in tmp_path.rglob("*") if p.is_file()]
    assert not left, left
    served.reader.join(60)
    text = "".join(served.lines)
    assert "my-secret-name" not in text and "127.0.0.1 -" not in text and len(served.lines) == 3
    assert served.lines[-1] == "The studio has ended.\n"


def test_ended_in_the_middle_a_request_is_told(serve, client, sample):
    served = serve("--port", "0", "--checkpoint", "synthetic")
    ask, answers = client(served.port), []
    assert ask.post("/api/v1/faces", sample).status == 200

    def ask_for_long():
        answers.append(ask.post("/api/v1/faces", sample, variants=16, size=1024))

    threads = [threading.Thread(target=ask_for_long) for _ in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    served.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(120)
    assert {answer.status for answer in answers} <= {200, 429, 503}
    ended = [answer.json["error"] for answer in answers if answer.status == 503]
    assert all(text == "The studio is ending; ask again once it runs." for text in ended)


@pytest.mark.slow
def test_killed_in_the_middle_and_started_again(serve, client, sample):
    served = serve("--port", "0")
    ask = client(served.port)
    assert ask.post("/api/v1/faces", sample).status == 200
    children, failed = served.children(), []

    def keep_asking():
        try:
            while True:
                ask.post("/api/v1/faces", sample)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=keep_asking) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    served.process.kill()
    for thread in threads:
        thread.join(300)
    assert len(failed) == 4 and children and gone(children)
    assert not [path for path in served.temporary.rglob("*") if path.is_file()]
    again = serve("--port", str(served.port))
    assert again.port == served.port and client(again.port).post("/api/v1/faces", sample).status == 200


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--checkpoint", "no/such/run/at/all"), "--checkpoint 'no/such/run/at/all': nothing is there"),
        (("--checkpoint", ""), "--checkpoint '': nothing is there"),
        (("--max-mb", "nan"), "is not a number"),
        (("--max-minutes", "nan"), "is not a number"),
        (("--allow-host", "http://x/"), "--allow-host 'http://x/' is no name"),
        (
            ("--checkpoint", "synthetic", "--runs", "nowhere"),
            "--runs nowhere: there is no such folder of runs.",
        ),
        (("--checkpoint", "synthetic", "--host", "0.0.0.0"), "--host 0.0.0.0 lets others reach the studio"),
        (
            ("--checkpoint", "synthetic", "--host", "203.0.113.7", "--no-token"),
            "203.0.113.7:0 cannot be used",
        ),
    ],
)
def test_what_cannot_start_is_one_sentence(cli, arguments, sentence):
    done = cli("serve", "--port", "0", *arguments)
    assert done.code == 2 and sentence in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("Error: ") and "Studio: " not in done.stderr


def test_a_taken_port(cli):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        done = cli("serve", "--checkpoint", "synthetic", "--port", port)
    assert done.code == 2 and f"Error: 127.0.0.1:{port} cannot be used" in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_the_extra(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    done = cli("serve")
    assert done.code == 2 and "pip install 'voice2face-gan[web]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_it_opens_a_browser(monkeypatch):
    """`--open` opens the address that was printed."""
    from voice2face_gan.web import server
    from voice2face_gan.web.app import Settings

    opened, lines = [], []

    class Ended:
        def run(self, sockets):
            deadline = time.monotonic() + 5
            while not opened and time.monotonic() < deadline:
                time.sleep(0.02)

    monkeypatch.setattr(server, "make_server", lambda *_: Ended())
    monkeypatch.setattr(server.webbrowser, "open", opened.append)
    server.serve(Settings(("synthetic",)), port=0, say=lines.append, open_browser=True)
    assert lines[0] == f"Studio: {opened[0]}"
