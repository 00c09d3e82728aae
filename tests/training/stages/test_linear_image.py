"""The linear image that a generator begins with, and the z of faces."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from voice2face_gan.data.batches.sampling import FaceBank
from voice2face_gan.faces.pixels import to_unit
from voice2face_gan.models.generators.r3gan import R3GANGenerator, R3GANGeneratorConfig
from voice2face_gan.training.engine.train import train
from voice2face_gan.training.recipe.recipe import load_recipe
from voice2face_gan.training.run.folder import Run
from voice2face_gan.training.stages.linear_image import fit_linear_image
from voice2face_gan.training.stages.r3gan import LINEAR_RATE


class Faces:
    """What `fit_linear_image` takes of batches."""

    def __init__(self, faces: FaceBank, people: np.ndarray, e: torch.Tensor):
        self.faces, self.people, self.e, self.own_z = faces, people, e, None


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
    """Grey faces whose brightness is an element of their identity's mean e. Mirrored, both halves are
    alike."""
    net = generator(0)
    who = np.unique(store.identity[store.has_face], return_inverse=True)[1]
    own = torch.randn(who.max() + 1, 3)[torch.from_numpy(who)]
    bank = grey_faces(store, 30 * own[:, 0])
    of_faces = own + 0.5 * (torch.arange(len(own)) % 2)[:, None] - 0.25  # what no voice gives: it varies
    batches = Faces(bank, who, of_faces)
    fit_linear_image(net, batches, flip)
    assert batches.own_z is None
    made = net(own).detach()
    wanted = to_unit(bank.faces[bank.index])
    left, right = made[..., 4:28].mean(dim=(1, 2, 3)), made[..., 36:60].mean(dim=(1, 2, 3))
    bright = wanted[..., 36:60].mean(dim=(1, 2, 3))
    expected = (bright - 1) / 2 if flip else bright
    assert (right - expected).abs().mean() < 0.05
    assert (left - (expected if flip else torch.full_like(left, -1.0))).abs().mean() < 0.05


def test_own_z_is_what_e_leaves_open(store):
    """Brightness is of e and of chance: with own z a face and its mirror image come back, with 0 only the
    part of e, and z is of unit variance."""
    torch.manual_seed(0)
    net = generator(2)
    count = int(store.has_face.sum())
    e, chance = torch.randn(count, 3), torch.randn(count)
    bank = grey_faces(store, 20 * e[:, 0] + 20 * chance)
    batches = Faces(bank, np.arange(count), e)
    fit_linear_image(net, batches, flip=True)
    own = batches.own_z
    assert own.shape == (count, 2, 2) and own.abs().max() <= 3
    assert own.reshape(-1, 2).std(dim=0).mean() == pytest.approx(1, abs=0.15)
    real = F.interpolate(to_unit(bank.faces[bank.index]), (8, 8), mode="area")
    for z, wanted in ((own[:, 0], real), (own[:, 1], real.flip(-1))):
        image = net.linear(torch.cat([e, z], dim=1)).view(-1, 3, 8, 8).detach()
        without = net.linear(torch.cat([e, 0 * z], dim=1)).view(-1, 3, 8, 8).detach()
        assert (image - wanted).abs().mean() < 0.3 * (without - wanted).abs().mean()


def test_a_face_is_decoded_from_its_own_z_and_the_linear_image_learns_slowly(tmp_path, store):
    recipe = load_recipe(
        "voice-to-face",
        (
            "model.generator.width=4",
            "gan.batch=8",
            "gan.iterations=2",
            "run.log_every=1",
            "run.tensorboard=false",
        ),
    )
    run = Run.create(tmp_path, recipe, {"data": "", "gender": "all", "seed": 0, "iterations": None})
    seen = {}


    from voice2face_gan.training.stages.r3gan import R3GANStage

    original = R3GANStage._face_weight

    def spy(stage, batch, z):
        weight = original(stage, batch, z)
        seen["batch"], seen["z"], seen["weight"], seen["stage"] = batch, z, weight, stage
        return weight

    R3GANStage._face_weight = spy
    try:
        train(run, store, torch.device("cpu"))
    finally:
        R3GANStage._face_weight = original
    batch, z, weight = seen["batch"], seen["z"], seen["weight"]
    assert torch.equal(z[batch.own_e], batch.own_z[batch.own_e]) and batch.own_e.any()
    other = (z != 0).any(dim=1) & ~batch.own_e
    assert (weight[batch.own_e] == 1).all() and (weight[other] == 0).all()
    assert torch.allclose(weight[~batch.own_e & ~other], torch.tensor(0.3))
    rest, linear = seen["stage"].generator_optimiser.param_groups
    assert linear["lr"] == pytest.approx(LINEAR_RATE * rest["lr"])
    discriminator = seen["stage"].discriminator_optimiser.param_groups[0]
    assert discriminator["lr"] == pytest.approx(0.5 * rest["lr"])
