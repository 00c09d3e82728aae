"""Opening pictures: whatever the file, an upright RGB picture or one sentence."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from voice2face_gan.errors import PictureError
from voice2face_gan.faces.picture import open_picture

RAMP = np.linspace(0, 255, 40).astype(np.uint8)[None].repeat(30, axis=0)  # dark on the left


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is so large; its pixels would be white noise of any length."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(1000))
    parts = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (chunk, data))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("size", [(20_000, 20_000), (11_000, 10_000), (2**31 - 1, 2**31 - 1)])
def test_a_picture_bomb_is_refused_before_it_is_decoded(size):
    with pytest.raises(PictureError, match="pixels|too large"):
        open_picture(png_header(*size))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"this is no picture at all, though it is named like one", "not a picture"),
        (encoded(Image.effect_noise((60, 60), 90), "PNG")[:-900], "damaged or cut short"),
        (encoded(Image.fromarray(RAMP).resize((400, 300)), "JPEG")[:1500], "damaged or cut short"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not a picture"),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path, content, words):
    path = tmp_path / "face.jpg"
    path.write_bytes(content)
    with pytest.raises(PictureError, match=words) as error:
        open_picture(path)
    assert str(error.value).startswith("face.jpg: ")


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(PictureError, match="no such file"):
        open_picture(tmp_path / "none.png")
    with pytest.raises(PictureError, match="is a folder"):
        open_picture(tmp_path)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "P", "LA", "RGBA", "1"])
def test_every_mode_becomes_rgb(mode):
    kind = "TIFF" if mode == "CMYK" else "PNG"
    opened = open_picture(encoded(Image.fromarray(RAMP).convert(mode), kind))
    assert opened.mode == "RGB" and opened.size == (40, 30)
    if mode != "1":
        np.testing.assert_allclose(np.asarray(opened)[:, :, 0], RAMP, atol=3)


def test_sixteen_bits_are_scaled():
    sixteen = Image.fromarray(RAMP.astype(np.uint16) * 257)
    np.testing.assert_array_equal(np.asarray(open_picture(encoded(sixteen, "PNG")))[:, :, 1], RAMP)


def test_floats_are_scaled():
    floats = Image.fromarray((RAMP / 255).astype(np.float32))
    np.testing.assert_allclose(np.asarray(open_picture(encoded(floats, "TIFF")))[:, :, 1], RAMP, atol=1)


def test_what_is_transparent_is_white():
    layer = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    assert np.asarray(open_picture(encoded(layer, "PNG"))).min() == 255


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: to be shown turned by 90 degrees clockwise
    opened = open_picture(encoded(Image.fromarray(RAMP).convert("RGB"), "JPEG", exif=exif))
    assert opened.size == (30, 40)
    grey = np.asarray(opened)[:, :, 0].astype(int)
    assert grey[-3:].mean() > grey[:3].mean() + 150  # the bright right has become the bottom


def test_large_jpegs_are_decoded_smaller():
    content = encoded(Image.fromarray(RAMP).convert("RGB").resize((3200, 2400)), "JPEG")
    assert open_picture(content, least_side=300).size == (400, 300)
    assert open_picture(content).size == (3200, 2400)
