"""Opening images: whatever the file, an upright RGB image or one sentence."""

import io
import os
import struct
import sys
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from voice2face_gan.errors import ImageError
from voice2face_gan.faces.image_io import open_image

RAMP = np.linspace(0, 255, 40).astype(np.uint8)[None].repeat(30, axis=0)  # dark on the left


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is so large; its pixels would be white noise of any length."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(1000))
    parts = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (chunk, data))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("size", [(20_000, 20_000), (11_000, 10_000), (2**31 - 1, 2**31 - 1)])
def test_an_image_bomb_is_refused_before_it_is_decoded(size):
    with pytest.raises(ImageError, match="pixels|too large"):
        open_image(png_header(*size))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"this is no image at all, though it is named like one", "not an image"),
        (encoded(Image.effect_noise((60, 60), 90), "PNG")[:-900], "damaged or cut short"),
        (encoded(Image.fromarray(RAMP).resize((400, 300)), "JPEG")[:1500], "damaged or cut short"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not an image"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, content, words):
    path = tmp_path / "face.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=words) as error:
        open_image(path)
    assert str(error.value).startswith("face.jpg: ")


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        open_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="is a folder"):
        open_image(tmp_path)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "P", "LA", "RGBA", "1"])
def test_every_mode_becomes_rgb(mode):
    kind = "TIFF" if mode == "CMYK" else "PNG"
    opened = open_image(encoded(Image.fromarray(RAMP).convert(mode), kind))
    assert opened.mode == "RGB" and opened.size == (40, 30)
    if mode != "1":
        np.testing.assert_allclose(np.asarray(opened)[:, :, 0], RAMP, atol=3)


def test_sixteen_bits_are_scaled():
    sixteen = Image.fromarray(RAMP.astype(np.uint16) * 257)
    np.testing.assert_array_equal(np.asarray(open_image(encoded(sixteen, "PNG")))[:, :, 1], RAMP)


def test_floats_are_scaled():
    floats = Image.fromarray((RAMP / 255).astype(np.float32))
    np.testing.assert_allclose(np.asarray(open_image(encoded(floats, "TIFF")))[:, :, 1], RAMP, atol=1)


def test_what_is_transparent_is_white():
    layer = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    assert np.asarray(open_image(encoded(layer, "PNG"))).min() == 255


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: to be shown turned by 90 degrees clockwise
    opened = open_image(encoded(Image.fromarray(RAMP).convert("RGB"), "JPEG", exif=exif))
    assert opened.size == (30, 40)
    grey = np.asarray(opened)[:, :, 0].astype(int)
    assert grey[-3:].mean() > grey[:3].mean() + 150  # the bright right has become the bottom


def test_large_jpegs_are_decoded_smaller():
    content = encoded(Image.fromarray(RAMP).convert("RGB").resize((3200, 2400)), "JPEG")
    assert open_image(content, least_side=300).size == (400, 300)
    assert open_image(content).size == (3200, 2400)


# Modes


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_whatever_their_largest_value(kind):
    """A dark one stays dark: its own largest value says nothing."""
    for scale in (257, 20, 1):
        sixteen = Image.fromarray(RAMP.astype(np.uint16) * scale)
        wanted = RAMP * (scale / 257)
        found = np.asarray(open_image(encoded(sixteen, kind)))[:, :, 0]
        np.testing.assert_allclose(found, wanted, atol=0.51)


def test_sixteen_bits_of_a_pgm_are_scaled():
    for scale in (257, 1):
        body = (RAMP.astype(np.uint16) * scale).astype(">u2").tobytes()
        found = np.asarray(open_image(b"P5 40 30 65535\n" + body))[:, :, 0]
        np.testing.assert_allclose(found, RAMP * (scale / 257), atol=1)


@pytest.mark.parametrize("top", [1, 255, 65_535, 2**31 - 1])
def test_whole_numbers_and_floats_are_scaled_to_the_least_full_scale(top):
    for dtype in (np.int32, np.float32):
        if top == 1 and dtype is np.int32:
            continue
        values = (RAMP.astype(np.float64) / 255 * top).astype(dtype)
        found = np.asarray(open_image(encoded(Image.fromarray(values), "TIFF")))[:, :, 1]
        np.testing.assert_allclose(found, RAMP, atol=1)


