"""The linear image that a generator begins with, and the z of faces."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from voice2face_gan.data.batches.sampling import FaceBank
from voice2face_gan.faces.pixels import to_unit
from voice2face_gan.models.generators.r3gan import R3GANGenerator, R3GANGeneratorConfig
from voice2face_gan.training.engine.train import train
from voice2face_gan.training.fits.linear_image import SPREAD, fit_linear_image
from voice2face_gan.training.recipe.recipe import load_recipe
from voice2face_gan.training.run.folder import Run
from voice2face_gan.training.stages.r3gan import OWN_Z, R3GANStage


class Faces:
    """What `fit_linear_image` takes of batches: voices that give e as it is."""

    def __init__(self, faces: FaceBank, e: torch.Tensor):
        self.faces, self.of_people = faces, e

    def of_voices(self, e: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        assert noise.shape == e.shape and 0.8 < float(noise.std()) < 1.2
        return e


def generator(z_dim: int) -> R3GANGenerator:
    return R3GANGenerator(R3GANGeneratorConfig(embedding=3, z_dim=z_dim, width=4, linear_side=8))


def grey_faces(store, brightness: torch.Tensor) -> FaceBank:
    """The store's faces, each replaced by a grey (N,) on the right and black on the left."""
    records = store.select(store.has_face)
    bank = FaceBank(records, np.zeros(len(records), dtype=np.int64))
    grey = (127.5 + brightness).clamp(0, 255).round().to(torch.uint8)
    faces = torch.zeros_like(bank.faces)
    faces[bank.index] = grey[:, None, None, None].expand(-1, 64, 64, 3)
    faces[bank.index, :, :32] = 0
    bank.faces = faces
    return bank


def test_the_generator_begins_as_the_linear_image_and_learns_to_add():
    net = generator(2)
    torch.nn.init.normal_(net.linear.weight)
    e, z = torch.randn(2, 3), torch.randn(2, 2)
    image = F.interpolate(net.linear(torch.cat([e, z], dim=1)).view(2, 3, 8, 8), (64, 64), mode="bilinear")
    assert torch.allclose(net(e, z), image, atol=1e-5)
    assert torch.equal(net(e), net(e, torch.zeros(2, 2)))
    (net(e, z) - 1).abs().mean().backward()
    assert net.to_rgb.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("flip", [False, True])
def test_faces_that_are_linear_in_e_are_given_back(store, flip):
    """Grey faces whose brightness is an element of e. Mirrored, both halves are alike."""
    torch.manual_seed(0)
    net = generator(0)
    e = torch.randn(int(store.has_face.sum()), 3)
    bank = grey_faces(store, 30 * e[:, 0])
    fit_linear_image(net, Faces(bank, e), 0, flip)
    made, wanted = net(e).detach(), to_unit(bank.faces[bank.index])
    left, right = made[..., 4:28].mean(dim=(1, 2, 3)), made[..., 36:60].mean(dim=(1, 2, 3))
    bright = wanted[..., 36:60].mean(dim=(1, 2, 3))
    expected = (bright - 1) / 2 if flip else bright
    assert (right - expected).abs().mean() < 0.05
    assert (left - (expected if flip else torch.full_like(left, -1.0))).abs().mean() < 0.05
    assert not any(p.requires_grad for p in net.linear.parameters())


def test_own_z_is_what_e_leaves_open(store):
    """Brightness is of e and of chance: with own z a face and its mirror image come back, with 0 only the
    part of e, and z is of a variance that SPREAD says. Pixels that are not visible change nothing."""
    torch.manual_seed(0)
    net = generator(2)
    count = int(store.has_face.sum())
    e, chance = torch.randn(count, 3), torch.randn(count)
    bank = grey_faces(store, 20 * e[:, 0] + 20 * chance)
    fit_linear_image(net, Faces(bank, e), 0, flip=True)
    real, visible = to_unit(bank.faces[bank.index]), torch.ones(count, 1, 64, 64)
    own = [net.own_z(faces, e, visible).detach() for faces in (real, real.flip(-1))]
    assert torch.cat(own).std(dim=0).mean() == pytest.approx(1 / SPREAD, abs=0.2)
    assert own[0].abs().max() <= 3
    for z, faces in zip(own, (real, real.flip(-1)), strict=True):
        wanted = F.interpolate(faces, (8, 8), mode="area")
        image = net.linear(torch.cat([e, z], dim=1)).view(-1, 3, 8, 8).detach()
        without = net.linear(torch.cat([e, 0 * z], dim=1)).view(-1, 3, 8, 8).detach()
        assert (image - wanted).abs().mean() < 0.3 * (without - wanted).abs().mean()
    hidden = visible.clone()
    hidden[..., 48:] = 0
    spoilt = real.clone()
    spoilt[..., 48:] = 0
    assert torch.equal(net.own_z(real, e, hidden), net.own_z(spoilt, e, hidden))


def test_a_share_of_the_batch_has_its_own_z_and_losses_count_accordingly(tmp_path, store, monkeypatch):
    recipe = load_recipe(
        "voice-to-face",
        (
            "model.generator.width=4",
            "gan.batch=24",
            "face_embedding.simulated_l1=0.4",
            "gan.iterations=1",
            "run.log_every=1",
            "run.tensorboard=false",
        ),
    )
    seen, original = {}, R3GANStage._z

    def spy(stage, iteration, batch):
        seen["stage"], seen["batch"], seen["z"] = stage, batch, original(stage, iteration, batch)
        return seen["z"]

    monkeypatch.setattr(R3GANStage, "_z", spy)
    run = Run.create(tmp_path, recipe, {"data": "", "gender": "all", "seed": 0, "iterations": None})
    assert train(run, store, torch.device("cpu")).finished
    stage, batch, (z, counts) = seen["stage"], seen["batch"], seen["z"]
    own = stage.streams.own_z(0, OWN_Z)
    zero = (z == 0).all(dim=1)
    other = ~own & ~zero
    assert all(kind.any() for kind in (own, zero, other))
    torch.testing.assert_close(z[own], stage.generator.own_z(batch.real, batch.e, batch.visible)[own])
    assert (counts.beside_real[own] == 1).all() and (counts.beside_real[other] == 0).all()
    assert torch.allclose(counts.beside_real[zero], torch.tensor(0.4))
    assert counts.read.tolist() == (own | zero).float().tolist()
    assert torch.equal(counts.e[own], batch.face_e[own]) and torch.equal(counts.e[zero], batch.e[zero])
    rates = [o.param_groups[0]["lr"] for o in (stage.discriminator_optimiser, stage.generator_optimiser)]
    assert rates[0] == pytest.approx(0.5 * rates[1])
    assert all(p is not stage.generator.linear.weight for p in stage.generator_parameters)
