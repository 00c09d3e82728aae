"""Choosing and finding faces. Real faces are looked for where they lie beside the checkout."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from voice2face_gan.errors import ImageError
from voice2face_gan.faces.align import TEMPLATE, align
from voice2face_gan.faces.detect import Face, FaceDetector, NoFaceError, choose
from voice2face_gan.faces.image_io import open_image

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_dlib = pytest.mark.skipif(
    not all(importlib.util.find_spec(n) for n in ("dlib", "face_recognition_models")),
    reason="the extra faces is not installed",
)
needs_faces = pytest.mark.skipif(not SHARED.is_dir(), reason="no real faces here")


def made(left: float, size: float) -> Face:
    return Face((left, 0.0, left + size, size), size * TEMPLATE + (left, 0.0), 1.0)


def test_the_largest_is_taken():
    assert choose([made(0, 50), made(200, 80)]).box[0] == 200


def test_none_several_and_small_give_different_errors():
    for faces, options, reason in (
        ([], {}, "no face"),
        ([made(0, 50), made(90, 60)], {"several": "reject"}, "several faces"),
        ([made(0, 30)], {"least_eye_distance": 10}, "face too small"),
    ):
        with pytest.raises(NoFaceError) as error:
            choose(faces, name="x.jpg", **options)
        assert error.value.reason == reason and str(error.value).startswith("x.jpg: ")


def test_a_point_selects_one_of_several_faces():
    faces = [made(0, 50), made(200, 80)]
    assert choose(faces, several="reject", near=(30.0, 20.0)).box[0] == 0


def test_an_unknown_detector_is_refused():
    with pytest.raises(ImageError, match="hog or cnn"):
        FaceDetector("best")


def test_without_dlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(ImageError, match=r"voice2face-gan\[faces\]"):
        FaceDetector()


@needs_dlib
def test_nothing_is_found_in_nothing():
    assert FaceDetector().find(Image.new("RGB", (64, 48), "grey")) == []
    assert FaceDetector().find(Image.new("RGB", (1, 1))) == []


@needs_dlib
@needs_faces
@pytest.mark.parametrize("pattern", ["faces/utkface/0200*.webp", "paired/voxceleb/face/001*.webp"])
def test_real_faces_land_on_the_template(pattern):
    paths = sorted(SHARED.glob(pattern))[:8]
    detector, eyes = FaceDetector(), []
    for path in paths:
        image = open_image(path)
        face = choose(detector.find(image))
        again = detector.find(Image.fromarray(align(image, face.points, 128)[0]).resize((256, 256)))
        eyes += [f.points / 256 for f in again]
    assert len(eyes) >= len(paths) - 1
    middle = np.median(eyes, axis=0)
    np.testing.assert_allclose(middle[:4], TEMPLATE[:4], atol=0.02)
    np.testing.assert_allclose(middle[4], TEMPLATE[4], atol=0.04)


@needs_dlib
@needs_faces
def test_points_are_in_the_image_s_own_pixels():
    image = open_image(sorted(SHARED.glob("paired/voxceleb/face/*.webp"))[0])
    detector = FaceDetector()
    small = detector.find(image)[0].points
    large = detector.find(image.resize((8 * image.width, 8 * image.height)))[0].points
    np.testing.assert_allclose(large / 8, small, atol=0.04 * image.width)


@needs_dlib
@needs_faces
@pytest.mark.slow
def test_the_cnn_finds_the_same_face():
    image = open_image(sorted(SHARED.glob("paired/voxceleb/face/*.webp"))[0])
    hog, cnn = (FaceDetector(kind).find(image)[0].points for kind in ("hog", "cnn"))
    np.testing.assert_allclose(hog, cnn, atol=0.06 * image.width)
