"""Recordings to waveforms in child processes, bounded in time and memory."""

import os
import queue
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from voice2face_gan.errors import AudioError
from voice2face_gan.web.frames import frame, read_head
from voice2face_gan.web.limits import Limits
from voice2face_gan.web.refusal import Refusal, sentence_case

_JOBS = 500  # of a process, after which a new one takes its place
_ALARM_SECONDS = 2.0  # after the parent's limit, for the case that the parent is gone
_START_SECONDS = 60.0


@dataclass
class Decoded:
    """A recording: float32 (samples,), 16 kHz mono in [-1, 1]; sound tracks, the one taken, a note or ""."""

    waveform: np.ndarray
    tracks: int
    track: int
    note: str


class Decoders:
    """Decoding processes, as many as there are workers; they are started before they are needed.

    Args:
        limits: of the server.
    """

    def __init__(self, limits: Limits):
        self.limits = limits
        self.killed = 0
        self._idle: queue.SimpleQueue[_Child] = queue.SimpleQueue()
        self._children = [_Child() for _ in range(limits.workers)]
        for child in self._children:
            self._idle.put(child)

    def decode(self, data: bytes, track=None, start=None, end=None, called: str = "recording") -> Decoded:
        """A recording's waveform. Blocks; for a worker's thread.

        Args:
            called: what a refusal calls it.
        Raises:
            Refusal: 413 for a recording that is too long; 400 for one that cannot be decoded, or not within
                the limits of time and memory.
        """
        child = self._idle.get()
        try:
            head = {"bytes": len(data), "seconds": self.limits.recording_seconds, "track": track}
            head |= {"start": start, "end": end, "memory": self.limits.decode_bytes}
            head["timeout"] = self.limits.decode_seconds + _ALARM_SECONDS
            answer, body = child.ask(head, data, self.limits.decode_seconds)
        finally:
            self._idle.put(child)
        if answer is None:
            self.killed += 1
            raise Refusal(
                400,
                f"The {called} could not be decoded within {self.limits.decode_seconds:g} s and "
                f"{self.limits.decode_bytes / 2**30:g} GiB; export it as WAV or MP3.",
            )
        if answer.get("kind") == "long":
            raise Refusal(
                413,
                f"The {called} is longer than {_duration(self.limits.recording_seconds)}; "
                "cut it, or give start and end.",
            )
        if "error" in answer:
            sentence = answer["error"].replace("the recording: is ", "the recording is ")
            raise Refusal(400, sentence_case(sentence.replace("the recording", f"the {called}", 1)))
        waveform = np.frombuffer(body, "<f4")
        return Decoded(waveform, answer["tracks"], answer["track"], answer["note"])

    def close(self) -> None:
        """End the processes."""
        for child in self._children:
            child.close()


def _duration(seconds: float) -> str:
    return f"{seconds:g} s" if seconds < 120 else f"{seconds / 60:g} minutes"


class _Child:
    """One decoding process, started anew after a crash."""

    def __init__(self):
        self._process: subprocess.Popen | None = None
        self._jobs, self._closed, self._lock = 0, False, threading.Lock()
        self._start()

    def ask(self, head: dict, data: bytes, seconds: float) -> tuple[dict | None, bytes]:
        """The answer and its body; (None, b"") if the process died, or was ended after `seconds`."""
        if self._jobs >= _JOBS or self._process is None or self._process.poll() is not None:
            self._start()
        process = self._process
        self._wait_until_ready(process)
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        answer, body = None, b""
        try:
            process.stdin.write(frame(head))
            process.stdin.write(data)
            process.stdin.flush()
            answer = read_head(process.stdout)
            wanted = 4 * (answer or {}).get("samples", 0)
            body = process.stdout.read(wanted) if wanted else b""
            if len(body) < wanted:
                answer = None
        except (OSError, ValueError):
            answer = None
        finally:
            timer.cancel()
        self._jobs += 1
        if answer is None:
            self._end()
        return answer, body

    def close(self) -> None:
        self._closed = True
        self._end()

    def _start(self) -> None:
        self._end()
        with self._lock:
            if self._closed:
                raise AudioError("the server is stopping.")
            threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
            self._process = subprocess.Popen(
                [sys.executable, "-B", "-m", "voice2face_gan.web.decode_child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # FFmpeg's remarks on a recording are nobody's business
                env={**os.environ, **threads},
            )
            self._jobs, self._ready = 0, False

    def _wait_until_ready(self, process) -> None:
        if self._ready:
            return
        timer = threading.Timer(_START_SECONDS, process.kill)
        timer.start()
        try:
            self._ready = read_head(process.stdout) == {"ready": True}
        finally:
            timer.cancel()

    def _end(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                pipe.close()
        process.wait()
