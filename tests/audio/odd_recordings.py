"""Recordings as people have them, each made by code, with what is right for it.

`CASES` holds name -> `EvalSet`. Used by the tests and by experiments/odd_recordings_table.py, which must also
run against older code: so nothing of the package is imported here.
"""

import io
import json
import wave
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from encoding import AAC, Pipe, as_apac, encoded, fifo, id3, pcm, tracks, wav, wav_head

SAMPLE = Path(__file__).parents[2] / "assets/sample.wav"


@dataclass
class EvalSet:
    """A recording.

    Attributes:
        make: takes an empty folder, gives what `load_audio` takes.
        seconds: right length in seconds, to 0.25 s; None if it must be refused.
        words: of the refusal, or of the note on what was decided.
        like: least correlation with the speech in it; None where it holds no speech to compare with.
        level: least level in dB relative to the speech.
    """

    make: Callable[[Path], Any]
    seconds: float | None = 5.0
    words: str = ""
    like: float | None = 0.9
    level: float = -1.5


CASES: dict[str, EvalSet] = {}


@cache
def speech() -> np.ndarray:
    """float32 (80000,), 5 s at 16 kHz: a built-in voice."""
    with wave.open(str(SAMPLE)) as file:
        return np.frombuffer(file.readframes(10**7), "<i2").astype(np.float32) / 32768


def mono() -> np.ndarray:
    return speech()[None]


def noise(level: float, channels: int = 1, seed: int = 0) -> np.ndarray:
    size = (channels, len(speech()))
    return (level * np.random.default_rng(seed).standard_normal(size)).astype(np.float32)


def case(name: str, seconds: float | None = 5.0, words: str = "", like: float | None = 0.9, level=-1.5):
    """Adds the decorated function (folder) -> source as a case."""

    def add(make):
        CASES[name] = EvalSet(make, seconds, words, like if seconds else None, level)
        return make

    return add


def same(name: str, make_bytes: Callable[[], bytes], *args, file: str | None = None, **more) -> None:
    """Adds a case of bytes, or of a file of that name."""
    make_bytes = cache(make_bytes)

    def make(folder: Path):
        data = make_bytes()
        if file is None:
            return data
        (folder / file).write_bytes(data)
        return folder / file

    case(name, *args, **more)(make)


# --- formats, as they are ---------------------------------------------------------------------------------

same("WAV", lambda: wav(mono()), file="a.wav", like=0.999)
same("MP3", lambda: mp3(), file="a.mp3")
same("M4A", lambda: m4a(), file="a.m4a")
same("ADTS AAC", lambda: aac(), file="a.aac")
same("FLAC", lambda: flac(), file="a.flac")
same("Ogg Opus", lambda: opus(mono(), "mono"), file="a.opus")
same("WebM of a browser", lambda: encoded("libopus", mono(), 48_000, "flt", container="webm"), file="a.webm")
same("AIFF", lambda: encoded("pcm_s16be", mono(), 44_100, container="aiff"), file="a.aiff")
same("CAF, ALAC", lambda: encoded("alac", mono(), 44_100, "s16p", container="caf"), file="a.caf")
same("AU, µ-law", lambda: encoded("pcm_mulaw", mono(), 8000, container="au"), file="a.au", like=0.8)
same("Matroska, AC-3", lambda: encoded("ac3", mono(), 48_000, "fltp", container="matroska"), file="a.mka")
same("WavPack", lambda: encoded("wavpack", mono(), 44_100, "s16p", container="wv"), file="a.wv")
same("WMA", lambda: wma(), file="a.wma")
same("AVI with MP3", lambda: encoded("libmp3lame", mono(), 44_100, "fltp", container="avi", video="mpeg4"),
     file="a.avi")  # fmt: skip
same(
    "MP4 film", lambda: encoded(AAC[0], mono(), AAC[2], AAC[1], container="mp4", video="mpeg4"), file="a.mp4"
)
same("phone call, AMR-NB", lambda: amr_nb(), file="call.amr", like=0.7, level=-3)
same("phone call, AMR-WB", lambda: amr_wb(), 2.0, file="call.amr", like=None)
same("phone call in 3GP",
     lambda: encoded("libopencore_amrnb", mono(), 8000, container="3gp", bit_rate=12_200),
     file="a.3gp", like=0.7, level=-3)  # fmt: skip
