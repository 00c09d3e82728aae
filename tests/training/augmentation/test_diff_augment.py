"""Augmentation: each kind does what it says and no more, and gradients go through."""

import pytest
import torch

from voice2face_gan.training.augmentation.diff_augment import NUMBERS, augment

ON, OFF, HALF = 0.0, 0.999, 0.5


def numbers(colour=OFF, move=OFF, cut=OFF, rest=(HALF,) * 7, batch=1) -> torch.Tensor:
    return torch.tensor([[colour, move, cut, *rest]] * batch)


def test_nothing_is_drawn_at_probability_zero_and_everything_at_one():
    torch.manual_seed(0)
    faces, drawn = torch.rand(4, 3, 64, 64) - 0.5, torch.rand(4, NUMBERS)
    assert augment(faces, 0.0, drawn) is faces
    changed = (augment(faces, 1.0, drawn) != faces).flatten(1).any(1)
    assert changed.all()


def test_the_middle_of_colour_changes_nothing():
    faces = torch.rand(2, 3, 64, 64) - 0.5
    assert torch.allclose(augment(faces, 0.9, numbers(colour=ON, batch=2)), faces, atol=1e-6)


def test_brightness_saturation_contrast():
    faces = torch.rand(1, 3, 64, 64) - 0.5
    brighter = augment(faces, 0.9, numbers(ON, rest=(0.75, HALF, HALF, *(HALF,) * 4)))
    assert torch.allclose(brighter, faces + 0.25, atol=1e-6)
    grey = augment(faces, 0.9, numbers(ON, rest=(HALF, 0.0, HALF, *(HALF,) * 4)))
    assert torch.allclose(grey, faces.mean(1, keepdim=True).expand_as(faces), atol=1e-6)
    flatter = augment(faces, 0.9, numbers(ON, rest=(HALF, HALF, 0.0, *(HALF,) * 4)))
    assert flatter.std() == pytest.approx(float(faces.std()) / 2, rel=1e-3)
    assert flatter.mean() == pytest.approx(float(faces.mean()), abs=1e-5)


def test_translation_moves_whole_pixels_and_fills_with_grey():
    faces = torch.rand(1, 3, 64, 64) + 1  # nothing is 0
    moved = augment(faces, 0.9, numbers(move=ON, rest=(HALF,) * 3 + (0.0, HALF) + (HALF,) * 2))  # rows by -8
    assert torch.equal(moved[:, :, 8:], faces[:, :, :-8]) and not moved[:, :, :8].any()
    moved = augment(
        faces, 0.9, numbers(move=ON, rest=(HALF,) * 3 + (HALF, 0.999) + (HALF,) * 2)
    )  # columns + 8
    assert torch.equal(moved[..., :-8], faces[..., 8:]) and not moved[..., -8:].any()


def test_the_hole_is_a_quarter_of_the_image():
    faces = torch.ones(1, 3, 64, 64)
    cut = augment(faces, 0.9, numbers(cut=ON))
    assert float(cut.mean()) == pytest.approx(0.75, abs=0.03)
    assert set(cut.unique().tolist()) == {0.0, 1.0}
    assert not cut[0, :, 32, 32].any() and cut[0, :, 2, 2].all()


def test_gradients_reach_the_face():
    faces = (torch.rand(3, 3, 64, 64) - 0.5).requires_grad_(True)
    torch.manual_seed(1)
    augment(faces, 1.0, torch.rand(3, NUMBERS)).sum().backward()
    assert (faces.grad.abs().flatten(1).sum(1) > 0).all()
