"""Facial hair: how dark an upper lip is, what is regressed on it, and faces with a moustache or without."""

import pytest
import torch

from voice2face_gan.faces.mean_shape import MEAN_SHAPE
from voice2face_gan.models.generators.facial_hair import FULL, LIKELY, SHAVED, FacialHair

SIDE, COUNT = 32, 600


def grey(value: float) -> torch.Tensor:
    return torch.full((1, 3 * SIDE**2), value)


@pytest.mark.parametrize("zoom", [1.0, 1.3])
def test_the_upper_lip_is_between_nose_and_mouth(zoom):
    hair = FacialHair(SIDE, zoom)
    weights = hair.upper_lip.view(3, SIDE, SIDE)
    assert (weights - weights.flip(2)).abs().max() < 0.1 * weights.max()  # both sides alike
    assert abs(weights.sum()) < 1e-5 and abs(weights.clamp(min=0).sum() - 1) < 0.06
    columns = torch.arange(SIDE).float() + 0.5
    lip = weights.clamp(min=0).sum(dim=0)
    row = float((lip.sum(dim=1) * columns).sum() / lip.sum())
    middle = FacialHair(SIDE).upper_lip.view(3, SIDE, SIDE).clamp(min=0).sum(dim=(0, 2)) @ columns
    if zoom == 1:
        assert MEAN_SHAPE[33, 1] * SIDE < row < MEAN_SHAPE[51, 1] * SIDE
    else:
        assert row > middle + 0.5  # it lies below the point about which faces are enlarged


def test_light_is_the_faces_mean_and_its_slopes():
    hair = FacialHair(SIDE)
    torch.testing.assert_close(
        grey(0.5) @ hair.light.t(), torch.tensor([[0.5, 0.0, 0.5 * float(hair.light[2].sum())]]), atol=1e-4, rtol=0
    )
    ramp = torch.linspace(-1, 1, SIDE).expand(1, 3, SIDE, SIDE).flatten(1)
    assert (ramp @ hair.light.t())[0, 1] > 0.05 and abs((ramp @ hair.light.t())[0, 0]) < 1e-5
    assert abs(grey(0.7) @ hair.upper_lip) < 1e-5


def faces():
    """Textures of which a seventh has a patch on the upper lip and the chin, in light from all sides."""
    random = torch.Generator().manual_seed(0)
    hair = FacialHair(SIDE)
    lip = (hair.upper_lip > 0).float()
    patch = lip.view(3, SIDE, SIDE).clone()
    patch[:, 27:29, 12:20] = 1  # of the chin
    has = (torch.rand(COUNT, 1, generator=random) < 0.3) & (torch.arange(COUNT)[:, None] % 2 == 0)
    light = 0.3 * torch.randn(COUNT, 1, generator=random)
    x = torch.linspace(-1, 1, SIDE).expand(3, SIDE, SIDE)
    slope, fall = 0.3 * torch.randn(2, COUNT, 1, generator=random)
    texture = light + slope * x.flatten() + fall * x.transpose(1, 2).flatten() - 0.5 * has * patch.flatten()
    texture = texture + 0.02 * torch.randn(COUNT, 3 * SIDE**2, generator=random)
    # e says of every second face that its upper lip is darker.
    said = -0.1 * (torch.arange(COUNT)[:, None] % 2 == 0) * lip
    return hair, patch.flatten(), texture, said


def test_what_comes_with_a_moustache_is_found_and_light_is_not():
    hair, patch, texture, said = faces()
    hair.fit(texture, said)
    assert abs(hair.texture @ hair.upper_lip - 1) < 1e-4
    on, off = hair.texture[patch > 0], hair.texture[patch == 0]
    assert (on - on.mean()).abs().max() < 0.2 * on.mean() and off.abs().max() < 0.2 * on.mean()


def test_there_is_a_moustache_or_none():
    hair, _, texture, said = faces()
    hair.fit(texture, said)
    darkness = torch.tensor([0.1, 0.0, SHAVED, -0.15, LIKELY[0], -0.3, LIKELY[1], -0.35, FULL, -0.6])
    wanted = torch.tensor([0.1, 0.0, SHAVED, SHAVED, SHAVED, (SHAVED + FULL) / 2, FULL, FULL, FULL, -0.6])
    before = darkness[:, None] * hair.texture
    after = hair.whole(before)
    torch.testing.assert_close(after @ hair.upper_lip, wanted, atol=1e-4, rtol=0)
    torch.testing.assert_close(after, wanted[:, None] * hair.texture, atol=1e-4, rtol=0)  # nothing else
    keep = (torch.arange(10) < 5).float()
    some = hair.whole(before, keep)
    torch.testing.assert_close(some, torch.where(keep[:, None] > 0, before, after))


def test_nothing_changes_before_it_is_fitted_or_without_any_difference():
    hair = FacialHair(SIDE)
    texture = torch.randn(4, 3 * SIDE**2)
    torch.testing.assert_close(hair.whole(texture), texture)
    hair.fit(grey(0.2).expand(20, -1), grey(0.0).expand(20, -1))
    assert not hair.texture.any()
    random = torch.randn(50, 1) * hair.light[0]  # light alone
    hair.fit(random, grey(0.0).expand(50, -1))
    assert hair.texture.isfinite().all()
