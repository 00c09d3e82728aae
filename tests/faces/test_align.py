"""Alignment, by closed forms: known points go where the template says, and pixels with them."""

import numpy as np
import pytest
from PIL import Image

from voice2face_gan.errors import ImageError
from voice2face_gan.faces.align import (
    TEMPLATE,
    ZOOM_ABOUT,
    align,
    eye_distance,
    plain,
    similarity,
    visible_box,
    zoomed,
)
from voice2face_gan.synthetic import face, speakers


def transform(points: np.ndarray, scale: float, degrees: float, shift: tuple[float, float]) -> np.ndarray:
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return scale * points @ np.array([[cos, sin], [-sin, cos]]) + shift


def test_the_template_has_the_eyes_of_the_synthetic_world():
    np.testing.assert_allclose(TEMPLATE[:2].mean(axis=0), face.EYE_LEFT)
    np.testing.assert_allclose(TEMPLATE[2:4].mean(axis=0), face.EYE_RIGHT)
    assert eye_distance(100 * TEMPLATE) == pytest.approx(26)
    assert face.EYE_LEFT[1] < TEMPLATE[4, 1] < face.MOUTH[1]


@pytest.mark.parametrize(("scale", "degrees"), [(1, 0), (137.0, 31.0), (0.2, -178.0)])
def test_a_similarity_is_recovered(scale, degrees):
    points = transform(TEMPLATE, scale, degrees, (12.0, -7.0))
    found = similarity(points, TEMPLATE)
    np.testing.assert_allclose(np.c_[points, np.ones(5)] @ found.T, TEMPLATE, atol=1e-9)


def test_least_squares_neither_shears_nor_mirrors():
    rng = np.random.default_rng(0)
    found = similarity(rng.normal(size=(5, 2)), TEMPLATE)
    np.testing.assert_allclose(found[0, 0], found[1, 1])
    np.testing.assert_allclose(found[0, 1], -found[1, 0])


def test_points_in_one_place_are_refused():
    with pytest.raises(ImageError, match="one place"):
        align(Image.new("RGB", (64, 64)), np.full((5, 2), 20.0))


@pytest.mark.parametrize("side", [64, 128])
@pytest.mark.parametrize(("scale", "degrees"), [(150.0, 0.0), (300.0, 20.0), (600.0, -35.0), (40.0, 10.0)])
def test_marks_at_the_points_land_on_the_template(side, scale, degrees):
    points = transform(TEMPLATE, scale, degrees, (0.0, 0.0))
    points += scale * 1.5 - points.mean(axis=0)
    size = int(3 * scale)
    y, x = np.mgrid[:size, :size] + 0.5
    for i in (0, 3, 4):
        squared = (x - points[i, 0]) ** 2 + (y - points[i, 1]) ** 2
        spot = 255 * np.exp(-squared / (2 * (0.025 * scale) ** 2))
        image = Image.fromarray(spot.astype(np.uint8)).convert("RGB")
        weights = align(image, points, side)[0][:, :, 0].astype(float)
        centre = np.array(
            [(weights.sum(axis=a) * (np.arange(side) + 0.5)).sum() / weights.sum() for a in (0, 1)]
        )
        np.testing.assert_allclose(centre / side, TEMPLATE[i], atol=0.15 / side)


def test_a_rendered_face_comes_back():
    large = Image.fromarray(face.render(speakers.sample_speakers(1, seed=3), side=256)[0])
    turned = large.rotate(25, Image.Resampling.BICUBIC, expand=True)
    points = transform(256 * (TEMPLATE - 0.5), 1.0, -25.0, (turned.width / 2, turned.height / 2))
    wanted = np.asarray(large.resize((64, 64), Image.Resampling.BOX)).astype(int)
    difference = np.abs(align(turned, points)[0].astype(int) - wanted)[8:56, 8:56]
    assert difference.mean() < 2.5


