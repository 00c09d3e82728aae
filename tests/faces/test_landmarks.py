"""The 68 landmarks: doubles of the lists, the mean shape on the template, dlib's predictor on drawn faces."""

import numpy as np
import pytest

from voice2face_gan.errors import ImageError
from voice2face_gan.faces.align import EYE_DISTANCE, EYES_Y, TEMPLATE, similarity, zoomed
from voice2face_gan.faces.landmarks import LIST_ORDER, LandmarkPredictor, from_lists, predictor, to_template
from voice2face_gan.faces.mean_shape import MEAN_SHAPE, POINTS, TEMPLATE_BOX


def test_72_points_of_the_lists_hold_68_different_ones():
    """The corners of the lips are in both lips: 48, 54, 60 and 64."""
    assert len(LIST_ORDER) == 72 and set(LIST_ORDER) == set(range(68))
    assert sorted(i for i in set(LIST_ORDER) if LIST_ORDER.count(i) == 2) == [48, 54, 60, 64]
    points = np.random.default_rng(0).random((3, 68, 2))
    listed = points[:, list(LIST_ORDER)]
    assert np.allclose(from_lists(listed), points) and np.allclose(from_lists(listed.reshape(3, 144)), points)
    with pytest.raises(ImageError, match="not 72 points"):
        from_lists(points)


def test_a_double_that_differs_is_averaged():
    listed = np.zeros((72, 2))
    first, second = (i for i, point in enumerate(LIST_ORDER) if point == 54)
    listed[first], listed[second] = (1, 2), (3, 6)
    assert from_lists(listed)[54].tolist() == [2, 4]


def test_the_mean_shape_lies_on_the_template():
    """Eyes where `align` puts them; upright; no two points in one place, so that a spline can use them
    all."""
    assert MEAN_SHAPE.shape == (POINTS, 2)
    eyes = MEAN_SHAPE[36:42].mean(axis=0), MEAN_SHAPE[42:48].mean(axis=0)
    assert np.allclose([(eyes[0] + eyes[1]) / 2], [0.5, EYES_Y], atol=0.01)
    assert abs(eyes[1][0] - eyes[0][0] - EYE_DISTANCE) < 0.01
    jaw, brows, mouth = MEAN_SHAPE[:17, 1], MEAN_SHAPE[17:27, 1], MEAN_SHAPE[48:, 1]
    assert brows.max() < eyes[0][1] < mouth.min() < jaw.max() < 1
    assert np.all(np.diff(MEAN_SHAPE[:17, 0]) > 0), "the jaw runs from left to right in the image"
    apart = np.linalg.norm(MEAN_SHAPE[:, None] - MEAN_SHAPE[None], axis=2) + np.eye(POINTS)
    assert apart.min() > 0.015
    assert np.allclose(np.sort(MEAN_SHAPE[:, 0]), np.sort(1 - MEAN_SHAPE[:, 0]), atol=1e-9), "symmetric"
    assert np.all(TEMPLATE_BOX[0] - 0.05 < MEAN_SHAPE) and np.all(TEMPLATE_BOX[1] + 0.05 > MEAN_SHAPE)


def test_landmarks_move_as_the_image_does():
    random = np.random.default_rng(1)
    shear_free = np.array([[3.0, -1.0], [1.0, 3.0]])
    five = zoomed(TEMPLATE, 1.2) @ shear_free.T * 40 + [5, 9]  # a turned, enlarged face
    points = random.random((68, 2)) * 100
    moved = to_template(points, five, side=64, zoom=1.2)
    assert np.allclose(to_template(five, five, side=64, zoom=1.2), zoomed(TEMPLATE, 1.2) * 64)
    assert np.allclose(similarity(points, moved), similarity(five, zoomed(TEMPLATE, 1.2) * 64))


@pytest.fixture(scope="module")
def faces():
    pytest.importorskip("dlib")
    from voice2face_gan.synthetic.face import render
    from voice2face_gan.synthetic.speakers import sample_speakers

    return render(sample_speakers(4, seed=3), side=128)


def test_dlib_finds_the_landmarks_on_the_template(faces):
    """Drawn faces lie on the template: on the mean of some, each eye is where the mean shape has it."""
    found = np.mean([predictor().on_template(face) for face in faces], axis=0) / 128
    for part in (slice(36, 42), slice(42, 48)):
        assert np.abs(found[part].mean(axis=0) - MEAN_SHAPE[part].mean(axis=0)).max() < 0.03
    assert found[:17, 0].argmin() < 4 and found[:17, 0].argmax() > 12


def test_a_face_of_some_pixels_is_refused_in_a_sentence():
    pytest.importorskip("dlib")
    for side in (1, 8):
        with pytest.raises(ImageError, match=f"image of {side} x {side} pixels .* too small for landmarks"):
            predictor().on_template(np.zeros((side, side, 3), np.uint8))


def test_without_dlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "dlib", None)
    with pytest.raises(ImageError, match=r"voice2face-gan\[faces\]"):
        LandmarkPredictor()
