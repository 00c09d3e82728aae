"""Ears of generated faces: where they are drawn, of which colours, and when."""

import pytest
import torch

from voice2face_gan.faces.align import zoomed
from voice2face_gan.faces.mean_shape import MEAN_SHAPE
from voice2face_gan.models.generators.ears import BEYOND, CHEEK, EAR, HAIR, SEEN, Ears, offsets

SIDE = 64
CHEEKS, HAIRS, WALLS = torch.tensor([[0.6, 0.2, 0.0], [-0.8, -0.7, -0.9], [0.1, 0.3, 0.9]])
"""Colours."""


def fitted(side: int = SIDE, zoom: float = 1.0) -> Ears:
    """Ears that are skin in an upright ellipse, then hair up to a cheek, and surroundings elsewhere."""
    ears = Ears(side, zoom)
    height, width = ears.layers.shape[1:]
    x, y = offsets(width, ears.unit), offsets(height, ears.unit)[:, None]
    ear = (((x + 0.04) / 0.035).square() + ((y - 0.04) / 0.09).square() < 1).float()
    cheek = ((x > 0.05) & (y > -2)).float()
    hair = ((x > -0.005) & (x <= 0.05) & (y > -2)).float()
    ears.layers[CHEEK], ears.layers[HAIR] = torch.maximum(ear, cheek), hair
    ears.layers[BEYOND] = 1 - ears.layers[:2].sum(dim=0)
    ears.layers[3] = ((x.abs() < 0.12) & (y.abs() < 0.18)).float()
    return ears


