"""Hostile uploads: each is refused in a sentence or answered; nothing crashes, and nothing stays behind."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import hostile

sys.path.pop(0)

# One of each kind by default.
FAST = (
    "empty", "a letter", "playlist", "hls of another host", "concat script", "2 GB in the head",
    "65535 channels", "rate 4e9", "not a number", "id3 without end", "name ../../../../tmp/stra",
    "name /etc/cron.d/stray", "name 声音🎤.wav", "flac damaged 0", "mp4 cut", "ogg damaged 1", "noise 98",
)  # fmt: skip


def children() -> set[int]:
    """Process ids of this process's children."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


@pytest.fixture
def watched(small, tmp_path, monkeypatch):
    """The studio, with folders in which a stray file would be seen."""
    places = [Path(tempfile.gettempdir()), Path.cwd(), tmp_path]
    before = {place: set(os.listdir(place)) for place in places}
    yield small
    for place in places:
        new = {
            name for name in set(os.listdir(place)) - before[place] if "stray" in name or "pickled" in name
        }
        assert not new, place


def send(client, form, name: str, file: str, content: bytes) -> None:
    body = form([("audio", file, content)])
    answer = client("POST", "/api/v1/faces", body, content_type="multipart/form-data; boundary=b0undary")
    assert answer.status in (200, 400, 413, 422), (name, answer.status, answer.body[:200])
    if answer.status != 200:
        sentence = answer.json["error"]
        assert sentence.endswith(".") and "Traceback" not in sentence and len(sentence) < 400, name
        assert "root:" not in sentence and "/etc/passwd" not in sentence, name


@pytest.mark.parametrize("everything", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_hostile_uploads(watched, form, sample, everything):
    found = hostile.uploads(sample)
    assert len({name for name, _, _ in found}) == len(found) >= 99
    chosen = [entry for entry in found if everything or entry[0] in FAST]
    assert everything or len(chosen) == len(FAST)
    if everything:
        chosen.append(("three hours", "a.flac", hostile.three_hours()))
    count = len(children())
    for entry in chosen:
        send(watched, form, *entry)
    assert len(children()) <= count, "a child is left"
    assert watched.get("/health").json["status"] == "ok"
    assert watched.post("/api/v1/faces", sample).status == 200
    assert watched.app.state.engine.uploads == watched.app.state.engine.pool.in_flight == 0


def test_forms_that_mean_no_good(watched, form, sample):
    def post(body: bytes, boundary: str = "b0undary") -> int:
        kind = f"multipart/form-data; boundary={boundary}"
        return watched("POST", "/api/v1/faces", body, content_type=kind).status

    assert post(b"--b0undary\r\n" * 20000) == 400
    assert post(b"--b0undary\r\n" + b"X-A: " + b"a" * 60000 + b"\r\n\r\n") == 400
    assert post(form(**{f"f{i}": i for i in range(200)})) == 400
    assert post(form([("audio", f"{i}.wav", b"x") for i in range(200)])) == 400
    assert post(form([("audio", "a.wav", sample)]), "x" * 300) == 400
    assert post(form([("audio", "a.wav", sample)], checkpoint="x" * 10000)) == 400