same("GSM full rate", lambda: gsm(), 4.0, file="call.gsm", like=None)
same("GSM full rate named .mp3", lambda: gsm(), 4.0, file="call.mp3", like=None)


def mp3(sound=None, rate=44_100, layout="mono", **more) -> bytes:
    return encoded("libmp3lame", mono() if sound is None else sound, rate, "fltp", layout, "mp3", **more)


def m4a(**more) -> bytes:
    return encoded(AAC[0], mono(), AAC[2], AAC[1], container="ipod", **more)


def aac() -> bytes:
    return encoded(AAC[0], mono(), AAC[2], AAC[1], container="adts")


def flac() -> bytes:
    return encoded("flac", mono(), 22_050, container="flac")


def opus(sound, layout) -> bytes:
    return encoded("libopus", sound, 48_000, "flt", layout, "ogg")


def wma() -> bytes:
    return encoded("wmav2", mono(), 44_100, "fltp", container="asf", bit_rate=64_000)


def amr_nb() -> bytes:
    return encoded("libopencore_amrnb", mono(), 8000, container="amr", bit_rate=12_200)


def amr_wb() -> bytes:
    """100 frames of 20 ms of mode 0 (6.6 kbit/s, 17 bytes) of chance: there is no free encoder at hand."""
    random = np.random.default_rng(0)
    return b"#!AMR-WB\n" + b"".join(b"\x04" + random.bytes(17) for _ in range(100))


def gsm(frames: int = 200) -> bytes:
    random = np.random.default_rng(0)
    return b"".join(bytes([0xD0 | int(random.integers(16))]) + random.bytes(32) for _ in range(frames))


# --- several sound tracks ---------------------------------------------------------------------------------

SILENCE = np.zeros((1, 80_000), np.float32)


@case("iPhone spatial audio, APAC first", words="track 2 of 2")
def _(folder):
    return as_apac(tracks([noise(0.1), mono()]), 0)


@case("iPhone spatial audio, APAC second and larger", words="track 1 of 2")
def _(folder):
    return as_apac(tracks([mono(), noise(0.3, 2)], layouts=["mono", "stereo"]), 1)


same("APAC alone", lambda: as_apac(tracks([mono()])), None, "cannot be decoded")
same("OBS: silent programme, microphone second", lambda: tracks([np.repeat(SILENCE, 2, 0), mono()]),
     words="track 2 of 2")  # fmt: skip
same("OBS in Matroska", lambda: tracks([np.repeat(SILENCE, 2, 0), mono()], "matroska"), words="track 2 of 2")
same("three tracks, the last has sound", lambda: tracks([SILENCE, SILENCE, mono()]), words="track 3 of 3")
same("two tracks, both with sound", lambda: tracks([mono(), noise(0.01)]), words="track 1 of 2")
same("two silent tracks", lambda: tracks([SILENCE, SILENCE]), like=None, level=-999, words="track 1 of 2")

# --- the name and the content disagree --------------------------------------------------------------------

LETTER = ("Dear Sir or Madam,\nthis is a letter and no recording. 0123456789.\n" * 300).encode()
for ending in ("gsm", "ul", "al", "g722", "raw", "wav", "vag", "txt"):
    same(f"a letter named .{ending}", lambda: LETTER, None, "is text", file=f"letter.{ending}")
for ending in ("ul", "g722", "sw", "gsm"):
    same(f"bytes of chance named .{ending}", lambda: np.random.default_rng(1).bytes(20_000), None,
         "convert it: ffmpeg", file=f"call.{ending}")  # fmt: skip
same("bytes of chance", lambda: np.random.default_rng(1).bytes(20_000), None, "not a recording")
same("WAV named .mp3", lambda: wav(mono()), file="a.mp3", like=0.999)
same("MP3 named .wav", lambda: mp3(), file="a.wav")
same("web page named .wav", lambda: b"<!DOCTYPE html>\n<html><body>404</body></html>\n" * 30, None,
     "is a web page", file="a.wav")  # fmt: skip
same("JSON named .wav", lambda: json.dumps({"error": "no such file", "code": [404]}).encode(), None,
     "is JSON", file="a.wav")  # fmt: skip
