"""The linear image that a generator begins with."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from voice2face_gan.data.batches.sampling import FaceBank
from voice2face_gan.faces.pixels import to_unit
from voice2face_gan.models.generators.r3gan import R3GANGenerator, R3GANGeneratorConfig
from voice2face_gan.training.stages.linear_image import fit_linear_image


@pytest.fixture
def generator() -> R3GANGenerator:
    return R3GANGenerator(R3GANGeneratorConfig(embedding=3, z_dim=2, width=4, linear_side=8))


def test_the_generator_begins_as_the_linear_image_and_learns_to_add(generator):
    torch.nn.init.normal_(generator.linear.weight)
    e, z = torch.randn(2, 3), torch.randn(2, 2)
    image = F.interpolate(generator.linear(e).view(2, 3, 8, 8), (64, 64), mode="bilinear")
    assert torch.allclose(generator(e, z), image, atol=1e-5)
    (generator(e, z) - 1).abs().mean().backward()
    assert generator.to_rgb.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("flip", [False, True])
def test_faces_that_are_linear_in_e_are_given_back(generator, store, flip):
    """Grey faces whose brightness is an element of their identity's mean e. Mirrored, both halves are
    alike."""
    records = store.select(store.has_face)
    names, who = np.unique(records.identity, return_inverse=True)
    own = torch.randn(len(names), 3)[torch.from_numpy(who)]
    bank = FaceBank(records, np.zeros(len(records), dtype=np.int64))
    grey = (127.5 + 30 * own[:, 0]).clamp(0, 255).round().to(torch.uint8)
    faces = torch.zeros_like(bank.faces)
    faces[bank.index] = grey[:, None, None, None].expand(-1, 64, 64, 3)
    faces[bank.index, :, :32] = 0
    bank.faces = faces
    of_faces = own + 0.5 * (torch.arange(len(own)) % 2)[:, None] - 0.25  # what no voice gives: it varies
    fit_linear_image(generator, bank, of_faces, records.identity, flip)
    made = generator(own).detach()
    wanted = to_unit(faces[bank.index])
    left, right = made[..., 4:28].mean(dim=(1, 2, 3)), made[..., 36:60].mean(dim=(1, 2, 3))
    bright = wanted[..., 36:60].mean(dim=(1, 2, 3))
    expected = (bright - 1) / 2 if flip else bright
    assert (right - expected).abs().mean() < 0.05
    assert (left - (expected if flip else torch.full_like(left, -1.0))).abs().mean() < 0.05
    assert not any(p.requires_grad for p in generator.linear.parameters())
