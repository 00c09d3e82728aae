"""Damaged recordings by the thousand, each given to `load_audio` in a child process.

    python tests/audio/damage.py 4000        counts of files tried, refused, read and escaped

Escaped is what may not happen: an exception that is no VoiceToFaceError, a signal, more than 20 s, or more
than 1 GiB of memory.
"""

import multiprocessing
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from encoding import AAC, RATE, encoded, id3, tracks, wav
from odd_recordings import amr_wb, gsm, speech

SECONDS = 20
MEMORY = 2**30

VORBIS = {"strict": "experimental"}


def formats() -> dict[str, Callable[[], bytes]]:
    """Name -> a function that makes 1.5 s of speech in that format."""
    sound = speech()[None, 8000 : 8000 + 3 * RATE // 2]
    both = np.concatenate([sound, -0.5 * sound])

    def one(codec, rate, format, container, layout="mono", **more):
        given = both if layout == "stereo" else sound
        return lambda: encoded(codec, given, rate, format, layout, container, **more)

    return {
        "wav": lambda: wav(sound),
        "wav, float": one("pcm_f32le", 44_100, "flt", "wav", "stereo"),
        "wav, ADPCM": one("adpcm_ms", 22_050, "s16", "wav"),
        "wav, GSM-like G.722": one("g722", 16_000, "s16", "wav"),
        "w64": one("pcm_s16le", 16_000, "s16", "w64"),
        "mp3": one("libmp3lame", 44_100, "fltp", "mp3", "stereo"),
        "mp3 behind ID3": lambda: id3(3000) + one("libmp3lame", 16_000, "fltp", "mp3")(),
        "mp2": one("mp2", 44_100, "s16", "mp2"),
        "m4a": one("aac", 44_100, "fltp", "ipod"),
        "m4a, ALAC": one("alac", 44_100, "s16p", "ipod", "stereo"),
        "aac, ADTS": one("aac", 44_100, "fltp", "adts"),
        "flac": one("flac", 22_050, "s16", "flac", "stereo"),
        "ogg, Vorbis": one("vorbis", 44_100, "fltp", "ogg", "stereo", options=VORBIS),
        "ogg, Opus": one("libopus", 48_000, "flt", "ogg"),
        "ogg, FLAC": one("flac", 22_050, "s16", "ogg"),
        "ogg, chained": lambda: one("libopus", 48_000, "flt", "ogg")() + one("flac", 22_050, "s16", "ogg")(),
        "webm": one("libopus", 48_000, "flt", "webm", "stereo"),
        "mp4 film": one(AAC[0], AAC[2], AAC[1], "mp4", video="mpeg4"),
        "mp4, two tracks": lambda: tracks([0 * sound, sound]),
        "mp4, fragmented": lambda: tracks([sound], movflags="frag_keyframe+empty_moov"),
        "amr-nb": one("libopencore_amrnb", 8000, "s16", "amr", bit_rate=12_200),
        "amr-wb": amr_wb,
        "3gp": one("libopencore_amrnb", 8000, "s16", "3gp", bit_rate=12_200),
        "wma": one("wmav2", 44_100, "fltp", "asf", bit_rate=64_000),
        "aiff": one("pcm_s16be", 44_100, "s16", "aiff", "stereo"),
        "au": one("pcm_mulaw", 8000, "s16", "au"),
        "caf": one("alac", 44_100, "s16p", "caf"),
        "mka": one("ac3", 48_000, "fltp", "matroska", "stereo"),
        "ac3": one("ac3", 48_000, "fltp", "ac3"),
        "eac3": one("eac3", 48_000, "fltp", "eac3", "stereo"),
        "wavpack": one("wavpack", 44_100, "s16p", "wv"),
        "tta": one("tta", 44_100, "s16", "tta"),
        "gsm": lambda: gsm(75),
        "avi": one("libmp3lame", 44_100, "fltp", "avi", video="mpeg4"),
        "flv": one("aac", 44_100, "fltp", "flv"),
        "mpegts": lambda: tracks([sound], "mpegts", video=True),
        "mpeg": one("mp2", 44_100, "s16", "mpeg"),
        "nut": one("pcm_s16le", 16_000, "s16", "nut"),
        "voc": one("pcm_u8", 16_000, "u8", "voc"),
    }


def damaged(data: bytes, other: bytes, random: np.random.Generator) -> bytes:
    """One to four wounds of one kind or another, more of them near the start, where headers are."""
    data = bytearray(data)
    for _ in range(random.integers(1, 5)):
        size = len(data)
        if size < 8:
            break
        at = int(random.integers(min(size - 4, 512) if random.random() < 0.5 else size - 4))
        length = int(random.integers(1, 2 ** random.integers(1, 14)))
        match random.integers(9):
            case 0:
                data[at] = random.integers(256)
            case 1:  # a number at its limit
                limit = (0, 1, 0x7F, 0x7FFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
                data[at : at + 4] = int(random.choice(limit)).to_bytes(4, ("little", "big")[at & 1])
            case 2:
                for place in random.integers(size, size=min(length, 200)):
                    data[place] ^= 1 << int(random.integers(8))
            case 3:
                del data[max(at, 4) :]
            case 4:
                del data[at : at + length]
            case 5:
                data[at:at] = random.bytes(length)
            case 6:
                data[at : at + length] = bytes(length)
            case 7:
                data[at:at] = data[at : at + length] * int(random.integers(1, 4))
            case 8:
                place = int(random.integers(len(other)))
                data[at : at + length] = other[place : place + length]
    return bytes(data)


def damaged_files(count: int, seed: int = 0):
    """(number, format, bytes) of so many files, each decided by its number and the seed alone."""
    sound = {name: make() for name, make in formats().items()}
    names = list(sound)
    for number in range(count):
        random = np.random.default_rng([seed, number])
        name, other = names[number % len(names)], names[random.integers(len(names))]
        yield number, name, damaged(sound[name], sound[other], random)


def _most_memory() -> int:
    """Bytes that this process has held at most; what getrusage says counts what its parent held before."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def _child(pipe, memory: int) -> None:
    from voice2face_gan.audio.decode import load_audio
    from voice2face_gan.errors import VoiceToFaceError

    pipe.send("ready")
    while (data := pipe.recv()) is not None:
        try:
            load_audio(data)
            told = "read"
        except VoiceToFaceError as error:
            told = "refused" if "\n" not in str(error) and str(error).endswith(".") else f"escaped: {error}"
        except BaseException as error:
            told = f"escaped: {type(error).__name__}: {error}"
        if _most_memory() > memory:
            told = f"escaped: more than {memory / 2**30:.2g} GiB"
        pipe.send(told)
        if told.startswith("escaped"):
            return


class Child:
    """A process that decodes what it is given, started anew after it died."""

    def __init__(self, memory: int = MEMORY):
        self.process, self.memory = None, memory

    def ask(self, data: bytes) -> str:
        """ "read", "refused" or "escaped: how"."""
        if self.process is None:
            self.pipe, theirs = multiprocessing.Pipe()
            arguments = {"target": _child, "args": (theirs, self.memory), "daemon": True}
            self.process = multiprocessing.get_context("spawn").Process(**arguments)
            self.process.start()
            theirs.close()
            # Importing takes as long as the machine is busy, and is no part of a file's time.
            assert self.pipe.poll(300) and self.pipe.recv() == "ready"
        try:
            self.pipe.send(data)
            told = self.pipe.recv() if self.pipe.poll(SECONDS) else f"escaped: more than {SECONDS} s"
        except (EOFError, OSError):
            self.process.join()
            told = f"escaped: ended with {self.process.exitcode}"
        if told.startswith("escaped"):
            self.close()
        return told

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None


def count_fates(files, keep: Path | None = None) -> tuple[Counter, list[str]]:
    """Give (number, format, bytes) to `load_audio`: how often each fate came, and which escaped."""
    fates, escaped, child = Counter(), [], Child()
    try:
        for number, name, data in files:
            told = child.ask(data)
            fates[told.split(":")[0]] += 1
            if told.startswith("escaped"):
                escaped.append(f"{number} ({name}): {told}")
                if keep:
                    (keep / f"{number}.bin").write_bytes(data)
    finally:
        child.close()
    return fates, escaped


if __name__ == "__main__":
    folder = Path("/tmp/escaped")
    folder.mkdir(exist_ok=True)
    fates, escaped = count_fates(damaged_files(int(sys.argv[1]), int((sys.argv[2:] or [0])[0])), folder)
    print(f"tried {sum(fates.values())} files of {len(formats())} formats: {dict(fates)}", *escaped, sep="\n")
