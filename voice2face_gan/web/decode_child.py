"""The process in which recordings are decoded: `python -m voice2face_gan.web.decode_child`.

FFmpeg meets bytes of strangers here, so this process has little to lose: no file may grow, the address space
is bounded, and an alarm ends a job that takes too long. It ends when its input ends, so that none is left
when the server was killed. Nothing is written but the answer.

Frames both ways (frames.py). In: {bytes, seconds, memory, timeout, track, start, end} and the file. Out:
{samples, tracks, track, note} and float32 little endian at 16 kHz, or {error, kind}.
"""

import io
import signal
import sys

import numpy as np

from voice2face_gan.audio.decode import SAMPLE_RATE, stream_audio
from voice2face_gan.errors import VoiceToFaceError
from voice2face_gan.web.frames import frame, read_head

_BLOCK_SECONDS = 10.0


class _Recording(io.BytesIO):
    name = "the recording"  # in messages


def main() -> None:
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    sink.write(frame({"ready": True}))
    sink.flush()
    bounded = False
    while (head := read_head(source)) is not None:
        data = source.read(head["bytes"])
        if not bounded:
            _bound(head["memory"])
            bounded = True
        _alarm(head["timeout"])
        answer = _decoded(data, head)
        del data
        _alarm(0)
        sink.write(answer)
        sink.flush()


def _decoded(data: bytes, head: dict) -> bytes:
    blocks, samples, most = [], 0, head["seconds"] * SAMPLE_RATE
    part = {key: head.get(key) for key in ("track", "start", "end")}
    try:
        stream = stream_audio(_Recording(data), block_seconds=_BLOCK_SECONDS, **part)
        for block in stream:
            samples += len(block)
            if samples > most:
                stream.close()
                return frame({"kind": "long", "error": ""})
            blocks.append(block)
        waveform = np.concatenate(blocks)
        info = stream.info
        about = {"tracks": info.tracks, "track": info.track, "note": info.note}
        return frame({"samples": samples, **about}, waveform.astype("<f4").tobytes())
    except VoiceToFaceError as error:
        return frame({"kind": "audio", "error": str(error)})
    except MemoryError:
        return frame({"kind": "audio", "error": "the recording needs too much memory; export it anew."})
    except Exception as error:  # nothing that a file does may end the loop
        return frame(
            {"kind": "audio", "error": f"the recording could not be decoded ({type(error).__name__})."}
        )


def _bound(memory: int) -> None:
    """Limit this process from now on; without such limits of the system, the parent's time limit is left."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    now = _address_space()
    if now:
        resource.setrlimit(resource.RLIMIT_AS, (now + memory, now + memory))


def _address_space() -> int:
    """Bytes of this process's address space; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * _page()
    except (OSError, ValueError):
        return 0


def _page() -> int:
    import resource

    return resource.getpagesize()


def _alarm(seconds: float) -> None:
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)  # its signal ends the process


if __name__ == "__main__":
    main()
