"""The fit of an appearance model: what is linear comes back, with pixels missing; coefficients; the flow."""

import numpy as np
import pytest
import torch

from voice2face_gan.faces.mean_shape import MEAN_SHAPE
from voice2face_gan.models.generators.appearance_model import AppearanceModel
from voice2face_gan.models.generators.appearance_model_config import AppearanceModelConfig
from voice2face_gan.models.generators.expression import openings
from voice2face_gan.training.fits.appearance_model import (
    coefficients_of,
    fit_appearance_model,
    textures_of,
)

E, COUNT = 4, 240
CONFIG = AppearanceModelConfig(
    embedding=E,
    side=32,
    texture_side=16,
    narrow=2,
    linear=2,
    shape_components=6,
    texture_components=6,
    flow_width=32,
    flow_blocks=1,
    flow_steps=8,
    channels=(4, 4, 4),
)


class Bank:
    """Faces whose colours are linear in e and in two causes of their own, their landmarks in e and in one.

    Half of them do not show the lower half of the image. What a decoder that was not trained says of e is
    fitted as well.
    """

    def __init__(self):
        random = torch.Generator().manual_seed(0)
        self.e = torch.randn(COUNT, E, generator=random)
        self.own = torch.randn(COUNT, 3, generator=random)
        colour = 0.1 * torch.randn(E, 3, generator=random)
        halves = torch.zeros(2, 3, 32, 32)
        halves[0] = 0.3  # of all alike
        halves[1, :, 16:] = 0.2  # of the lower half
        self.faces = (self.e @ colour)[:, :, None, None].expand(-1, -1, 32, 32).clone()
        self.faces += torch.einsum("nk,kchw->nchw", self.own[:, :2], halves)
        self.whole = self.faces.clone()
        self.faces[::2, :, 16:] = torch.nan
        push = 0.002 * torch.randn(E + 1, 136, generator=random)
        moved = torch.cat([self.e, 5 * self.own[:, 2:]], dim=1) @ push
        self.landmarks = torch.from_numpy(MEAN_SHAPE).float() + moved.unflatten(1, (68, 2))

    def batch(self, items, flips=None):
        assert flips is None
        return self.faces[torch.from_numpy(items)], torch.from_numpy(items)

    def landmarks_of(self, items, flips=None):
        return self.landmarks[torch.from_numpy(items)]


class Batches:
    def __init__(self):
        self.faces = Bank()
        self.e = self.faces.e


def new_model(config: AppearanceModelConfig) -> AppearanceModel:
    """A model whose decoder says nothing."""
    model = AppearanceModel(config).eval().requires_grad_(False)
    for part in model.decoder.linear.parameters():
        part.zero_()
    return model


@pytest.fixture(scope="module")
def fitted():
    torch.manual_seed(0)
    model, batches = new_model(CONFIG), Batches()
    fit_appearance_model(model, batches, 0, False, 300)
    return model, batches.faces


def own_coefficients(model, bank, real):
    visible = real[:, :1].isfinite().float()
    faces = textures_of(model, bank.e, real.nan_to_num(), visible, 32 * bank.landmarks)
    return coefficients_of(model, faces), faces


def test_faces_come_back_from_e_and_their_own_coefficients(fitted):
    """Also in the pixels that half of them do not show, as far as what is shown tells of them."""
    model, bank = fitted
    coefficients, _ = own_coefficients(model, bank, bank.whole)
    decoded = model.decoded(bank.e, coefficients, keep=torch.ones(len(bank.e)))
    assert (decoded.image - bank.whole).abs().mean() < 0.05 * bank.whole.abs().mean()
    wanted = 32 * bank.landmarks
    assert (decoded.landmarks - wanted).abs().mean() < 0.03 * (wanted - model.warp.mean).abs().mean()


def test_components_are_orthogonal_and_coefficients_have_variance_1(fitted):
    model, bank = fitted
    basis = model.texture.weight
    gram = basis.t() @ basis
    assert (gram - gram.diagonal().diag()).abs().max() < 1e-3 * gram.max()
    coefficients, _ = own_coefficients(model, bank, bank.whole)
    spread = coefficients[:, [0, 1, 6, 7]].std(dim=0)  # the leading ones of landmarks and textures
    assert ((spread - 1).abs() < 0.35).all(), spread  # some are found in half of the faces alone