same("JPEG named .wav", lambda: image("JPEG"), None, "is a JPEG image", file="a.wav")
same("PNG named .mp3", lambda: image("PNG"), None, "is a PNG image", file="a.mp3")
same("PDF named .wav", lambda: b"%PDF-1.7\n" + bytes(range(256)) * 20, None, "is a PDF", file="a.wav")
same("ZIP named .wav", lambda: zipped(), None, "unpack it first", file="a.wav")
same("playlist", lambda: b"#EXTM3U\n#EXTINF:9,\nhttp://example.org/a.mp3\n", None, "is a playlist")


def image(kind: str) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file, kind)
    return file.getvalue()


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.wav", wav(mono()))
    return file.getvalue()


# --- long tags and pipes ----------------------------------------------------------------------------------

for kind, make in (("FLAC", flac), ("ADTS AAC", aac), ("MP3", mp3)):
    same(f"{kind} behind a 3 MB cover, as bytes", lambda make=make: id3(3_000_000) + make())
    same(f"{kind} behind a 3 MB cover, as .wav", lambda make=make: id3(3_000_000) + make(), file="a.wav")
same("FLAC behind two tags and a foot", lambda: id3(1_500_000, True) + id3(100) + bytes(3000) + flac())
same("an ID3 tag cut off", lambda: id3(3_000_000)[:100_000], None, "incomplete")


@case("M4A through a pipe, its index last", 40.0, like=0.3)
def _(folder):
    return Pipe(long_m4a())


@case("M4A through a named pipe", 40.0, like=0.3)
def _(folder):
    return fifo(folder / "pipe", long_m4a())


@case("WAV of unknown length through a named pipe", like=0.999)
def _(folder):
    return fifo(folder / "pipe", wav_head(0xFFFFFFFF) + pcm(mono()))


@cache
def long_m4a() -> bytes:
    """Longer than what FFmpeg keeps of a pipe, its index behind the sound."""
    data = encoded(AAC[0], np.tile(mono(), 8), AAC[2], AAC[1], container="ipod")
    assert len(data) > 162_000 and data.rindex(b"moov") > len(data) // 2
    return data


# --- channels ---------------------------------------------------------------------------------------------

S51, S71 = "5.1", "7.1"


def centre(channels: int, level: float) -> np.ndarray:
    """The voice in the third channel, noise in the others."""
    sound = noise(level, channels)
    sound[2] = speech()
    return sound


def stereo(left, right) -> bytes:
    return wav(np.stack([left, right]))


same("stereo, both the same", lambda: stereo(speech(), speech()), like=0.999)
same("opposite phase", lambda: stereo(speech(), -speech()), like=0.999, words="cancel")
same("opposite phase, one louder", lambda: stereo(speech(), -0.95 * speech()), like=0.999, words="cancel")
same("opposite phase as MP3", lambda: mp3(np.stack([speech(), -speech()]), layout="stereo"), words="cancel")
same(
    "right channel dead", lambda: stereo(speech(), 0 * speech()), like=0.999, words="right channel is silent"
)
same("left channel dead, with noise", lambda: stereo(noise(1e-4)[0], speech()), like=0.999,
     words="left channel is silent")  # fmt: skip
same("5.1, the voice in the centre, noise around",
     lambda: encoded("pcm_s16le", centre(6, 0.02), 48_000, layout=S51), like=0.85, level=-11)  # fmt: skip
same("5.1, the voice alone in the centre", lambda: encoded("pcm_s16le", centre(6, 0), 48_000, layout=S51),
     like=0.99, words="5 of 6")  # fmt: skip
same("7.1 WAV, the voice in the centre", lambda: encoded("pcm_s16le", centre(8, 0.02), 48_000, layout=S71),
     like=0.8, level=-13.5)  # fmt: skip
same("7.1 AAC, the voice in the centre",
     lambda: encoded("aac", centre(8, 0.005), 48_000, "fltp", S71, "mp4"), like=0.8, level=-13.5)  # fmt: skip
same("four channels without places, one used", lambda: wav(centre(4, 0)), like=0.999, words="3 of 4")

# --- cut off and broken -----------------------------------------------------------------------------------

