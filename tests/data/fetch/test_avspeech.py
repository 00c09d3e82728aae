"""The whole fetch against a server that refuses, stalls and breaks off."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import trees
from click.testing import CliRunner
from film_server import FPS, check, film_sound

from voice2face_gan.cli.commands.fetch import fetch
from voice2face_gan.data.fetch import remote
from voice2face_gan.data.fetch.avspeech import FetchSettings, fetch_avspeech
from voice2face_gan.data.fetch.clip_list import read_clip_list
from voice2face_gan.data.layouts import find_layout, recognise
from voice2face_gan.errors import DataError, OutputError

pytest.importorskip("yt_dlp")
ROOT = Path(__file__).parents[3]
GOOD = ["-good000001", "_good000002", "good0000003"]


def write_list(path: Path, rows: list[tuple]) -> Path:
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def rows_of(*videos: str) -> list[tuple]:
    return [(video, "0.500000", "3.500000", "0.25", "0.5") for video in videos]


def settings(server, **changes) -> FetchSettings:
    quick = {"workers": 3, "rate": 1000.0, "retries": 2, "backoff": 0.01, "timeout": 20.0, "url": server.url}
    return FetchSettings(**quick | changes)


def table(path: Path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_every_clip_is_fetched_or_has_its_reason(server, tmp_path):
    server.behaviour = {
        "gone0000001": "404", "broken00001": "500", "later000001": "429 once", "short000001": "short",
        "short1once1": "short once", "wholefile01": "whole", "textfile001": "text", "cutfile0001": "cut",
    }  # fmt: skip
    rows = rows_of(*GOOD, *server.behaviour) + [(GOOD[0], 2, 5, 0.5, 0.5), (GOOD[1], 5, 9, 0.5, 0.5)]
    result = fetch_avspeech(
        write_list(tmp_path / "list.csv", rows), tmp_path / "out", settings=settings(server)
    )
    out = tmp_path / "out"
    assert (result.rows, result.done, result.failed, result.left, result.there) == (13, 7, 6, 0, 0)
    clips = table(out / "clips.csv")
    assert sorted({row["youtube_id"] for row in clips}) == sorted(
        [*GOOD, "later000001", "short1once1", "wholefile01"]
    )
    for row in clips:
        check(out / row["file"], float(row["start"]), float(row["end"]))
    assert next(row for row in clips if row["start"] == "2.0")["x"] == "0.5"
    failures = {row["youtube_id"]: (row["reason"], row["final"]) for row in table(out / "failures.csv")}
    assert failures["gone0000001"] == ("HTTP 404 Not Found", "yes")
    assert failures["broken00001"] == ("HTTP 500 Internal Server Error", "no")
    assert failures["short000001"][1] == "no" and "bytes" in failures["short000001"][0]
    assert failures["textfile001"][1] == "yes"
    assert "damaged" in failures["cutfile0001"][0] and failures["cutfile0001"][1] == "yes"
    assert failures[GOOD[1]] == ("holds sound for 1.0 of 4.0 s: it is cut short", "yes")
    assert sum(result.reasons.values()) == 6
    assert not list(out.glob("**/.*.tmp"))


def test_a_second_run_does_what_is_left_alone(server, tmp_path):
    server.behaviour = {"gone0000001": "404", "broken00001": "500"}
    path = write_list(tmp_path / "list.csv", rows_of(*GOOD, *server.behaviour))
    first = fetch_avspeech(path, tmp_path / "out", settings=settings(server))
    assert (first.done, first.failed) == (3, 2)
    server.requests.clear()
    server.behaviour = {"gone0000001": "404"}
    second = fetch_avspeech(path, tmp_path / "out", settings=settings(server))
    assert (second.there, second.given_up, second.done, second.failed) == (3, 1, 1, 0)
    assert set(server.requests) == {"broken00001"}
    removed = next((tmp_path / "out" / "clips").rglob("-good*.mp4"))
    removed.unlink()
    server.behaviour = {}
    third = fetch_avspeech(path, tmp_path / "out", settings=settings(server, retry_failed=True))
    assert (third.there, third.done) == (3, 2) and removed.is_file()
    assert table(tmp_path / "out" / "failures.csv") == []


def test_rows_from_to(server, tmp_path):
    path = write_list(tmp_path / "list.csv", rows_of("x" * 11, *GOOD, "y" * 11))
    result = fetch_avspeech(path, tmp_path / "out", 2, 3, settings(server))
    assert result.done == 2 and set(server.requests) == set(GOOD[:2])


def test_what_is_fetched_is_a_data_set(server, tmp_path):
    path = write_list(tmp_path / "list.csv", rows_of(*GOOD))
    fetch_avspeech(path, tmp_path / "out", settings=settings(server))
    assert recognise(tmp_path / "out").name == "avspeech"
    records = list(find_layout("avspeech").records([tmp_path / "out"]))
    assert {r.identity for r in records} == {f"yt_{video}" for video in GOOD}
    assert all(Path(r.voice).is_file() and r.face_at == (0.25, 0.5) for r in records)


def test_a_part_of_a_film_costs_a_part_of_it(server, tmp_path, monkeypatch):
    # Twenty seconds, hard to pack.
    noise = np.random.default_rng(0).integers(0, 255, (200, 64, 64, 3), np.uint8)
    trees.write_film(tmp_path / "long.mp4", np.tile(film_sound(), 4)[: 20 * 16_000], noise, FPS)
    server.film = (tmp_path / "long.mp4").read_bytes()
    assert len(server.film) > 700_000
    monkeypatch.setattr(remote, "BLOCK", 32 * 1024)
    path = write_list(tmp_path / "list.csv", [(GOOD[0], 12, 14, 0.5, 0.5), (GOOD[0], 13, 15, 0.5, 0.5)])
    result = fetch_avspeech(path, tmp_path / "out", settings=settings(server))
    assert result.done == 2 and 0 < result.bytes < 0.6 * len(server.film)


def test_the_server_is_not_asked_faster_than_agreed(server, tmp_path):
    path = write_list(tmp_path / "list.csv", rows_of(*(f"video{i:06d}" for i in range(6))))
    started = time.monotonic()
    result = fetch_avspeech(path, tmp_path / "out", settings=settings(server, rate=4.0, workers=6))
    assert result.done == 6 and time.monotonic() - started >= 5 / 4 - 0.05


def test_retry_after_is_honoured_by_all(server, tmp_path):
    server.behaviour, server.retry_after = {GOOD[0]: "429 once"}, "1"
    path = write_list(tmp_path / "list.csv", rows_of(*GOOD))
    waits = []
    result = fetch_avspeech(
        path, tmp_path / "out", settings=settings(server, workers=1), progress=lambda r, n, p: waits.append(p)
    )
    assert result.done == 3 and result.seconds >= 1 and max(waits) > 0.3


def test_a_server_that_keeps_refusing_is_left_alone(server, tmp_path):
    videos = [f"video{i:06d}" for i in range(9)]
    server.behaviour, server.retry_after = dict.fromkeys(videos, "429"), "0"
    path = write_list(tmp_path / "list.csv", rows_of(*videos))
    result = fetch_avspeech(path, tmp_path / "out", settings=settings(server, workers=1, retries=1))
    assert result.stopped == "the server refuses further requests (HTTP 429 Too Many Requests)"
    assert result.failed >= 3 and result.left >= 4
    server.behaviour = {}
    assert fetch_avspeech(path, tmp_path / "out", settings=settings(server)).done == 9


@pytest.mark.slow
def test_kill_9_in_the_middle_then_the_same_command(server, tmp_path):
    server.behaviour = dict.fromkeys(GOOD[2:], "slow")
    videos = [*GOOD[:2], "good0000004", GOOD[2]]
    path = write_list(tmp_path / "list.csv", rows_of(*videos))
    out = tmp_path / "out"
    code = "from voice2face_gan.cli.commands.fetch import fetch; fetch()"
    words = ["avspeech", path, "-o", out, "--url", server.url, "--rate", "100", "--workers", "1"]
    run = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while len(list(out.rglob("*.mp4"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        while not server.requests[GOOD[2]] and time.monotonic() < deadline:
            time.sleep(0.02)
        with pytest.raises(OutputError, match="another run is fetching into it"):
            fetch_avspeech(path, out, settings=settings(server))
    finally:
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    with (out / "state.jsonl").open("a") as file:
        file.write('{"youtube_id": "good')  # a line that the crash cut short
    (out / "clips" / "go").mkdir(parents=True, exist_ok=True)
    (out / "clips" / "go" / ".good.mp4.123.tmp").write_bytes(b"half a film")
    server.behaviour = {}
    result = fetch_avspeech(path, out, settings=settings(server))
    assert (result.there, result.done) == (3, 1)
    assert len(table(out / "clips.csv")) == 4 and not list(out.glob("**/.*.tmp"))
    assert fetch_avspeech(path, out, settings=settings(server)).there == 4


def test_ctrl_c_keeps_what_was_done(server, tmp_path):
    server.behaviour = {GOOD[2]: "slow"}
    path = write_list(tmp_path / "list.csv", rows_of(*GOOD))

    def interrupt(result, total, paused):
        if result.done == 2:
            server.gate.set()
            raise KeyboardInterrupt

    result = fetch_avspeech(path, tmp_path / "out", settings=settings(server, workers=1), progress=interrupt)
    assert result.stopped == "interrupted" and result.done >= 2
    assert len(table(tmp_path / "out" / "clips.csv")) == result.done


def test_bad_rows_are_counted_and_listed(server, tmp_path):
    rows = [
        (GOOD[0], 0, 3, 0.5, 0.5), ("short", 0, 3, 0.5, 0.5), ("../../etc/pa", 0, 3, 0.5, 0.5),
        (GOOD[1], 3, 1, 0.5, 0.5), (GOOD[1], 0, "x", 0.5, 0.5), (GOOD[1], 0, 3, 1.5, 0.5),
        (GOOD[1], 0, 3, 0.5),
        (GOOD[1], 0, 500, 0.5, 0.5), (GOOD[1], "nan", 3, 0.5, 0.5), (GOOD[0], "0.0", "3.00", 0.5, 0.5),
    ]  # fmt: skip
    path = write_list(tmp_path / "list.csv", rows)
    found = read_clip_list(path)
    assert [clip.video for clip in found.clips] == [GOOD[0]] and found.rows == 10
    assert [number for number, _, _ in found.bad] == list(range(2, 11))
    result = fetch_avspeech(path, tmp_path / "out", settings=settings(server))
    assert (result.done, result.bad_rows) == (1, 9)
    listed = table(tmp_path / "out" / "bad_rows.csv")
    assert listed[0]["reason"] == "the first cell is no YouTube id" and listed[-1]["row"] == "10"
    assert listed[-1]["reason"] == "an earlier row is the same clip"
    with pytest.raises(
        DataError, match=r"rows 2 to 4 hold no clip \(the first cell is no YouTube id, line 2\)"
    ):
        read_clip_list(path, 2, 4)


def test_the_command_line(server, tmp_path):
    server.behaviour = {"gone0000001": "404"}
    path = write_list(tmp_path / "list.csv", [*rows_of(*GOOD, "gone0000001"), ("bad",)])
    words = [
        "avspeech",
        str(path),
        "-o",
        str(tmp_path / "out"),
        "--url",
        server.url,
        "--rate",
        "100",
        "--json",
    ]
    run = CliRunner().invoke(fetch, words)
    assert run.exit_code == 0, run.output
    document = json.loads(run.stdout)
    assert document["done"] == 3 and document["reasons"] == {"HTTP 404 Not Found": 1}
    assert "3 clips fetched now" in run.stderr and "1 x HTTP 404 Not Found" in run.stderr
    assert "Warning: 1 of 5 rows are no clips" in run.stderr and "Warning: 1 clips failed" in run.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["missing.csv"], "missing.csv: there is no such file; give AVSpeech's list"),
        (["list.csv", "--from", "3", "--to", "2"], "--to 2 is before --from 3"),
        (["list.csv", "--from", "9"], "rows 9 to the end hold no clip"),
        (["list.csv", "--url", "http://127.0.0.1/"], "must hold {id}"),
        (["list.csv", "--url", "http://127.0.0.1:9/{id}.mp4", "--retries", "0"], "no clip could be fetched"),
    ],
)
def test_mistakes_end_in_a_sentence(words, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_list(tmp_path / "list.csv", rows_of(GOOD[0]))
    run = CliRunner().invoke(fetch, ["avspeech", *words, "-o", "out"])
    assert isinstance(run.exception, DataError) and sentence in str(run.exception)


def test_without_yt_dlp_the_extra_is_named(server, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    path = write_list(tmp_path / "list.csv", rows_of(*GOOD))
    with pytest.raises(DataError, match=r"pip install 'voice2face-gan\[avspeech\]'"):
        fetch_avspeech(path, tmp_path / "out", settings=settings(server))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "final", "throttled"),
    [
        ("Video unavailable. This video has been removed by the uploader", True, False),
        ("Private video. Sign in if you've been granted access to this video", True, False),
        ("Sign in to confirm you\u2019re not a bot. Use --cookies", False, True),
        ("This content isn't available, try again later", False, True),
        ("Requested format is not available. Use --list-formats", False, False),
    ],
)
def test_messages_of_youtube_are_understood(words, final, throttled):
    from yt_dlp.utils import DownloadError, ExtractorError

    try:
        raise ExtractorError(words, expected=True, video_id="x")
    except ExtractorError as error:
        found = remote.fetch_error(DownloadError(f"\x1b[0;31mERROR:\x1b[0m {error}", sys.exc_info()))
    assert (found.final, found.throttled) == (final, throttled)
    assert words[:20] in found.reason and "ERROR" not in found.reason


def test_a_retry_after_date_is_understood():
    from email.utils import formatdate
    from types import SimpleNamespace

    date = formatdate(time.time() + 100, usegmt=True)
    for text, seconds in ((date, 100), ("7", 7), ("", None), ("soon", None)):
        error = SimpleNamespace(response=SimpleNamespace(headers={"Retry-After": text}))
        assert remote._retry_after(error) == (seconds and pytest.approx(seconds, abs=3))
