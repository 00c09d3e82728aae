"""Recognition of files that are no recordings, by their bytes, for a fitting message."""

from __future__ import annotations

import codecs
import re

from voice2face_gan.audio.decoding.source import RecordingFile

HEAD = 4096  # bytes looked at first
_TEXT = 65536  # bytes that must all be text: a few kB of text may lie before an MP3

# (position, bytes there, what it is). Image formats among them are also FFmpeg's, which would find no sound.
_SIGNATURES = [
    (0, b"\x89PNG\r\n\x1a\n", "is a PNG image"),
    (0, b"\xff\xd8\xff", "is a JPEG image"),
    (0, b"GIF87a", "is a GIF image"),
    (0, b"GIF89a", "is a GIF image"),
    (8, b"WEBP", "is a WebP image"),
    (0, b"II*\0", "is a TIFF image"),
    (0, b"MM\0*", "is a TIFF image"),
    (0, b"8BPS", "is a Photoshop image"),
    (0, b"%PDF-", "is a PDF document"),
    (0, b"{\\rtf", "is an RTF document"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an Office document"),
    (0, b"PK\x03\x04", "is a ZIP archive or an Office document"),
    (0, b"PK\x05\x06", "is an empty ZIP archive"),
    (0, b"\x1f\x8b", "is a gzip archive"),
    (0, b"BZh", "is a bzip2 archive"),
    (0, b"\xfd7zXZ\0", "is an xz archive"),
    (0, b"\x28\xb5\x2f\xfd", "is a zstd archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "is a 7z archive"),
    (0, b"Rar!\x1a\x07", "is a RAR archive"),
    (257, b"ustar", "is a tar archive"),
    (0, b"MThd", "is a MIDI file, notes without sound"),
    (0, b"\x7fELF", "is a program"),
    (0, b"SQLite format 3\0", "is a database"),
    (0, b"\x93NUMPY", "is a NumPy array"),
]
_IMAGE_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heif", b"hevc", b"mif1", b"msf1")
# Recordings that begin with letters.
_AUDIO_LETTERS = (b"#!AMR", b"NIST_1A", b"PVF", b"RIFF", b"RIFX", b"RF64", b"FORM", b"OggS", b"fLaC")
_CONTROL = re.compile(r"[\x00-\x07\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_BASE64 = re.compile(r"[A-Za-z0-9+/_=\r\n-]{200,}")
_MP4_ATOMS = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"moof", b"pnot", b"uuid")


def foreign(file: RecordingFile) -> str | None:
    """Kind of a file that certainly is no recording: "is a web page (HTML); give ..."; None if it may be one.

    The end of the sentence is missing its full stop, its beginning the name.
    """
    head = file.head(HEAD)
    for position, signature, what in _SIGNATURES:
        if head[position : position + len(signature)] == signature:
            return f"{what}, not a recording; {_advice(what)}"
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0" and len(head) > 26:
        return "is a BMP image, not a recording; give a recording of a voice"
    if head[4:8] == b"ftyp" and head[8:12] in _IMAGE_BRANDS:
        return "is a HEIC or AVIF image, not a recording; give a recording of a voice"
    text = None if head.startswith(_AUDIO_LETTERS) else _text(head)
    if text is None:
        return None
    if len(head) == HEAD and _text(file.head(_TEXT)) is None:
        return None
    return _text_kind(text)


def fault(file: RecordingFile) -> str | None:
    """Reason, from its bytes, why a recording could not be opened or gave no sound; like `foreign`."""
    head = file.head(HEAD)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
        if b"data" not in head:
            return "breaks off within its header, the upload is incomplete; send the file again"
        return (
            "has a WAV header and no sound, the recording is empty; record again, and check that the browser "
            "or app may use the microphone"
        )
    if head[4:8] in _MP4_ATOMS:
        return _mp4_fault(file)
    if not head.strip(b"\0") and not any(part.strip(b"\0") for part in _parts(file)):
        return "holds zeros alone, the upload is incomplete; send the file again"
    return None


def _mp4_fault(file: RecordingFile) -> str | None:
    """Atoms are four bytes of length, four of name, and the rest; moov is the index of the sound."""
    size, position, found = file.size(), 0, []
    while position + 8 <= size and len(found) < 10_000:
        head = file.head(16, position)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:], "big")
        found.append(kind)
        if length == 0:  # up to the end
            break
        position += max(length, 8)
    if position > size or not {b"moov", b"moof"} & set(found):
        lacks = "" if b"moov" in found else " (its index, moov, is missing)"
        return f"breaks off, the upload is incomplete{lacks}; send the file again"
    return None


def _parts(file: RecordingFile):
    for position in range(0, file.size(), 2**20):
        yield file.head(2**20, position)


def _advice(what: str) -> str:
    if "archive" in what:
        return "unpack it first"
    return "give (array, rate) instead" if "NumPy" in what else "give a recording of a voice"


def _text(data: bytes) -> str | None:
    """The text that some bytes are, the last letter perhaps cut; None if they are none."""
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        text = data[: len(data) & ~1].decode("utf-16", errors="replace")
        return text if _readable(text) else None
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(data)
    except UnicodeDecodeError:
        text = data.decode("latin-1")
        plain = sum(character.isascii() for character in text)
        if plain < 0.8 * len(text):
            return None
    return text if text and not _CONTROL.search(text) else None


def _readable(text: str) -> bool:
    """True for text in UTF-16, in which chance gives letters of all the world's scripts."""
    odd = sum(not c.isprintable() and c not in "\t\r\n\f" for c in text)
    return odd <= 0.01 * len(text)


def _text_kind(text: str) -> str:
    start = text[:1000].lstrip().lower()
    if start.startswith(("<!doctype html", "<html", "<head", "<body")) or "<html" in start:
        return "is a web page (HTML), not a recording; download the recording itself"
    if start.startswith(("#extm3u", "ffconcat", "[playlist]")):
        return "is a playlist, which names recordings and holds none; give one of them"
    if start.startswith("version https://git-lfs"):
        return "is a Git LFS pointer, not the recording itself; run `git lfs pull`"
    if start.startswith("data:"):
        return "is a data URL, not a recording; give the bytes that its base64 stands for"
    if re.match(r"[{\[]\s*([\"{}\[\]]|-?\d|true|false|null)", start):
        return "is JSON text, not a recording; give a recording of a voice"
    if start.startswith("<"):
        return "is XML text, not a recording; give a recording of a voice"
    if _BASE64.match(text[:1000].strip()):
        return "is base64 text, not a recording; give the bytes that it stands for"
    return "is text, not a recording; give a recording of a voice"