def test_fine_patterns_become_grey_and_not_moire():
    board = np.indices((1024, 1024)).sum(axis=0) % 2 * 255
    image = Image.fromarray(board.astype(np.uint8)).convert("RGB")
    aligned = align(image, transform(TEMPLATE, 1000.0, 9.0, (12.0, 12.0)), 64)[0][12:52, 12:52]
    assert np.abs(aligned.astype(int) - 127).max() < 12


def test_beyond_the_edges_the_image_goes_on():
    image = Image.new("RGB", (100, 100), (200, 100, 50))
    aligned = align(image, transform(TEMPLATE, 160.0, 0.0, (-30.0, -30.0)))[0]
    assert np.abs(aligned.astype(int) - (200, 100, 50)).max() <= 1


def test_what_a_face_shows_of_its_image_is_just_what_was_not_made_up():
    """What is made up is told by a larger image, of which the first is a part."""
    rng = np.random.default_rng(0)
    for degrees in (0.0, 12.0, -20.0):
        points = transform(TEMPLATE, 160.0, degrees, (0.0, 0.0))
        points += (55, 45) - points.mean(axis=0)
        small = Image.fromarray(rng.integers(0, 256, (90, 100, 3), dtype=np.uint8))
        large = Image.fromarray(rng.integers(0, 256, (490, 500, 3), dtype=np.uint8))
        large.paste(small, (200, 200))
        face, (left, top, right, bottom) = align(small, points)
        whole, box = align(large, points + 200)
        assert box == (0, 0, 64, 64)
        same = np.abs(face.astype(int) - whole).max(axis=2) <= 2
        # Two pixels from the edge resampling does not reach beyond it.
        assert same[top + 2 : bottom - 2, left + 2 : right - 2].all() and right - left > 20
        assert not same.all() and same.sum() < 3 * (right - left) * (bottom - top)
        if not degrees:  # no more rows or columns show the image
            for row, column in ((top - 2, 32), (bottom + 1, 32), (32, left - 2), (32, right + 1)):
                assert not same[row, column]


def test_an_image_far_away_shows_nothing():
    moved = np.array([[0.01, 0, 3.0], [0, 0.01, 0.0]])
    assert visible_box(moved, (100, 100), 64) == (0, 0, 0, 0)
    assert visible_box(np.array([[0.01, 0, 0], [0, 0.01, 0]]), (100, 100), 64) == (0, 0, 64, 64)


def test_nearer_faces_keep_the_mouth_in_its_place():
    large = Image.fromarray(face.render(speakers.sample_speakers(1, seed=3), side=256)[0])
    near, box = align(large, 256 * TEMPLATE, 64, zoom=1.5)
    assert box == (0, 0, 64, 64)
    corner = ZOOM_ABOUT * (1 - 1 / 1.5)
    cut = large.crop(tuple(256 * v for v in (*corner, *(corner + 1 / 1.5))))
    wanted = np.asarray(cut.resize((64, 64), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(near.astype(int) - wanted).mean() < 2
    np.testing.assert_allclose(zoomed(ZOOM_ABOUT[None], 1.5)[0], ZOOM_ABOUT)
    assert eye_distance(zoomed(TEMPLATE, 1.5)) == pytest.approx(1.5 * eye_distance(TEMPLATE))
    # An aligned set, cut in the same way.
    assert np.abs(plain(large, 64, zoom=1.5).astype(int) - wanted).mean() < 2


def test_plain_takes_the_middle_or_a_crop():
    image = Image.fromarray(np.arange(200, dtype=np.uint8)[None].repeat(100, axis=0)).convert("RGB")
    middle, left = plain(image, 64), plain(image, 64, (0.0, 0.0, 0.5, 1.0))
    assert middle.shape == (64, 64, 3) and abs(int(middle[32, 32, 0]) - 100) <= 2
    assert abs(int(left[32, 32, 0]) - 50) <= 2
