"""Expressions: how far lips and lids are apart, what is regressed on it, and neutral faces."""

import numpy as np
import pytest
import torch

from voice2face_gan.faces.mean_shape import INNER_LIPS, LIDS, MEAN_SHAPE, MIRROR, POINTS, SHAPE_STD
from voice2face_gan.models.generators.expression import (
    CORNERS,
    EARS,
    MIDDLE,
    MOST_DOWN,
    MOST_TURNED,
    NOSE,
    OPEN_EYES,
    Expression,
    hanging,
    openings,
    turns,
)

COUNT = 400


@pytest.mark.parametrize("pairs", [INNER_LIPS, LIDS])
def test_the_pairs_mirror_each_other_and_lie_above_each_other(pairs):
    for upper, lower in pairs:
        assert (MIRROR[upper], MIRROR[lower]) in pairs
        np.testing.assert_allclose(MEAN_SHAPE[upper, 0], MEAN_SHAPE[lower, 0], atol=4e-3)
        assert MEAN_SHAPE[upper, 1] < MEAN_SHAPE[lower, 1]


def test_openings_are_mean_distances():
    displacement = torch.randn(5, 2 * POINTS)
    points = MEAN_SHAPE + SHAPE_STD * displacement.reshape(-1, POINTS, 2).numpy()
    for pairs, found in zip((INNER_LIPS, LIDS), openings(displacement).t(), strict=True):
        wanted = np.mean([points[:, lower, 1] - points[:, upper, 1] for upper, lower in pairs], axis=0)
        np.testing.assert_allclose(SHAPE_STD * found, wanted, atol=1e-6)


def faces():
    """Faces whose lips, chin and second colour change with one cause, whose lids and third colour with
    another that comes with the first, whose noses and first colour with a third, and more by chance."""
    generator = torch.Generator().manual_seed(0)
    smile, look, turn = torch.randn(3, COUNT, 1, generator=generator)
    look, turn = look - 0.5 * smile, 3 * turn
    moved = torch.zeros(3, 2 * POINTS)
    for row, pairs in enumerate((INNER_LIPS, LIDS)):
        for upper, lower in pairs:
            moved[row, 2 * lower + 1] = 1
            assert moved[row, 2 * upper + 1] == 0
    moved[0, 2 * 8 + 1] = 0.5  # the chin
    moved[2, [2 * point for point in NOSE]] = 1
    still = torch.ones(2 * POINTS)
    still[[2 * point + 1 for pair in (*INNER_LIPS, *LIDS) for point in pair]] = 0
    still[[2 * point for point in (*NOSE, *EARS)]] = 0
    chance = 0.1 * torch.randn(COUNT, 2 * POINTS, generator=generator)
    texture = torch.randn(COUNT, 3, generator=generator)
    texture[:, 0] += 0.5 * turn[:, 0]
    texture[:, 1] += 2 * smile[:, 0]
    texture[:, 2] -= look[:, 0]
    moved = smile * moved[0] + look * moved[1] + turn * moved[2]
    return 0.3 * still + moved + chance * still, texture


def fitted():
    displacement, texture = faces()
    expression = Expression(3)
    expression.fit(displacement, texture)
    return expression, displacement, texture


def test_each_moves_its_own_alone():
    expression, *_ = fitted()
    moved = openings(expression.displacement) - openings(torch.zeros(1, 2 * POINTS))
    moved = torch.cat([moved, turns(expression.displacement)[:, None]], dim=1)
    torch.testing.assert_close(moved, torch.eye(3), atol=1e-4, rtol=0)
    assert abs(expression.displacement[0, 17] - 0.5) < 0.02 and abs(expression.displacement[1, 17]) < 0.02
    wanted = torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, -1.0], [0.5, 0.0, 0.0]])
    torch.testing.assert_close(expression.texture, wanted, atol=0.15, rtol=0)


