"""Skin: lines along noses, patches around mouths, faint brows and pale lips are held; colours are of skin."""

import pytest
import torch

from voice2face_gan.models.generators.attributes import LUMINANCE
from voice2face_gan.models.generators.skin import FAINT, PALE, SKIN, WIDTH, WITHIN, Skin


def average(side: int = 64) -> torch.Tensor:
    """Skin in the middle of what is usual, with a soft shadow beside the nose and a texture of its own."""
    red, blue = SKIN[0], -SKIN[1]
    image = torch.tensor([red, 0.0, blue])[None, :, None, None].expand(1, 3, side, side).clone()
    image += 0.05 * torch.randn(1, 1, side, side, generator=torch.Generator().manual_seed(0))
    image[..., side * 27 // 64] -= 0.2
    return image


def place(weights):
    """Where the weights (3, side, side) of a mean are large, and the mean row and column, of the side."""
    assert weights.sum() == pytest.approx(1, abs=1e-4)
    large = weights.sum(dim=0) > 0.3 * weights.sum(dim=0).max()
    return large, *(where.float().mean() / len(large) for where in large.nonzero().t())


def lighter(skin, weights, other):
    """How much lighter than what is around it that place is, (B,)."""
    narrow = other - skin.around @ other @ skin.around.t()
    return (weights * narrow).sum(dim=(1, 2, 3))


@pytest.mark.parametrize("side", [32, 64])
def test_lines_along_the_nose_are_fainter_by_one_factor(side):
    skin = Skin(side, 1.0)
    other, columns = torch.zeros(3, 3, side, side), [side - 1 - side * 36 // 64, side * 36 // 64]
    other[0, ..., columns[0]] += 0.3
    other[0, ..., columns[1]] -= 0.5
    other[1, ..., columns[1]] -= 0.02
    after = skin.without_lines(other)
    left = after / other
    nose, away = side // 2, [side // 16, side * 15 // 16]  # rows
    strong = left[0, :, nose, columns]
    assert (strong < 0.6).all(), "less of hard lines"
    torch.testing.assert_close(strong[:, 0], strong[:, 1], atol=0.06, rtol=0)
    assert (left[1, :, nose, columns[1]] > 0.9).all(), "most of faint ones"
    torch.testing.assert_close(left[0][:, away][..., columns], torch.ones(3, 2, 2), atol=0.02, rtol=0)
    assert not after[2].any()


def test_the_harder_the_lines_the_less_is_left_of_them():
    skin, column = Skin(64, 1.0), 36
    hardness = torch.tensor([0.02, 0.2, 0.5, 1.0])
    other = torch.zeros(4, 3, 64, 64)
    other[..., column] -= hardness[:, None, None]
    after = skin.without_lines(other)
    narrow = (after - after @ skin.around.t())[..., 32, column].mean(dim=1)
    assert (narrow.diff() < 0).all() and (torch.diff(narrow / hardness) > 0.02).all()
    assert narrow[-1] > -0.4, "no more than that, however hard they are"


def test_what_is_wide_or_lies_across_the_nose_stays():
    skin, across = Skin(64, 1.0), torch.zeros(1, 3, 64, 64)
    across[:, :, 38] -= 0.5  # below the nose, from side to side
    torch.testing.assert_close(skin.without_lines(across), across, atol=1e-5, rtol=0)
    for other in (torch.tensor(0.4), 0.4 * torch.linspace(-1, 1, 64)):
        other = other.expand(1, 3, 64, 64)
        torch.testing.assert_close(skin.without_lines(other), other, atol=0.03, rtol=0)


@pytest.mark.parametrize("side", [32, 64])
def test_brows_are_at_most_so_faint(side):
    skin = Skin(side, 1.0)
    brows, rows, columns = place(skin.hair)
    assert 0.33 < rows < 0.38 and abs(columns - 0.5) < 0.02
    strengths = torch.tensor([-0.5, 0.02, 0.3, 0.6])
    other = strengths[:, None, None, None] * brows.float().expand(4, 3, side, side)
    after = skin.not_lighter(other, skin.brows, skin.hair, FAINT)
    torch.testing.assert_close(after[:2], other[:2])
    found, given = (lighter(skin, skin.hair, part) for part in (after, other))
    assert (given[2:] > 1.5 * FAINT).all()
    assert FAINT < found[3] < 0.6 * given[3]
    left = after - other + skin.brows * (other - skin.around @ other @ skin.around.t())
    torch.testing.assert_close(left[2], left[3], atol=1e-5, rtol=0)
    assert (after[3] - other[3])[:, side // 2 :].abs().max() < 0.01, "the nose and below"
    coloured = after[3].mean(dim=(1, 2))
    torch.testing.assert_close(coloured, coloured[:1].expand(3))
    light = torch.full((1, 3, side, side), 0.5)
    torch.testing.assert_close(
        skin.not_lighter(light, skin.brows, skin.hair, FAINT), light, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("side", [32, 64])
def test_lips_are_at_most_so_pale(side):
    skin = Skin(side, 1.0)
    lips, rows, columns = place(skin.red)
    assert 0.68 < rows < 0.76 and abs(columns - 0.5) < 0.02
    other = torch.tensor([-0.5, 0.02, 0.4])[:, None, None, None] * lips.float().expand(3, 3, side, side)
    after = skin.not_lighter(other, skin.lips, skin.red, PALE)
    torch.testing.assert_close(after[:2], other[:2])
    found, given = (lighter(skin, skin.red, part)[2] for part in (after, other))
    assert given > 4 * PALE
    assert PALE < found < 2.5 * PALE, "the mask is soft at its edges"
    assert (after - other)[..., : side // 2, :].abs().max() < 0.01, "eyes and above"


def test_a_patch_around_the_mouth_is_fainter_in_all_colours_alike():
    skin = Skin(64, 1.0)
    patch = torch.tensor([-0.2, -0.1, 0.1])[:, None, None] * skin.mouth
    faint = torch.tensor([0.005, 0.0, 0.0])[:, None, None] * skin.mouth
    other = torch.stack([patch, faint, torch.full((3, 64, 64), -0.3)])
    after = skin.without_patch(other)
    left = after[0, :, 48, 32] / other[0, :, 48, 32]
    assert 0.3 < left[0] < 0.8 and (left - left[0]).abs().max() < 0.01
    assert after[1, 0, 48, 32] / other[1, 0, 48, 32] > 0.97
    torch.testing.assert_close(after[2], other[2], atol=1e-5, rtol=0)
    assert (after - other)[..., :32, :].abs().max() < 0.01, "eyes and above"


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


def test_forward_is_all_of_it():
    skin, usual = Skin(64, 1.0), average()
    face = usual + 0.3 * torch.randn(3, 3, 64, 64)
    other = skin.not_lighter(face - usual, skin.brows, skin.hair, FAINT)
    other = skin.not_lighter(other, skin.lips, skin.red, PALE)
    other = skin.without_patch(skin.without_lines(other))
    torch.testing.assert_close(skin(face, usual), skin.coloured(usual + other))
    assert not torch.allclose(skin(face, usual), skin.coloured(face), atol=0.02)
    torch.testing.assert_close(skin(usual, usual), skin.coloured(usual))