same("first half of an M4A", lambda: m4a()[: len(m4a()) // 2], None, "upload is incomplete")
same("an M4A of ftyp alone", lambda: m4a()[:28], None, "upload is incomplete")
same("WAV of 44 bytes", lambda: wav_head(0), None, "the recording is empty")
same("WAV of 20 bytes", lambda: wav_head(0)[:20], None, "incomplete")
same("zeros", lambda: bytes(50_000), None, "incomplete")
for claim in (0, 0xFFFFFFFF, 0x7FFFF000):
    same(f"WAV that claims {claim:#x} bytes", lambda claim=claim: wav_head(claim) + pcm(mono()), like=0.999)
    case(f"WAV that claims {claim:#x} bytes, pipe", like=0.999)(
        lambda folder, claim=claim: Pipe(wav_head(claim) + pcm(mono())))  # fmt: skip
same("WAV of odd length without padding", lambda: wav_head(159_999) + pcm(mono())[:-1], like=0.999)
same("first half of a WAV", lambda: wav(mono())[:80_044], 2.5, like=0.6)
same("first half of an MP3", lambda: mp3()[: len(mp3()) // 2], 2.5, like=0.6, level=-2)
same("M4A with 50 damaged bytes", lambda: damaged(m4a(), 50), like=0.5)
same("ADTS AAC with 50 damaged bytes", lambda: damaged(aac(), 50), like=0.5)
same("MP3 with 4 kB of junk inside", lambda: inserted(mp3(), junk(4000)), like=0.5)
same("MP3 with 4 kB of junk in front", lambda: junk(4000) + mp3())
same("MP3 with 4 kB of text in front", lambda: b"HTTP/1.1 200 OK\r\n" * 240 + mp3())
same("two MP3s joined: 16 kHz mono, 44.1 kHz stereo",
     lambda: mp3(rate=16_000) + mp3(np.repeat(mono(), 2, 0), layout="stereo"), 10.0, like=0.6)  # fmt: skip
same("two MP3s joined: 44.1 kHz stereo, 16 kHz mono",
     lambda: mp3(np.repeat(mono(), 2, 0), layout="stereo") + mp3(rate=16_000), 10.0, like=0.6)  # fmt: skip
same("MP3 of changing bit rate without Xing header", lambda: mp3(options={"abr": "1"}, write_xing="0"))
same("chained Ogg: Opus mono, then stereo",
     lambda: opus(mono(), "mono") + opus(np.repeat(mono(), 2, 0), "stereo"), 10.0, like=0.6)  # fmt: skip
same("chained Ogg: FLAC mono, then stereo",
     lambda: ogg_flac(mono(), "mono") + ogg_flac(np.repeat(mono(), 2, 0), "stereo"), 10.0,
     like=0.6)  # fmt: skip
same("fragmented MP4 that starts at 5 s",
     lambda: tracks([mono()], late=5.0, movflags="frag_keyframe+empty_moov",
                    avoid_negative_ts="disabled"))  # fmt: skip
same("MPEG-TS whose sound begins at 8 s", lambda: tracks([mono()], "mpegts", late=8.0, video=True))
same("MP4 of an unknown format",
     lambda: tracks([mono()]).replace(b"mp4a", b"zzzz").replace(b"esds", b"zzzd"), None,
     "cannot be decoded")  # fmt: skip
same("film without sound", lambda: mute(), None, "no sound")


def ogg_flac(sound, layout) -> bytes:
    return encoded("flac", sound, 44_100, "s16", layout, "ogg")


def junk(size: int) -> bytes:
    return np.random.default_rng(5).bytes(size)


def damaged(data: bytes, size: int) -> bytes:
    middle = len(data) // 2
    return data[:middle] + junk(size) + data[middle + size :]


def inserted(data: bytes, more: bytes) -> bytes:
    return data[: len(data) // 2] + more + data[len(data) // 2 :]


def mute() -> bytes:
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("mpeg4", rate=10, width=64, height=64, pix_fmt="yuv420p")
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
            out.mux(stream.encode(frame.reformat(format="yuv420p")))
        out.mux(stream.encode(None))
    return file.getvalue()


# --- soft, loud, offset -----------------------------------------------------------------------------------

for decibels in (-20, -30, -40, -50):
    same(f"speech at {decibels} dB", lambda d=decibels: wav(mono() * np.float32(10 ** (d / 20))), like=0.9,
         level=decibels - 1)  # fmt: skip
same("speech 30 times too loud", lambda: wav(mono() * 30), like=0.5)
same("speech on an offset of 0.5", lambda: wav(np.clip(mono() * 0.5 + 0.5, -1, 1)), like=None)
same("speech, then 3 s of zeros", lambda: wav(np.pad(mono(), ((0, 0), (0, 48_000)))), 8.0)
