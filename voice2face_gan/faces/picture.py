"""Any picture file -> an upright RGB picture, or one sentence that says why not.

Pictures come from the web by the million: some are cut short, some are text with a picture's ending, and a
few kilobytes of PNG can unfold to gigabytes. The size is read from the header and judged before a single
pixel is decoded, and only formats that are decoded in this process are tried (Pillow hands EPS to another
program).
"""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from voice2face_gan.errors import PictureError

MAX_PIXELS = 100_000_000
"""Width x height of the largest picture that is opened: what the largest cameras in common use give."""

MAX_BYTES = 512 * 2**20
"""Longest file that is read."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "MPO", "AVIF")


def open_picture(source: str | os.PathLike | bytes, least_side: int | None = None) -> Image.Image:
    """Open a picture safely.

    Args:
        source: a path, or the bytes of a file.
        least_side: that many pixels of the shorter side are enough. A JPEG larger than this is decoded at a
            half, quarter or eighth of its size, which saves most of the time; others keep their size.

    Returns:
        RGB, upright (the EXIF orientation is applied); 16-bit values are scaled to 8 bits, what is
        transparent is laid on white, of an animation the first picture is given.

    Raises:
        PictureError: missing, empty, no picture, cut short, or larger than MAX_PIXELS.
    """
    name = "the bytes given" if isinstance(source, bytes) else Path(source).name
    content = io.BytesIO(source) if isinstance(source, bytes) else _read(Path(source), name)
    if not content.getbuffer().nbytes:
        raise PictureError(f"{name}: is empty (0 bytes); give a picture.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # judged below, by our own limit
        try:
            picture = Image.open(content, formats=[f for f in FORMATS if f in _known()])
        except Image.DecompressionBombError as error:
            raise PictureError(f"{name}: is far too large to open; give a picture of usual size.") from error
        except Exception as error:  # a damaged header makes Pillow's readers raise almost anything
            raise PictureError(
                f"{name}: is not a picture that can be read, or is damaged; give a JPEG, PNG or WebP file."
            ) from error
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise PictureError(
            f"{name}: is {width} x {height} pixels, more than {MAX_PIXELS // 10**6} million; make it smaller."
        )
    if least_side is not None and min(width, height) > least_side:
        scale = least_side / min(width, height)
        picture.draft("RGB", (max(1, round(width * scale)), max(1, round(height * scale))))
    try:
        picture.load()
        return _rgb(_upright(picture))
    except Exception as error:  # as above, of a damaged body
        raise PictureError(f"{name}: is damaged or cut short ({error}); get the file again.") from error


def _known() -> set[str]:
    """The formats that this Pillow can read (AVIF is not in every build)."""
    Image.init()
    return set(Image.OPEN)


def _read(path: Path, name: str) -> io.BytesIO:
    """The file's content: reading it at once leaves no open file behind and tells I/O errors from damage."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise PictureError(f"{name}: is longer than {MAX_BYTES >> 20} MiB; give a smaller picture.")
        return io.BytesIO(path.read_bytes())
    except FileNotFoundError as error:
        raise PictureError(f"{name}: there is no such file; check the path.") from error
    except IsADirectoryError as error:
        raise PictureError(f"{name}: is a folder; give one picture.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PictureError(f"{name}: cannot be read ({reason}); check the file.") from error


def _upright(picture: Image.Image) -> Image.Image:
    """Turned as the camera was held; a picture whose EXIF is damaged stays as it is."""
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:
        return picture


def _rgb(picture: Image.Image) -> Image.Image:
    """Any mode of Pillow's -> RGB. Its own conversion would clip 16-bit greys to white."""
    if picture.mode == "RGB":
        return picture
    if picture.mode.startswith(("I", "F")):
        grey = np.asarray(picture).astype(np.float32)
        top = 1 if picture.mode == "F" and grey.max() <= 1 else 255
        top = 65535 if picture.mode.startswith("I;16") or grey.max() > 255 else top
        return Image.fromarray((grey.clip(0, top) * (255 / top) + 0.5).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return picture.convert("RGB")