def test_missing_pixels_count_for_nothing(fitted):
    """What stands in them makes no difference, and the first cause is found without them."""
    model, bank = fitted
    coefficients, faces = own_coefficients(model, bank, bank.faces)
    other = torch.where(faces.shown, faces.texture, 9.0)
    torch.testing.assert_close(coefficients_of(model, faces._replace(texture=other)), coefficients)
    assert not faces.shown[::2].all() and faces.shown[1::2].all()
    complete, _ = own_coefficients(model, bank, bank.whole)
    torch.testing.assert_close(coefficients[1::2], complete[1::2], atol=1e-3, rtol=1e-3)
    drawn = model.decoded(bank.e, coefficients, torch.ones(len(bank.e))).image[::2, :, 2:13]
    assert (drawn - bank.whole[::2, :, 2:13]).abs().mean() < 0.1 * bank.whole.abs().mean()


def test_expressions_are_fitted(fitted):
    """What moves lips apart by one spread moves them so, and neutral faces have closed ones."""
    model, bank = fitted
    moved = openings(model.expression.displacement)[:, 0] - openings(torch.zeros(1, 136))[:, 0]
    torch.testing.assert_close(moved, torch.tensor([1.0, 0.0, 0.0]), atol=1e-2, rtol=0)
    coefficients, _ = own_coefficients(model, bank, bank.whole)
    neutral = model.decoded(bank.e, coefficients).landmarks
    lips = openings((neutral - model.warp.mean).flatten(1) / model.spread)[:, 0]
    torch.testing.assert_close(lips, torch.zeros_like(lips), atol=1e-2, rtol=0)


def test_the_flow_draws_coefficients_like_those_of_faces(fitted):
    model, _ = fitted
    random = torch.Generator().manual_seed(3)
    e, noise = torch.randn(400, E, generator=random), torch.randn(400, 12, generator=random)
    drawn = model.flow.draw(e, noise)
    causes = drawn[:, [0, 1, 6, 7]]
    assert ((causes.std(dim=0) - 1).abs() < 0.35).all() and (causes.mean(dim=0).abs() < 0.35).all()


def test_a_fit_depends_on_the_seed_alone():
    made = []
    for _ in range(2):
        torch.manual_seed(1)
        model = new_model(CONFIG)
        fit_appearance_model(model, Batches(), 7, False, 5)
        made.append(model.state_dict())
    assert all(torch.equal(part, made[1][name]) for name, part in made[0].items())


def test_fewer_faces_than_components_leave_other_faces_small_coefficients():
    torch.manual_seed(0)
    config = AppearanceModelConfig(**{**CONFIG.__dict__, "texture_components": 300, "shape_components": 100})
    model, batches = new_model(config), Batches()
    bank = batches.faces
    bank.faces = torch.rand(COUNT, 3, 32, 32)
    fit_appearance_model(model, batches, 0, False, 2)
    assert all(part.isfinite().all() for part in model.state_dict().values())
    assert not model.texture.weight[:, COUNT // 2 :].any(), "half as many as faces"
    coefficients, _ = own_coefficients(model, bank, bank.faces.flip(-1))
    assert coefficients.abs().max() < 30


def test_every_second_face_is_mirrored_where_batches_are():
    class Both(Bank):
        def batch(self, items, flips=None):
            self.flips = flips
            return super().batch(items)

    batches = Batches()
    batches.faces = Both()
    model = new_model(CONFIG)
    fit_appearance_model(model, batches, 0, True, 1)
    assert np.array_equal(batches.faces.flips, np.arange(len(batches.faces.flips)) % 2 == 1)


def test_half_of_the_flows_e_are_shortened(monkeypatch):
    """To any length from 0, beside those of faces."""
    torch.manual_seed(0)
    model, batches, seen = new_model(CONFIG), Batches(), []
    monkeypatch.setattr("voice2face_gan.training.fits.appearance_model.E_NOISE", 0.0)
    loss = model.flow.loss
    monkeypatch.setattr(model.flow, "loss", lambda c, e, *rest: (seen.append(e), loss(c, e, *rest))[1])
    fit_appearance_model(model, batches, 0, False, 8)
    e, bank = torch.cat(seen), batches.faces
    # The face of the same direction.
    alike = torch.nn.functional.normalize(e, dim=1) @ torch.nn.functional.normalize(bank.e, dim=1).t()
    lengths = e.norm(dim=1) / bank.e.norm(dim=1)[alike.argmax(dim=1)]
    assert alike.amax(dim=1).min() > 0.999 and lengths.max() < 1.001
    assert (lengths > 0.999).float().mean() == pytest.approx(0.5, abs=0.04)
    short = lengths[lengths < 0.999]
    assert short.min() < 0.02 and short.mean() == pytest.approx(0.5, abs=0.03)