def test_floats_that_are_no_numbers_are_black_or_white():
    values = np.tile(np.array([np.nan, np.inf, -np.inf, -3, 0.5, 1], np.float32), (4, 1))
    found = np.asarray(open_image(encoded(Image.fromarray(values), "TIFF")))[0, :, 0]
    assert found.tolist() == [0, 255, 0, 0, 128, 255]


def test_large_greys_are_scaled_piece_by_piece(monkeypatch):
    sixteen = encoded(Image.fromarray(RAMP.astype(np.uint16) * 257), "PNG")
    monkeypatch.setattr("voice2face_gan.faces.image_io._BLOCK", 70)  # not even two rows
    np.testing.assert_array_equal(np.asarray(open_image(sixteen))[:, :, 1], RAMP)


def test_transparency_of_every_kind_is_white():
    colours = Image.fromarray(RAMP).convert("RGB")
    palette = colours.quantize(4)
    index = palette.getpixel((0, 0))
    for image, more in (
        (Image.new("LA", (8, 8), (10, 0)), {}),
        (palette, {"transparency": index}),
        (palette, {"transparency": bytes(0 if i == index else 255 for i in range(4))}),
        (Image.new("L", (8, 8), 7), {"transparency": 7}),
        (Image.new("RGB", (8, 8), (1, 2, 3)), {"transparency": (1, 2, 3)}),
    ):
        found = np.asarray(open_image(encoded(image, "PNG", **more)))
        assert (found[0, 0] == 255).all()
    half = Image.new("RGBA", (8, 8), (0, 0, 0, 128))
    assert abs(int(np.asarray(open_image(encoded(half, "PNG")))[0, 0, 0]) - 127) <= 1


def test_colours_of_cmyk_and_lab_come_back():
    colours = Image.fromarray(np.stack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 90)], 2))
    for kind in ("JPEG", "TIFF"):
        found = np.asarray(open_image(encoded(colours.convert("CMYK"), kind))).astype(int)
        assert np.abs(found - np.asarray(colours)).mean() < 4
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    other = ImageCms.profileToProfile(colours, srgb, lab, outputMode="LAB")
    found = np.asarray(open_image(encoded(other, "TIFF"))).astype(int)
    assert np.abs(found - np.asarray(colours)).mean() < 4


@pytest.mark.parametrize("profile", [b"", b"no profile at all", None])
def test_an_icc_profile_changes_nothing(profile):
    colours = Image.fromarray(RAMP).convert("RGB")
    if profile is None:
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    for kind in ("JPEG", "PNG", "TIFF", "WEBP"):
        given = open_image(encoded(colours, kind, icc_profile=profile))
        np.testing.assert_array_equal(np.asarray(given), np.asarray(open_image(encoded(colours, kind))))


# Files


@pytest.mark.parametrize("kind", ["BMP", "PNG", "GIF", "WEBP", "TIFF", "PPM", "AVIF"])
@pytest.mark.parametrize("name", ["face.jpg", "face", "face.txt"])
def test_the_content_decides_not_the_ending(tmp_path, kind, name):
    (tmp_path / name).write_bytes(encoded(Image.fromarray(RAMP).convert("RGB"), kind))
    opened = open_image(tmp_path / name)
    assert opened.mode == "RGB" and opened.size == (40, 30)
    np.testing.assert_allclose(np.asarray(opened)[:, :, 0], RAMP, atol=12)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_applied_in_every_format(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    colours = Image.fromarray(RAMP).convert("RGB")
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        content = encoded(colours, kind, exif=exif)
        with Image.open(io.BytesIO(content)) as stored:
            wanted = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
        np.testing.assert_array_equal(np.asarray(open_image(content)), wanted)
    assert open_image(content).size == ((30, 40) if orientation > 4 else (40, 30))


@pytest.mark.parametrize(
    "block",
    [
        b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>",
        b"Exif\0\0http://ns.adobe.com/xap",
        b"Exif\0\0II*\0\xff\xff\xff",
    ],
)
def test_exif_that_is_none_is_passed_over(block):
    """What stands where the EXIF data should, such as the address that XMP begins with."""
    content = encoded(Image.fromarray(RAMP).convert("RGB"), "JPEG")
    spoilt = content[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + content[2:]
    np.testing.assert_array_equal(np.asarray(open_image(spoilt)), np.asarray(open_image(content)))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_the_first_image_of_several_is_taken_with_a_note(kind):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    notes = []
    found = np.asarray(open_image(content, notes=notes))[8, 8].astype(int)
    assert np.abs(found - [255, 0, 0]).max() < 40
    assert notes == ["the bytes given: holds several images (an animation, or pages); the first is taken."]
    notes.clear()
    open_image(encoded(frames[0], kind), notes=notes)
    assert notes == []


def test_the_second_image_of_a_phone_is_no_other():
    """Phones put a preview or the other eye's view behind the photo (MPO)."""
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    notes = []
    opened = open_image(encoded(frames[0], "MPO", save_all=True, append_images=frames[1:]), notes=notes)
    assert opened.getpixel((8, 8))[0] > 240 and notes == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html>\n<html>404</html>", r"is a web page \(HTML\), not an image; get the file again"),
        (b"\xef\xbb\xbf\n <HTML><body>", "is a web page"),
        (b"<?xml version='1.0'?><svg/>", "is an SVG drawing"),
        (b"%PDF-1.7 ...", "is a PDF document; export it as JPEG or PNG"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "is a JPEG XL image, which is not read"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "is a JPEG 2000 image, which is not read"),
        (b"\x00\x00\x00\x18ftypisom" + bytes(40), "is a video, not an image"),
        (b"version https://git-lfs.github.com/spec/v1", "is a pointer of Git LFS"),
        (b"PK\x03\x04" + bytes(40), "is a zip archive; unpack it first"),
        (bytes(100), "is not an image"),
    ],
)
def test_a_refusal_names_what_is_there(tmp_path, content, words):
    (tmp_path / "face.jpg").write_bytes(content)
    with pytest.raises(ImageError, match=f"^face.jpg: {words}"):
        open_image(tmp_path / "face.jpg")


