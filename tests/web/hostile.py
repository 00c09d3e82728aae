"""A hundred uploads that mean no good: (name, file name, bytes)."""

import io
import random
import struct
import zlib
from fractions import Fraction

import av
import numpy as np


def encoded(
    container: str, codec: str, seconds: float = 2.0, rate: int = 16000, value: float | None = None
) -> bytes:
    """A tone, or silence of one value, as a file of some format."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        form = stream.codec_context.format or av.AudioFormat("s16")
        total, size, place = int(seconds * rate), 16000, 0
        while place < total:
            count = min(size, total - place)
            t = np.arange(place, place + count) / rate
            wave = 0.3 * np.sin(2 * np.pi * 200 * t) if value is None else np.full(count, value)
            samples = (wave * 32767).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, place, Fraction(1, rate)
            resampler = av.AudioResampler(format=form.name, layout="mono", rate=rate)
            for out in resampler.resample(frame):
                output.mux(stream.encode(out))
            place += count
        output.mux(stream.encode(None))
    return file.getvalue()


def wav(channels=1, rate=16000, bits=16, data=b"\0" * 3200, size=None, kind=1, block=None) -> bytes:
    """A WAV file whose head may lie."""
    block = channels * bits // 8 if block is None else block
    head = struct.pack("<HHIIHH", kind, channels, rate, (rate * block) & 0xFFFFFFFF, block, bits)
    size = len(data) if size is None else size
    return (
        b"RIFF"
        + struct.pack("<I", (36 + size) & 0xFFFFFFFF)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + head
        + (b"data" + struct.pack("<I", size) + data)
    )


def uploads(sample: bytes) -> list[tuple[str, str, bytes]]:
    """All of them; the same ones at each call."""
    rng = random.Random(0)
    found: list[tuple[str, str, bytes]] = []

    def add(name: str, content: bytes, file: str = "a.wav") -> None:
        found.append((name, file, content))

    # Wrong types
    add("empty", b"")
    add("a letter", b"Dear Sir or Madam,\n" * 50, "letter.gsm")
    add("html", b"<!doctype html><script>alert(1)</script>")
    add("png", b"\x89PNG\r\n\x1a\n" + bytes(2000))
    add("pdf", b"%PDF-1.7\n" + bytes(2000))
    add("elf", b"\x7fELF" + bytes(4000))
    add("pickle", b"\x80\x04cposix\nsystem\n(S'touch /tmp/pickled'\ntR.")
    add("zip bomb", b"PK\x03\x04" + zlib.compress(bytes(10**7)))
    add("playlist", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "a.m3u8")
    add(
        "hls of another host",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:1/x.ts\n",
        "a.m3u8",
    )
    add("concat script", b"ffconcat version 1.0\nfile /etc/passwd\n", "a.ffconcat")
    add("sdp", b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n", "a.sdp")
    add("dash", b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"/>', "a.mpd")
    add("xml entities", b'<!DOCTYPE a [<!ENTITY x "x">]><a>&x;</a>' * 20)
    # Heads that lie
    add("2 GB in the head", wav(size=2**31 - 1))
    add("4 GB in the head", wav(size=2**32 - 1))
    add("no bytes in the head", wav(size=0))
    add("65535 channels", wav(channels=65535, block=65535))
    add("no channel", wav(channels=0))
    add("rate 0", wav(rate=0))
    add("rate 4e9", wav(rate=2**32 - 1))
    add("rate 1", wav(rate=1))
    add("bits 0", wav(bits=0, block=0))
    add("bits 65535", wav(bits=65535))
    add("block 0", wav(block=0))
    add("unknown codec", wav(kind=0xFFFF))
    add("not a number", wav(kind=3, bits=32, data=struct.pack("<f", float("nan")) * 2000))
    add("infinite", wav(kind=3, bits=32, data=struct.pack("<f", float("inf")) * 2000))
    add("huge", wav(kind=3, bits=32, data=struct.pack("<f", 3e38) * 2000))
    add("id3 without end", b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + bytes(2000))
    add("many id3", (b"ID3\x04\x00\x00\x00\x00\x00\x01\x00") * 3000)
    add("nested atoms", b"".join(struct.pack(">I", 8 * (500 - i)) + b"moov" for i in range(500)))
    add("atom of 2^63", b"\0\0\0\x18ftypM4A \0\0\0\0M4A mp42\0\0\0\x01mdat\x7f" + b"\xff" * 7)
    add("mkv size", b"\x1aE\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xfe" + bytes(1000))
    # Names
    for name in (
        "../../../../tmp/stray.wav", "/etc/cron.d/stray", "C:\\\\Windows\\\\stray.wav",
        "..\\\\..\\\\stray.wav", "| touch stray",
        "a\\x00.wav", "a" * 3000 + ".wav", "声音🎤.wav", "$(touch stray).wav", "`touch stray`.wav",
        "%2e%2e%2fstray.wav", "~/stray.wav", "file:///etc/passwd", "http://127.0.0.1:1/a.wav", "concat:a|b",
        "pipe:0", "subfile,,start,0,end,9,,:/etc/passwd", "con", "-i", ".", "..",
    ):  # fmt: skip
        add(f"name {name[:20]}", sample[:20000], name)
    # Real files, damaged
    whole = [
        ("flac", encoded("flac", "flac")),
        ("mp3", encoded("mp3", "mp3")),
        ("ogg", encoded("ogg", "libopus", rate=48000)),
    ]
    whole += [("mp4", encoded("mp4", "aac")), ("matroska", encoded("matroska", "aac")), ("wav", sample)]
    for kind, content in whole:
        add(f"{kind} cut", content[: len(content) // 3])
        add(f"{kind} head alone", content[:64])
        add(f"{kind} without head", content[200:])
        for k in range(3):
            damaged = bytearray(content)
            for _ in range(2 + len(damaged) // 200):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            add(f"{kind} damaged {k}", bytes(damaged))
    while len(found) < 99:
        add(f"noise {len(found)}", rng.randbytes(rng.randrange(1, 20000)))
    return found


def three_hours() -> bytes:
    """Three hours of silence in some kilobytes of FLAC."""
    return encoded("flac", "flac", 3 * 3600.0, 16000, 0.0)
