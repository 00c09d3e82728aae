"""Reading of any image file: an upright RGB image, or an error of one sentence.

Images come from the web by the million: some are cut short, some are text with an image's ending, and a few
kilobytes of PNG can unfold to gigabytes. A file is judged by its content, never by its ending. The size is
read from the header and judged before a single pixel is decoded, and only formats that are decoded in this
process are tried (Pillow hands EPS to another program).

Colours are taken as sRGB: an ICC profile is neither applied nor a reason to fail, so that the same file gives
the same bytes with every build of Pillow.
"""

from __future__ import annotations

import io
import os
import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from voice2face_gan.errors import ImageError, first_line
from voice2face_gan.faces.image_kind import AVIF, HEAD, HEIC, kind_of, refusal

MAX_PIXELS = 100_000_000
"""Width x height of the largest image that is opened: what the largest cameras in common use give."""

MAX_BYTES = 512 * 2**20
"""Longest file that is read."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "MPO", "AVIF")
"""Tried for every file, HEIF beside them for what says that it is HEIC."""

_BLOCK = 2**22  # values that are scaled at a time


def open_image(
    source: str | os.PathLike | bytes, least_side: int | None = None, notes: list[str] | None = None
) -> Image.Image:
    """Open an image safely.

    Args:
        source: a path, or the bytes of a file.
        least_side: that many pixels of the shorter side are enough. A JPEG larger than this is decoded at a
            half, quarter or eighth of its size, which saves most of the time; others keep their size.
        notes: a sentence is added to it where a part of the file is passed over.

    Returns:
        RGB, upright (the EXIF orientation is applied; damaged EXIF data are passed over). 16-bit values are
        scaled to 8 bits. What is transparent is laid on white. Of an animation or of several pages the first
        image is given.

    Raises:
        ImageError: missing, empty, no image, cut short, larger than MAX_PIXELS, or HEIC without the extra
            `heic`.
    """
    name = "the bytes given" if isinstance(source, bytes) else Path(source).name
    content = io.BytesIO(source) if isinstance(source, bytes) else _read(Path(source), name)
    if not content.getbuffer().nbytes:
        raise ImageError(f"{name}: is empty (0 bytes); give an image.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's are about files; its limit is lower than ours, see below
        return _decoded(content, name, least_side, notes)


def _decoded(content: io.BytesIO, name: str, least_side: int | None, notes: list[str] | None) -> Image.Image:
    head = bytes(content.getbuffer()[:HEAD])
    formats = _formats(head, name)
    try:
        image = Image.open(content, formats=formats)
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: is far too large to open; give an image of usual size.") from error
    except Exception as error:  # a damaged header makes Pillow's readers raise almost anything
        raise ImageError(f"{name}: {refusal(head)}") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name}: is {width} x {height} pixels, more than {MAX_PIXELS // 10**6} million; make it smaller."
        )
    try:
        if least_side is not None and min(width, height) > least_side:
            scale = least_side / min(width, height)
            image.draft("RGB", (max(1, round(width * scale)), max(1, round(height * scale))))
        image.load()
        upright = _rgb(_upright(image), deep=image.format in ("PNG", "PPM"))
    except Exception as error:  # as above, of a damaged body
        raise ImageError(
            f"{name}: is damaged or cut short ({first_line(error)}); get the file again."
        ) from error
    if notes is not None and _has_more(image):
        notes.append(f"{name}: holds several images (an animation, or pages); the first is taken.")
    return upright


def _formats(head: bytes, name: str) -> list[str]:
    """The formats to try, of those that this Pillow can read.

    Raises:
        ImageError: the file needs a reader that is not installed.
    """
    Image.init()
    kind = kind_of(head)
    if kind == HEIC:
        try:
            import pillow_heif
        except ImportError as error:
            raise ImageError(
                f"{name}: is a HEIC image, which is read by pillow-heif: "
                "pip install 'voice2face-gan[heic]', or export it as JPEG."
            ) from error
        pillow_heif.register_heif_opener()
        return ["HEIF"]
    if kind == AVIF and "AVIF" not in Image.OPEN:
        raise ImageError(
            f"{name}: is an AVIF image, which this build of Pillow does not read; update Pillow, or export "
            "it as JPEG."
        )
    return [format for format in FORMATS if format in Image.OPEN]


def _has_more(image: Image.Image) -> bool:
    """True if a file has more images than the one read. The second of a phone's MPO does not count."""
    try:
        return image.format not in ("MPO", "HEIF") and bool(getattr(image, "is_animated", False))
    except Exception:  # what comes after the first image is damaged
        return True


def _read(path: Path, name: str) -> io.BytesIO:
    """The file's content, read at once: no file stays open, and I/O errors are separate from damage."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{name}: is a folder; give one image.")
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device may never end
            raise ImageError(f"{name}: is no file but a pipe or a device; give an image.")
        if status.st_size > MAX_BYTES:
            raise ImageError(f"{name}: is longer than {MAX_BYTES >> 20} MiB; give a smaller image.")
        return io.BytesIO(path.read_bytes())
    except FileNotFoundError as error:
        raise ImageError(f"{name}: there is no such file; check the path.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{name}: cannot be read ({reason}); check the file.") from error


def _upright(image: Image.Image) -> Image.Image:
    """Turned as the camera was held; an image whose EXIF is damaged stays as it is."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # SyntaxError, if something else stands where the EXIF data should
        return image.copy()


def _rgb(image: Image.Image, deep: bool) -> Image.Image:
    """Any mode of Pillow's -> RGB. Its own conversion would clip 16-bit greys to white.

    Args:
        deep: whole numbers in the mode "I" are 16-bit values, whatever the largest of them is.
    """
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_eight_bits(np.asarray(image), image.mode, deep)).convert("RGB")
    if image.mode == "LAB":
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(grey: np.ndarray, mode: str, deep: bool) -> np.ndarray:
    """Greys of more than 8 bits (height, width) -> uint8, full scale to full scale.

    The full scale of 16 bits is 65,535. Of 32-bit whole numbers and floats no header says it: it is the least
    of 255, 65,535 and 2^31 - 1 that no value exceeds, and 1 for floats that do not exceed 1. A value that is
    not a number is black.
    """
    high = max((float(block[np.isfinite(block)].max(initial=0)) for block in _blocks(grey)), default=0.0)
    if mode.startswith("I;16") or (mode == "I" and deep):
        top = 65535
    elif mode == "F" and high <= 1:
        top = 1
    else:
        top = next((full for full in (255, 65535) if high <= full), 2**31 - 1)
    out = np.empty(grey.shape, np.uint8)
    for block, into in zip(_blocks(grey), _blocks(out), strict=True):
        values = np.nan_to_num(block.astype(np.float32), nan=0.0, posinf=top, neginf=0.0)
        into[...] = (values.clip(0, top) * (255 / top) + 0.5).astype(np.uint8)
    return out


def _blocks(array: np.ndarray) -> list[np.ndarray]:
    """Views of rows, of about _BLOCK values each: an image of the largest size is scaled in bounded
    memory."""
    rows = max(1, _BLOCK // max(1, array.shape[1]))
    return [array[start : start + rows] for start in range(0, len(array), rows)]