def test_lips_are_closed_and_narrow_eyes_opened():
    expression, displacement, texture = fitted()
    neutral, colours = expression.neutral(displacement, texture)
    lips, lids = openings(neutral).t()
    torch.testing.assert_close(lips, torch.zeros(COUNT), atol=1e-3, rtol=0)
    before = openings(displacement)[:, 1]
    torch.testing.assert_close(lids, before.clamp(min=OPEN_EYES), atol=1e-3, rtol=0)
    assert (before < OPEN_EYES).any() and (before > OPEN_EYES).any()
    assert abs(np.corrcoef(colours[:, 1], openings(displacement)[:, 0])[0, 1]) < 0.02, "colours do not tell"
    assert (neutral - displacement)[:, 0].abs().max() < 0.2, "what moves with neither stays"


def test_heads_are_turned_at_most_so_far():
    expression, displacement, texture = fitted()
    before = turns(displacement)
    neutral, colours = expression.neutral(displacement, texture)
    torch.testing.assert_close(turns(neutral), before.clamp(-MOST_TURNED, MOST_TURNED), atol=1e-3, rtol=0)
    assert (before.abs() > MOST_TURNED).any() and (before.abs() < MOST_TURNED).any()
    far = before > MOST_TURNED + 1
    assert (colours[far, 0] - texture[far, 0]).mean() < -0.4, "what changes with it comes along"


def test_a_turn_is_the_noses_way_from_the_ears():
    displacement = torch.randn(5, 2 * POINTS)
    right = torch.zeros(2 * POINTS)
    right[[2 * point for point in NOSE]] = 1.0
    torch.testing.assert_close(turns(displacement + right), turns(displacement) + 1)
    everything = torch.zeros(2 * POINTS)
    everything[::2] = 1.0
    torch.testing.assert_close(turns(displacement + everything), turns(displacement))
    mirrored = displacement.view(5, POINTS, 2)[:, list(MIRROR)] * torch.tensor([-1.0, 1.0])
    torch.testing.assert_close(turns(mirrored.flatten(1)), -turns(displacement))


def test_what_is_kept_is_kept():
    expression, displacement, texture = fitted()
    keep = torch.arange(COUNT) % 2 == 0
    some, colours = expression.neutral(displacement, texture, keep)
    neutral, others = expression.neutral(displacement, texture)
    torch.testing.assert_close(some, torch.where(keep[:, None], displacement, neutral))
    torch.testing.assert_close(colours, torch.where(keep[:, None], texture, others))


def test_nothing_moves_before_it_is_fitted_nor_for_faces_all_alike():
    expression = Expression(3)
    displacement, texture = faces()
    mouth = slice(2 * 48, None)
    displacement[:, mouth] *= 0.1  # corners that hang are lifted all the same
    assert torch.equal(expression.neutral(displacement, texture)[0], displacement)
    expression.fit(torch.ones(4, 2 * POINTS), torch.ones(4, 3))
    assert not expression.displacement.any() and not expression.texture.any()


def test_corners_of_the_mouth_that_hang_are_lifted_and_what_is_between_by_less():
    points = torch.zeros(4, POINTS, 2)
    points[:, CORNERS, 1] = torch.tensor([-1.0, 0.5, 2.0, 2.0])[:, None]
    before = points.flatten(1)
    np.testing.assert_allclose(hanging(before), [-1, 0.5, 2, 2])
    still = Expression(3)
    after, texture = still.neutral(before, torch.zeros(4, 3), keep=torch.tensor([0.0, 0, 0, 1]))
    np.testing.assert_allclose(hanging(after), [-1, 0.5, MOST_DOWN, 2], atol=1e-5)
    assert not texture.any()
    moved = (after - before).unflatten(1, (POINTS, 2))
    assert not moved[[0, 1, 3]].any() and not moved[2, :48].any() and not moved[2, :, 0].any()
    lift = -moved[2, :, 1] / (2 - MOST_DOWN)
    torch.testing.assert_close(lift, lift[[*MIRROR]], atol=1e-3, rtol=0)
    torch.testing.assert_close(lift[[*CORNERS]], torch.ones(2), atol=1e-3, rtol=0)
    assert lift[[*MIDDLE]].abs().max() < 0.01 < lift[50] < lift[49] < lift[48]
