"""Recognition, by first bytes, of files that Pillow does not read by itself.

File endings are unreliable: sets from the web hold error pages named .jpg, and phones' HEIC images are
renamed. So a refusal names what is there, and what to do about it.
"""

from __future__ import annotations

HEAD = 4096
"""Bytes that `kind_of` needs."""

HEIC, AVIF, HTML, VIDEO = "HEIC", "AVIF", "HTML", "video"

_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_AVIF_BRANDS = {b"avif", b"avis"}
_EXPORT = "export it as JPEG or PNG"
_OTHERS = (
    (b"%PDF", "a PDF document", _EXPORT),
    (b"8BPS", "a Photoshop document", _EXPORT),
    (b"\xff\x0a", "a JPEG XL image, which is not read", _EXPORT),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL image, which is not read", _EXPORT),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image, which is not read", _EXPORT),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image, which is not read", _EXPORT),
    (b"PK\x03\x04", "a zip archive", "unpack it first"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file", "get it with git lfs pull"),
    (b"\x1aE\xdf\xa3", "a video", "give an image"),
)


def kind_of(head: bytes) -> str:
    """HEIC, AVIF, HTML, VIDEO, or "" for anything else.

    HEIC and AVIF are recognised by the brands in the box `ftyp` (ISO/IEC 23008-12), since both may have the
    major brand `mif1`.
    """
    if head[4:8] == b"ftyp":
        size = int.from_bytes(head[:4], "big")
        listed = head[16 : min(max(size, 16), len(head))]
        brands = {head[8:12], *(listed[i : i + 4] for i in range(0, len(listed) - 3, 4))}
        if brands & _AVIF_BRANDS:
            return AVIF
        if brands & _HEIC_BRANDS or head[8:12] in (b"mif1", b"msf1"):
            return HEIC
        return VIDEO
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return HTML if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) else ""


def refusal(head: bytes) -> str:
    """A sentence's end about a file that no reader of ours takes: what it is, and what to do."""
    kind = kind_of(head)
    if kind == HTML:
        return "is a web page (HTML), not an image; get the file again."
    if kind == VIDEO:
        return "is a video, not an image; give an image."
    if b"<svg" in head[:1024].lower():
        return f"is an SVG drawing, not an image of pixels; {_EXPORT}."
    for mark, what, remedy in _OTHERS:
        if head.startswith(mark):
            return f"is {what}; {remedy}."
    return "is not an image that can be read, or is damaged; give a JPEG, PNG or WebP file."
