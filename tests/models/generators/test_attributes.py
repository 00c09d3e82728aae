"""Moustaches and glasses: how much of them a face has, what is regressed on it, and faces with or without."""

import pytest
import torch

from voice2face_gan.faces.align import zoomed
from voice2face_gan.faces.mean_shape import MEAN_SHAPE
from voice2face_gan.models.generators.attributes import (
    FULL,
    GLASSES,
    LIKELY,
    MOUSTACHE,
    NO_GLASSES,
    SHAVED,
    Attributes,
)

SIDE, COUNT = 32, 600


def grey(value: float) -> torch.Tensor:
    return torch.full((1, 3 * SIDE**2), value)


@pytest.mark.parametrize("row", [MOUSTACHE, GLASSES])
def test_measures_are_differences_of_means_alike_on_both_sides(row):
    weights = Attributes(64).measures[row].view(3, 64, 64)
    assert (weights - weights.flip(2)).abs().max() < 0.1 * weights.max()
    assert abs(weights.sum()) < 1e-5 and abs(weights.clamp(min=0).sum() - 1) < 0.06


@pytest.mark.parametrize("zoom", [1.0, 1.3])
def test_places_are_those_of_the_mean_shape(zoom):
    attributes, columns = Attributes(SIDE, zoom), torch.arange(SIDE).float() + 0.5
    rows = [weights.view(3, SIDE, SIDE).clamp(min=0).sum(dim=(0, 2)) for weights in attributes.measures]
    lip, lines = (float(row @ columns / row.sum()) for row in rows)
    if zoom == 1:
        assert MEAN_SHAPE[33, 1] * SIDE < lip < MEAN_SHAPE[51, 1] * SIDE
        assert MEAN_SHAPE[37, 1] * SIDE < lines < MEAN_SHAPE[41, 1] * SIDE  # between the lids
    else:
        first = Attributes(SIDE).measures[MOUSTACHE].view(3, SIDE, SIDE).clamp(min=0).sum(dim=(0, 2))
        (place,) = zoomed([[0.5, float(first @ columns / first.sum()) / SIDE]], zoom)
        assert abs(lip - SIDE * place[1]) < 0.2


def test_light_is_the_mean_of_the_upper_face_and_its_slopes():
    light = Attributes(SIDE).light
    found = grey(0.5) @ light.t()
    torch.testing.assert_close(found[0, :2], torch.tensor([0.5, 0.0]), atol=1e-4, rtol=0)
    ramp = torch.linspace(-1, 1, SIDE).expand(1, 3, SIDE, SIDE).flatten(1)
    assert (ramp @ light.t())[0, 1] > 0.05 and abs((ramp @ light.t())[0, 0]) < 1e-3


def faces(row: int):
    """Textures of which a seventh has a patch where a measure is and elsewhere, in light from all sides."""
    random = torch.Generator().manual_seed(row)
    attributes = Attributes(SIDE)
    place = (attributes.measures[row] > 0).float()
    patch = place.view(3, SIDE, SIDE).clone()
    patch[:, 27:29, 12:20] = 1  # of the chin
    likely = torch.arange(COUNT)[:, None] % 2 == 0
    has = (torch.rand(COUNT, 1, generator=random) < 0.3) & likely
    light, slope, fall = 0.3 * torch.randn(3, COUNT, 1, generator=random)
    x = torch.linspace(-1, 1, SIDE).expand(3, SIDE, SIDE)
    texture = light + slope * x.flatten() + fall * x.transpose(1, 2).flatten() - 0.5 * has * patch.flatten()
    texture = texture + 0.02 * torch.randn(COUNT, 3 * SIDE**2, generator=random)
    # e says of every second face that it is darker there.
    return attributes, patch.flatten(), texture, -0.1 * likely * place


@pytest.mark.parametrize("row", [MOUSTACHE, GLASSES])
def test_what_comes_with_an_attribute_is_found_and_light_is_not(row):
    attributes, patch, texture, said = faces(row)
    attributes.fit(texture, said)
    change = attributes.texture[row]
    assert abs(change @ attributes.measures[row] - 1) < 1e-4
    assert torch.corrcoef(torch.stack([change, patch]))[0, 1] > 0.6
    # What is dark where the light is measured makes up for itself there: at most half as much.
    assert change[patch == 0].abs().max() < 0.55 * change[patch > 0].mean()


def settled():
    attributes = Attributes(SIDE)
    measures = attributes.measures
    attributes.texture.copy_(torch.linalg.solve(measures @ measures.t(), measures))
    return attributes


def test_there_is_a_moustache_or_none():
    attributes = settled()
    middle = sum(LIKELY) / 2
    has = torch.tensor(
        [0.1, 0.0, SHAVED, -0.15, LIKELY[0], middle, LIKELY[1], (LIKELY[1] + FULL) / 2, FULL, -0.6]
    )
    wanted = torch.tensor([0.1, 0.0, SHAVED, SHAVED, SHAVED, (SHAVED + FULL) / 2, FULL, FULL, FULL, -0.6])
    before = has[:, None] * attributes.texture[MOUSTACHE]
    after = attributes.whole(before, glasses=False)
    torch.testing.assert_close(after, wanted[:, None] * attributes.texture[MOUSTACHE], atol=1e-3, rtol=0)
    torch.testing.assert_close(attributes.whole(before, moustache=False), before)
    keep = (torch.arange(10) < 5).float()
    some = attributes.whole(before, glasses=False, keep=keep)
    torch.testing.assert_close(some, torch.where(keep[:, None] > 0, before, after))


def test_glasses_are_taken_off():
    attributes = settled()
    has = torch.tensor([0.1, NO_GLASSES, -0.1, -0.4])
    before = has[:, None] * attributes.texture[GLASSES]
    after = attributes.whole(before, moustache=False)
    wanted = has.clamp(min=NO_GLASSES)[:, None] * attributes.texture[GLASSES]
    torch.testing.assert_close(after, wanted, atol=1e-4, rtol=0)
    torch.testing.assert_close(attributes.whole(before, glasses=False), before)


def test_nothing_changes_before_it_is_fitted_or_without_any_difference():
    attributes = Attributes(SIDE)
    texture = torch.randn(4, 3 * SIDE**2)
    torch.testing.assert_close(attributes.whole(texture), texture)
    attributes.fit(grey(0.2).expand(20, -1), grey(0.0).expand(20, -1))
    assert not attributes.texture.any()
    attributes.fit(torch.randn(50, 1) * attributes.light[0], grey(0.0).expand(50, -1))  # light alone
    assert attributes.texture.isfinite().all()