def test_pipes_and_devices_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", "/dev/zero"):
        with pytest.raises(ImageError, match="is no file but a pipe or a device"):
            open_image(path)
    with pytest.raises(ImageError, match="cannot be read"):
        open_image("a\0b.jpg")


def test_nothing_is_warned_of(monkeypatch):
    """Pillow's warnings of damaged files and large images would stand among a run's own lines."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # of 1200
    spoilt = encoded(Image.fromarray(RAMP).convert("RGB"), "TIFF")[:-100] + bytes(100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_image(encoded(Image.fromarray(RAMP), "PNG"))
        open_image(spoilt)


# HEIC and AVIF


def heic(image: Image.Image, **options) -> bytes:
    pytest.importorskip("pillow_heif").register_heif_opener()
    return encoded(image, "HEIF", **options)


def test_heic_is_read(tmp_path):
    (tmp_path / "IMG_0001.jpg").write_bytes(heic(Image.fromarray(RAMP).convert("RGB").resize((80, 60))))
    opened = open_image(tmp_path / "IMG_0001.jpg")
    assert opened.mode == "RGB" and opened.size == (80, 60)
    np.testing.assert_allclose(np.asarray(opened.resize((40, 30)))[:, :, 0], RAMP, atol=15)


def test_heic_is_turned_once():
    exif = Image.Exif()
    exif[0x0112] = 6
    opened = open_image(heic(Image.fromarray(RAMP).convert("RGB").resize((80, 60)), exif=exif.tobytes()))
    grey = np.asarray(opened)[:, :, 0].astype(int)
    assert opened.size == (60, 80) and grey[-3:].mean() > grey[:3].mean() + 150


def test_heic_without_its_reader_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for brands in (b"heic\0\0\0\0mif1heic", b"mif1\0\0\0\0mif1heic", b"msf1\0\0\0\0msf1hevc"):
        (tmp_path / "face.jpg").write_bytes(struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands + bytes(60))
        with pytest.raises(
            ImageError, match=r"HEIC image, .*pip install 'voice2face-gan\[heic\]', or export"
        ):
            open_image(tmp_path / "face.jpg")


def test_a_damaged_heic_is_a_sentence():
    content = heic(Image.fromarray(RAMP).convert("RGB"))
    for cut in (20, len(content) // 2, len(content) - 30):
        with pytest.raises(ImageError, match="damaged"):
            open_image(content[:cut])


def test_avif_without_its_reader_is_named(monkeypatch):
    content = encoded(Image.fromarray(RAMP).convert("RGB"), "AVIF")
    assert open_image(content).size == (40, 30)
    monkeypatch.delitem(Image.OPEN, "AVIF")
    with pytest.raises(ImageError, match="is an AVIF image, .*update Pillow, or export it as JPEG"):
        open_image(content)
