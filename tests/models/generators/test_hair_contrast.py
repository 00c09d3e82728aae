"""The mean of detail's noise: hair and what is beyond it go apart."""

import pytest
import torch

from voice2face_gan.models.generators.hair_contrast import HairContrast


def plain(light: float, side: int = 64) -> torch.Tensor:
    return torch.full((1, 3, side, side), light)


@pytest.mark.parametrize("side", [32, 64])
def test_dark_hair_has_a_light_wall_behind_it(side):
    mean = HairContrast(side, 1.0)(plain(-0.6, side))
    assert mean.shape == (1, 1, side, side)
    mean = mean[0, 0]
    assert mean.min() >= -1 and mean.max() <= 1
    tenth = side / 10
    for x, y in ((5, 0.9), (3, 1.6), (7, 1.6), (2.4, 2.6)):  # crown, sides
        assert mean[int(y * tenth), int(x * tenth)] < -0.2, (x, y)
    for x, y in ((0.2, 0.3), (9.7, 0.3), (0.1, 5), (9.8, 7)):
        assert mean[int(y * tenth), int(x * tenth)] > 0.7, (x, y)
    assert mean[int(2.5 * tenth), side // 2] > 0.1, "the forehead"
    for x, y in ((5, 4.5), (5, 6), (5, 9), (3.5, 6)):  # eyes, mouth, neck, cheek
        assert abs(mean[int(y * tenth), int(x * tenth)]) < 0.1, (x, y)
    torch.testing.assert_close(mean, mean.flip(1), atol=1e-5, rtol=0)


def test_how_light_hair_and_wall_are_together_changes_nothing():
    contrast = HairContrast(64, 1.0)
    torch.testing.assert_close(contrast(plain(0.5)), contrast(plain(-0.6)), atol=1e-5, rtol=0)


def test_beside_the_jaw_is_hair_where_it_is_darker_beside_the_ears_than_the_wall():
    contrast, images = HairContrast(64, 1.0), plain(-0.6).repeat(3, 1, 1, 1)
    beside = contrast.jaw > 0.1
    assert beside[45, 10] and beside[45, 53] and not beside[45, 20:44].any() and not beside[:35].any()
    ears = contrast.told < -1e-4
    assert ears[34, 8] and ears[34, 55] and not ears[:, 18:46].any() and not ears[:25].any()
    images[1] -= 0.035 * ears
    images[2] -= 0.2 * ears
    short, middle, long = contrast(images)[:, 0, 46, 11]
    assert long < -0.2 and short > 0.2 and long < middle < short
    short, _, long = contrast(images)[:, 0, 30, 10]
    assert long < short - 0.4, "long hair lies on the ears"
    found = contrast(images[:1])[0, 0]
    nothing_on_ears = contrast.always + 0.98 * contrast.jaw
    torch.testing.assert_close(found, nothing_on_ears, atol=0.01, rtol=0)
    images[0, :, :18] = -0.9
    assert contrast(images)[0, 0, 46, 11] > 0.2, "how dark the crown is says nothing of it"


def test_colours_count_as_much_as_each_other():
    contrast, image = HairContrast(64, 1.0), plain(-0.6)
    coloured = image + torch.tensor([0.4, -0.1, -0.3])[None, :, None, None]
    torch.testing.assert_close(contrast(coloured), contrast(image), atol=1e-5, rtol=0)


def test_shoulders_stay_as_they_are():
    mean = HairContrast(64, 1.0)(plain(-0.6))[0, 0]
    assert mean[63].abs().max() < 0.1 < 0.3 < mean[40, 0].abs()


def test_faces_that_are_smaller_have_less_hair():
    usual, smaller = (HairContrast(64, zoom)(plain(-0.6))[0, 0] for zoom in (1.0, 0.75))
    assert 0.4 < (smaller < -0.2).sum() / (usual < -0.2).sum() < 0.75
    assert (smaller > 0.5).sum() > 1.2 * (usual > 0.5).sum()
