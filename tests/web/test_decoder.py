"""Decoding in a child process: the same samples, bounded in time, memory and files."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from voice2face_gan.audio.decode import load_audio
from voice2face_gan.web.decoder import Decoders
from voice2face_gan.web.frames import frame, read_head
from voice2face_gan.web.limits import Limits
from voice2face_gan.web.refusal import Refusal


@pytest.fixture
def decoders():
    """Function (limits ...) -> decoders of one process."""
    made = []

    def make(**limits) -> Decoders:
        made.append(Decoders(Limits(workers=1, **limits)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def process(decoders: Decoders) -> subprocess.Popen:
    return decoders._children[0]._process


def test_the_same_samples(decoders, sample):
    decoded = decoders().decode(sample)
    assert np.array_equal(decoded.waveform, load_audio(sample))
    assert (decoded.tracks, decoded.track, decoded.note) == (1, 1, "")


def test_errors_are_sentences_and_the_process_goes_on(decoders, sample):
    one = decoders(recording_seconds=4)
    child = process(one)
    with pytest.raises(Refusal) as refused:
        one.decode(b"\0" * 1000)
    assert refused.value.status == 400 and refused.value.sentence.startswith("The recording: ")
    with pytest.raises(Refusal) as refused:
        one.decode(sample)
    assert refused.value.status == 413 and "longer than 4 s" in refused.value.sentence
    assert len(one.decode(sample, start=1, end=4.5).waveform) == 56000
    assert process(one) is child and one.killed == 0


def test_time_is_bounded(decoders, sample):
    one = decoders(decode_seconds=1.5)
    one.decode(sample)
    one._children[0]._process.send_signal(19)  # SIGSTOP: it does nothing for ever
    start = time.monotonic()
    with pytest.raises(Refusal, match="could not be decoded within 1.5 s"):
        one.decode(sample)
    assert 1.4 < time.monotonic() - start < 10 and one.killed == 1
    assert len(one.decode(sample).waveform) == 80000


def test_a_crash_is_survived(decoders, sample):
    one = decoders()
    one.decode(sample)
    process(one).kill()
    process(one).wait()
    assert len(one.decode(sample).waveform) == 80000


@pytest.mark.skipif(not os.path.exists("/proc/self/limits"), reason="needs Linux")
def test_memory_and_files_are_bounded(decoders, write_wav, tmp_path, sample):
    long = write_wav(tmp_path / "long.wav", np.zeros(120 * 16000, np.float32)).read_bytes()
    one = decoders(decode_bytes=2**20)
    with pytest.raises(Refusal) as refused:
        one.decode(long)
    assert refused.value.status == 400
    assert len(one.decode(sample, end=0.5).waveform) == 8000
    limits = Path(f"/proc/{process(one).pid}/limits").read_text()
    (line,) = [x for x in limits.splitlines() if x.startswith("Max file size")]
    assert line.split()[3:5] == ["0", "0"]


def test_it_ends_with_its_parent(sample):
    """Its input ends; a job that takes too long is ended by its own alarm."""
    command = [sys.executable, "-m", "voice2face_gan.web.decode_child"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert read_head(child.stdout) == {"ready": True}
    head = {"bytes": len(sample), "seconds": 60, "memory": 2**30, "timeout": 1e-6}
    child.stdin.write(frame(head) + sample)
    child.stdin.close()
    assert child.wait(10) in (0, -14)


def test_frames():
    import io

    assert read_head(io.BytesIO(frame({"a": 1}, b"body"))) == {"a": 1}
    assert read_head(io.BytesIO(b"")) is None and read_head(io.BytesIO(frame({"a": 1})[:6])) is None