def head(share: float, side: int = SIDE, zoom: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """An image (1, 3, side, side) of a cheek-coloured middle, hair above the ears, walls beyond, and ears
    that are `share` cheek and else hair; its landmarks."""
    landmarks = torch.from_numpy(zoomed(MEAN_SHAPE, zoom)).float()[None]
    down, across = torch.meshgrid(*[(torch.arange(side) + 0.5) / side] * 2, indexing="ij")
    left, right = landmarks[0, 0, 0], landmarks[0, 16, 0]
    image = WALLS[:, None, None].expand(3, side, side).clone()
    inner = (across > left + 0.05 * zoom) & (across < right - 0.05 * zoom)
    hair = (across > left - 0.09 * zoom) & (across < right + 0.09 * zoom)
    image[:, hair] = (HAIRS + share * (CHEEKS - HAIRS))[:, None]
    image[:, hair & (down < landmarks[0, 0, 1] - 0.06 * zoom)] = HAIRS[:, None]
    image[:, inner] = CHEEKS[:, None]
    return image[None], landmarks * side


def test_nothing_changes_before_ears_are_fitted():
    image, landmarks = head(0.6)
    assert torch.equal(Ears(SIDE).whole(image, landmarks), image)


@pytest.mark.parametrize(("side", "zoom"), [(64, 1.0), (128, 1.0), (128, 0.8)])
def test_an_ear_is_drawn_of_the_colours_of_its_own_image(side, zoom):
    image, landmarks = head(0.6, side, zoom)
    found = fitted(side, zoom).whole(image, landmarks)[0]
    assert torch.allclose(found, found.flip(2), atol=1e-5)
    middle = landmarks[0, [0, 1]].mean(dim=0) + zoom * side * torch.tensor([-0.008, -0.023])

    def at(across: float, down: float) -> torch.Tensor:
        x, y = (middle + zoom * side * torch.tensor([across, down])).int().tolist()
        return found[:, y, x]

    torch.testing.assert_close(at(-0.04, 0.04), CHEEKS, atol=0.02, rtol=0)
    torch.testing.assert_close(at(0.025, 0.04), HAIRS, atol=0.02, rtol=0)
    torch.testing.assert_close(at(-0.1, 0.04), WALLS, atol=0.02, rtol=0)
    far = (found - image[0]).abs().amax(dim=0)
    assert far[: side // 8].max() == far[-side // 8 :].max() == far[:, side // 2].max() == 0


def test_ears_are_drawn_where_some_of_them_is_and_else_left():
    ears, shares = fitted(), []
    for share in torch.linspace(0, 0.3, 61).tolist():
        image, landmarks = head(share)
        patches = ears.patches(image, *ears.places(landmarks))
        shares.append(float(ears.share(patches, ears.colours(patches))[0]))
        if shares[-1] == 0:
            torch.testing.assert_close(ears.whole(image, landmarks), image)
    assert shares[0] == 0 and shares[-1] == 1 and shares == sorted(shares)
    between = sum(0 < share < 1 for share in shares) * 0.005
    assert between == pytest.approx(SEEN[1] - SEEN[0], abs=0.015), "a morph passes"


def test_both_ears_are_drawn_or_none():
    image, landmarks = head(0.0)
    left, right = head(0.9)[0], image.clone()
    right[..., SIDE // 2 :] = left[..., SIDE // 2 :]
    change = fitted().whole(right, landmarks) - right
    assert change[..., : SIDE // 2].abs().max() > 0.5 and change[..., SIDE // 2 :].abs().max() > 0.3


def test_each_image_of_a_batch_is_drawn_as_it_is_alone():
    (bare, landmarks), (covered, _) = head(0.7), head(0.0)
    moved = landmarks + torch.tensor([2.0, -1.0])
    whole = fitted().whole(torch.cat([bare, covered, bare]), torch.cat([landmarks, landmarks, moved]))
    torch.testing.assert_close(whole[:1], fitted().whole(bare, landmarks))
    torch.testing.assert_close(whole[1:2], covered)
    torch.testing.assert_close(whole[2:], fitted().whole(bare, moved))


@pytest.mark.parametrize("away", [0.0, 0.25, 0.5])
def test_nothing_stays_of_what_is_drawn_anew(away):
    image, landmarks = head(0.9)
    landmarks = landmarks + away
    place = torch.arange(SIDE)
    ears, noise = fitted(), 0.2 * (1 - 2 * ((place[:, None] + place) % 2)).float().expand(1, 3, -1, -1)
    ears.layers[3] = 1
    left = ears.places(landmarks)[1][0]
    middle = slice(int(left[3]) + 1, int(left[-3]))
    rows = ears.places(landmarks)[0][0]
    middle_rows = slice(int(rows[3]) + 1, int(rows[-3]))
    apart = (ears.whole(image + noise, landmarks) - ears.whole(image, landmarks))[:, :, middle_rows, middle]
    # Of the noise there is what the colours' means leave of it.
    assert apart.abs().max() < 0.05


def test_a_patch_beyond_the_image_is_as_its_edge_is_and_changes_nothing_else():
    image = torch.rand(1, 3, SIDE, SIDE)
    landmarks = torch.from_numpy(MEAN_SHAPE).float()[None] * SIDE
    away = landmarks - torch.tensor([14.0, 0.0])  # half of the left patch
    ears = fitted()
    ears.share = lambda patches, colours: torch.ones(len(patches))
    rows, columns = ears.places(away)
    left = ears.patches(image, rows, columns)[0]
    assert columns[0, 1] < 0 and (left[:, :, 0] - left[:, :, 1]).abs().max() < 1e-6
    change = (ears.whole(image, away) - image).abs()
    assert change[..., :6].max() > 0.1
    middle = slice(int(columns[0, -1]) + 2, SIDE - int(columns[1, -1]) - 2)
    assert change[..., middle].max() < 1e-6


def test_moved_landmarks_move_the_ears():
    ears = fitted()
    image, landmarks = head(0.9)
    there = torch.tensor([3.0, 2.0])
    moved = ears.whole(torch.roll(image, (2, 3), (2, 3)), landmarks + there)
    left = slice(0, SIDE // 2)
    torch.testing.assert_close(
        torch.roll(ears.whole(image, landmarks), (2, 3), (2, 3))[..., 10:-10, left][..., 6:],
        moved[..., 10:-10, left][..., 6:],
        atol=1e-4,
        rtol=0,
    )


def test_boxes_are_means():
    boxes = Ears(128).boxes
    assert torch.allclose(boxes.sum(dim=(1, 2)), torch.ones(4))
    left, right, upper, lower = EAR
    assert int((boxes[3] > 0).sum()) == pytest.approx((right - left) * (lower - upper) * 128**2, rel=0.1)
