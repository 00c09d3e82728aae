"""Skin: lines along noses are held, and colours are those that skin has."""

import pytest
import torch

from voice2face_gan.models.generators.attributes import LUMINANCE
from voice2face_gan.models.generators.skin import SKIN, WIDTH, WITHIN, Skin


def average(side: int = 64) -> torch.Tensor:
    """Skin in the middle of what is usual, with a soft shadow beside the nose and a texture of its own."""
    red, blue = SKIN[0], -SKIN[1]
    image = torch.tensor([red, 0.0, blue])[None, :, None, None].expand(1, 3, side, side).clone()
    image += 0.05 * torch.randn(1, 1, side, side, generator=torch.Generator().manual_seed(0))
    image[..., side * 27 // 64] -= 0.2
    return image


@pytest.mark.parametrize("side", [32, 64])
def test_lines_along_the_nose_are_fainter_by_one_factor_and_the_average_face_keeps_its_own(side):
    skin, usual = Skin(side, 1.0), average(side)
    torch.testing.assert_close(skin.without_lines(usual, usual), usual)
    face, columns = usual.repeat(3, 1, 1, 1), [side - 1 - side * 36 // 64, side * 36 // 64]
    face[0, ..., columns[0]] += 0.3
    face[0, ..., columns[1]] -= 0.5
    face[1, ..., columns[1]] -= 0.05
    left = (skin.without_lines(face, usual) - usual) / (face - usual)
    nose, other = side // 2, [side // 16, side * 15 // 16]  # rows
    strong = left[0, :, nose, columns]
    assert (strong < 0.6).all(), "less of hard lines"
    torch.testing.assert_close(strong[:, 0], strong[:, 1], atol=0.06, rtol=0)
    assert (left[1, :, nose, columns[1]] > 0.85).all(), "most of faint ones"
    torch.testing.assert_close(left[0][:, other][..., columns], torch.ones(3, 2, 2), atol=0.02, rtol=0)
    assert not (skin.without_lines(face, usual) - usual)[2].any()


def test_the_harder_the_lines_the_less_is_left_of_them():
    skin, usual, column = Skin(64, 1.0), average(), 36
    faces = usual.repeat(4, 1, 1, 1)
    hardness = torch.tensor([0.02, 0.2, 0.5, 1.0])
    faces[..., column] -= hardness[:, None, None]
    fine = skin.without_lines(faces, usual) - usual
    fine = (fine - fine @ skin.around.t())[..., 32, column].mean(dim=1)
    assert (fine.diff() < 0).all() and (torch.diff(fine / hardness) > 0.02).all()
    assert fine[-1] > -0.4, "no more than that, however hard they are"


def test_what_is_wide_or_lies_across_stays():
    skin, usual = Skin(64, 1.0), average()
    across = usual.clone()
    across[:, :, 38] -= 0.5  # below the nose, from side to side
    torch.testing.assert_close(skin.without_lines(across, usual), across, atol=1e-5, rtol=0)
    for other in (usual + 0.4, usual + 0.4 * torch.linspace(-1, 1, 64)):
        torch.testing.assert_close(skin.without_lines(other, usual), other, atol=0.03, rtol=0)


@pytest.mark.parametrize("side", [32, 64, 128])
def test_the_blur_is_as_wide_as_it_says(side):
    row = Skin(side, 1.0).around[side // 2]
    assert row.sum() == pytest.approx(1, abs=1e-5)
    places = torch.arange(side) - float(side // 2)
    assert (row * places.square()).sum().sqrt() / side == pytest.approx(WIDTH, rel=0.15)


@pytest.mark.parametrize(
    "colour", [(0.1, 0.05, 0.0), (0.6, -0.1, -0.6), (-0.3, -0.35, -0.4), (0.9, 0.8, 0.9), (-1.0, -1.0, -1.0)]
)
def test_grey_and_orange_skin_becomes_as_skin_is_at_the_same_luminance(colour):
    skin, face = Skin(64, 1.0), torch.tensor(colour)[None, :, None, None].expand(1, 3, 64, 64)
    after = skin.coloured(face)[0, :, 32, 32]
    if min(colour) > -1:
        luminance = torch.tensor(LUMINANCE)
        assert after @ luminance == pytest.approx(float(torch.tensor(colour) @ luminance), abs=1e-4)
        difference = torch.stack([after[0] - after[1], after[1] - after[2]])
        assert ((difference - torch.tensor(SKIN)).abs() < torch.tensor(WITHIN) + 1e-6).all()
    assert after.isfinite().all()


def test_usual_skin_stays_and_other_colours_keep_their_order():
    skin, usual = Skin(64, 1.0), average()
    torch.testing.assert_close(skin.coloured(usual), usual, atol=0.02, rtol=0)
    redder = torch.linspace(-0.15, 0.15, 7)[:, None, None, None] * torch.tensor([1.0, 0, 0])[:, None, None]
    after = skin.coloured(usual + redder)[:, :, 32, 32]
    red = after[:, 0] - after[:, 1]
    assert (red.diff() > 0).all() and red[-1] - red[0] < 2 * WITHIN[0] < 0.3


def test_all_of_the_face_is_in_another_light_and_its_middle_alone_says_which():
    skin, face = Skin(64, 1.0), average()
    face[:, 0] -= 0.2
    after = skin.coloured(face)
    gain = (after + 1) / (face + 1)
    torch.testing.assert_close(gain, gain[:, :, :1, :1].expand_as(gain))
    assert gain[0, 0, 0, 0] > 1.01 > gain[0, 1, 0, 0]
    other = face.clone()
    other[:, :, :20] = torch.tensor([-0.9, -0.9, 0.9])[:, None, None]  # hair
    torch.testing.assert_close((skin.coloured(other) + 1) / (other + 1), gain, atol=1e-3, rtol=0)


def test_forward_is_both():
    skin, usual = Skin(64, 1.0), average()
    face = usual + 0.3 * torch.randn(3, 3, 64, 64)
    wanted = skin.coloured(skin.without_lines(face, usual))
    torch.testing.assert_close(skin(face, usual), wanted)
    assert not torch.allclose(skin(face, usual), skin.coloured(face), atol=0.02)
