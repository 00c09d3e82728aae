"""Files damaged at random, of every format: an RGB image or a ImageError comes out, nothing else."""

import io
import random

import numpy as np
import pytest
from PIL import Image

from voice2face_gan.errors import ImageError
from voice2face_gan.faces.image_io import open_image

QUICK, MANY = 12, 250  # damaged copies of each file


def samples() -> dict[str, bytes]:
    ramp = np.linspace(0, 255, 60).astype(np.uint8)[None].repeat(48, axis=0)
    colours = Image.fromarray(np.stack([ramp, ramp[:, ::-1], np.full_like(ramp, 90)], 2))
    sixteen = Image.fromarray(ramp.astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a phone"
    two = {"save_all": True, "append_images": [colours.rotate(90)]}
    files = {
        "jpeg": (colours, "JPEG", {"exif": exif}),
        "progressive": (colours, "JPEG", {"progressive": True}),
        "cmyk": (colours.convert("CMYK"), "JPEG", {}),
        "mpo": (colours, "MPO", two),
        "png": (colours, "PNG", {"exif": exif}),
        "png16": (sixteen, "PNG", {}),
        "palette": (colours.quantize(16), "PNG", {"transparency": 3}),
        "rgba": (colours.convert("RGBA"), "PNG", {}),
        "apng": (colours, "PNG", two),
        "webp": (colours, "WEBP", {}),
        "animated webp": (colours, "WEBP", two),
        "bmp": (colours, "BMP", {}),
        "gif": (colours, "GIF", two),
        "tiff": (colours, "TIFF", {}),
        "tiff16": (sixteen, "TIFF", {"compression": "tiff_adobe_deflate"}),
        "tiff lzw": (colours, "TIFF", {"compression": "tiff_lzw"}),
        "tiff jpeg": (colours, "TIFF", {"compression": "jpeg"}),
        "fax": (colours.convert("1"), "TIFF", {"compression": "group4"}),
        "floats": (Image.fromarray(ramp.astype(np.float32)), "TIFF", {}),
        "ppm": (colours, "PPM", {}),
        "avif": (colours, "AVIF", {}),
    }
    try:
        import pillow_heif

        pillow_heif.register_heif_opener()
        files["heic"] = (colours, "HEIF", {})
    except ImportError:
        pass
    made = {}
    for name, (image, kind, options) in files.items():
        file = io.BytesIO()
        image.save(file, kind, **options)
        made[name] = file.getvalue()
    return made


SAMPLES = samples()


def damaged(content: bytes, draw: random.Random) -> bytes:
    """A copy with some bytes changed, taken out, put in or overwritten, mostly near the beginning, or cut."""
    spoilt, way = bytearray(content), draw.randrange(6)
    for _ in range(draw.choice((1, 1, 2, 5, 20))):
        start = draw.randrange(min(len(spoilt), draw.choice((64, 400, 10**6))))
        end = min(len(spoilt), start + draw.randrange(1, 40))
        if way == 0:
            spoilt[start] = draw.randrange(256)
        elif way == 1:
            spoilt[start] ^= 1 << draw.randrange(8)
        elif way == 2 and end - start < len(spoilt):
            del spoilt[start:end]
        elif way == 3:
            spoilt[start:end] = bytes([draw.choice((0, 255))]) * (end - start)
        elif way == 4:
            spoilt[start:start] = draw.randbytes(draw.randrange(1, 9))
        elif way == 5:
            return bytes(spoilt[: max(1, start)])
    return bytes(spoilt)


def check(name: str, count: int, seed: str) -> tuple[int, int]:
    """(opened, refused)"""
    draw, opened, refused = random.Random(seed + name), 0, 0
    for i in range(count):
        content = damaged(SAMPLES[name], draw)
        try:
            image = open_image(content, draw.choice((None, 20)), [])
        except ImageError as error:
            assert str(error).startswith("the bytes given: ") and "\n" not in str(error)
            refused += 1
        except Exception as error:
            pytest.fail(f"{name}, copy {i}: {type(error).__name__}: {error}")
        else:
            assert image.mode == "RGB" and np.asarray(image).dtype == np.uint8
            opened += 1
    return opened, refused


@pytest.mark.parametrize("name", SAMPLES)
def test_damage_is_a_sentence_or_an_image(name):
    assert open_image(SAMPLES[name]).mode == "RGB"
    opened, refused = check(name, QUICK, "quick")
    assert opened + refused == QUICK and refused  # the damage is one


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLES)
def test_much_damage_is_a_sentence_or_an_image(name):
    opened, refused = check(name, MANY, "many")
    assert opened and refused


def test_noise_is_a_sentence():
    draw = random.Random(0)
    for head in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"GIF89a", b"BM", b"RIFF\0\0\0\0WEBP"):
        for _ in range(10):
            with pytest.raises(ImageError):
                open_image(head + draw.randbytes(200))
