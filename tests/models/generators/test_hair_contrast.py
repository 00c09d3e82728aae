"""The mean of detail's noise: hair and what is beyond it go apart, unless hair is as dark as light."""

import pytest
import torch

from voice2face_gan.models.generators.hair_contrast import LIGHT, LIGHT_HAIR, WIDTH, HairContrast


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


def test_light_hair_has_a_dark_wall_behind_it_of_less_contrast():
    contrast = HairContrast(64, 1.0)
    dark, light = contrast(plain(LIGHT - 1)), contrast(plain(LIGHT + 1))
    assert light.max() < 1e-6 and light.min() == pytest.approx(-LIGHT_HAIR, abs=0.01)
    assert light[0, 0, 30, 1] < -0.4 and light[0, 0, 1, 1] < -0.4
    assert light[0, 0, 14:54, 20:44].abs().max() < 0.1, "no hair, a head"
    assert light[0, 0, 32, 8] < -0.2 < dark[0, 0, 32, 8], "up to the ears, where dark hair may be"
    assert contrast(plain(LIGHT)).abs().max() < 1e-6
    middle = contrast(torch.cat([plain(LIGHT - WIDTH), plain(LIGHT - 0.001), plain(LIGHT + 0.001)]))
    assert 0.7 < middle[0].max() / dark.max() < 0.8, "a smooth way from the one to the other"
    assert (middle[1] - middle[2]).abs().max() < 0.08


def test_only_hair_says_how_light_it_is():
    contrast = HairContrast(64, 1.0)
    image = plain(-0.5)
    image[:, :, 26:, 20:44] = 1.0  # face and neck
    torch.testing.assert_close(contrast(image), contrast(plain(-0.5)), atol=0.03, rtol=0)
    image = plain(-0.5)
    image[:, :, :20, 8:56] = 0.5
    torch.testing.assert_close(contrast(image), contrast(plain(0.5)), atol=1e-3, rtol=0)


def test_beside_the_jaw_is_hair_where_it_is_darker_beside_the_ears_than_the_wall():
    contrast, images = HairContrast(64, 1.0), plain(-0.6).repeat(3, 1, 1, 1)
    beside = contrast.areas[3] > 0.1
    assert beside[45, 10] and beside[45, 53] and not beside[45, 20:44].any() and not beside[:35].any()
    ears = contrast.read > 0.1
    assert ears[34, 8] and ears[34, 55] and not ears[:, 18:46].any() and not ears[:25].any()
    images[1] -= 0.035 * ears
    images[2] -= 0.2 * ears
    short, middle, long = contrast(images)[:, 0, 46, 11]
    assert long < -0.2 and short > 0.2 and long < middle < short
    short, _, long = contrast(images)[:, 0, 30, 10]
    assert long < short - 0.4, "long hair lies on the ears"
    hair, beyond, forehead, jaw, *_ = contrast.areas
    found = contrast(images[:1])[0, 0]
    nothing_on_ears = beyond - hair + forehead + 0.98 * jaw
    torch.testing.assert_close(found, nothing_on_ears, atol=0.01, rtol=0)
    images[0, :, :18] = -0.9
    assert contrast(images)[0, 0, 46, 11] > 0.2, "how dark the crown is says nothing of it"


def test_colours_count_as_much_as_each_other():
    contrast, image = HairContrast(64, 1.0), plain(-0.6)
    coloured = image + torch.tensor([0.4, -0.1, -0.3])[None, :, None, None]
    torch.testing.assert_close(contrast(coloured), contrast(image), atol=1e-5, rtol=0)


def test_shoulders_stay_as_they_are():
    for light in (-0.6, 0.5):
        mean = HairContrast(64, 1.0)(plain(light))[0, 0]
        assert mean[63].abs().max() < 0.1 < 0.3 < mean[40, 0].abs(), light


def test_faces_that_are_smaller_have_less_hair():
    usual, smaller = (HairContrast(64, zoom)(plain(-0.6))[0, 0] for zoom in (1.0, 0.75))
    assert 0.4 < (smaller < -0.2).sum() / (usual < -0.2).sum() < 0.75
    assert (smaller > 0.5).sum() > 1.2 * (usual > 0.5).sum()
