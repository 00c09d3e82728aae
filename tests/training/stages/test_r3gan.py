"""The r3gan stage: its losses written out plainly, each ingredient on and off, pairs, resuming."""

import copy
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from voice2face_gan.models.checkpoint import load_checkpoint
from voice2face_gan.models.conditioning import Controls
from voice2face_gan.training.engine.distributed import SingleProcess
from voice2face_gan.training.stages.gan_base import controls_of
from voice2face_gan.training.stages.losses import discriminator_loss, generator_loss
from voice2face_gan.training.stages.r3gan import R3GANStage


def weights(stage) -> torch.Tensor:
    return torch.cat(
        [p.detach().flatten() for p in (*stage.generator.parameters(), *stage.discriminator_parameters)]
    )


def test_real_and_generated_faces_are_of_one_person(make_stage):
    stage = make_stage()
    for iteration in range(3):
        batch = stage.batches.draw(iteration)
        assert torch.equal(batch.identity, batch.face_identity)


def test_the_losses_are_those_of_the_text(make_stage):
    """Written out for the first iteration, without augmentation, penalties computed on every pair."""
    stage = make_stage("r3gan.augment=0", "r3gan.penalty_share=1", "gan.d_identity=0.5", "gan.g_identity=0.5")
    e, identity, real, *_ = stage.batches.draw(0)
    fake = stage.generator(e, stage.streams.z(0, 6)).detach()
    both = torch.cat([real, fake]).requires_grad_(True)
    h = stage.trunk(both)
    score = stage.heads.score(h, torch.cat([e, e]))
    expected = {
        "D": math.log1p(0) + torch.log1p(torch.exp(score[8:] - score[:8])).mean(),
        "C_real": F.cross_entropy(stage.heads.identity(h[:8]), identity),
        "R_real": (1 - F.cosine_similarity(stage.heads.read(h[:8]), e)).mean(),
    }
    r1_and_r2 = [
        torch.autograd.grad(score[i], both, retain_graph=True)[0][i].square().sum() for i in range(16)
    ]
    expected["D_penalty"] = (sum(r1_and_r2[:8]) + sum(r1_and_r2[8:])) / 8
    losses = stage.step(0)
    for name, value in expected.items():
        assert float(losses[name]) == pytest.approx(float(value), rel=1e-4), name
    assert set(losses) == {*expected, "G", "G_identity", "G_read"}


def test_pixels_that_a_real_face_lacks_train_nothing(make_stage):
    """The generated face may look like anything there: losses and gradients are the same."""
    stage = make_stage("gan.l1=1", "r3gan.augment=0.3")
    faces = stage.batches.faces
    faces.visible_box = faces.visible_box.clone()
    faces.visible_box[:, 1] = 20  # the upper 20 rows lie beyond every image
    (_, _, real, _, visible, *_), inner = stage.batches.draw(0), stage.generator
    assert not visible[:, :, :20].any() and visible[:, :, 20:].all()
    assert not real[:, :, :20].any() and real.isfinite().all()

    class Odd(torch.nn.Module):
        def __init__(self, colour: float):
            super().__init__()
            self.colour, self.inner = torch.nn.Parameter(torch.tensor(colour)), inner

        def forward(self, e, z):
            face = self.inner(e, z)
            return torch.cat([face[:, :, :20] * 0 + self.colour, face[:, :, 20:]], dim=2)

    before, seen = copy.deepcopy(stage.state()), []
    for colour in (-3.0, 5.0):
        stage.load(copy.deepcopy(before))
        stage.generator = Odd(colour)
        stage._update_ema = lambda *_: None
        stage._step_generator = lambda loss: loss.backward()
        seen.append(stage.step(0))
        assert float(stage.generator.colour.grad) == 0
        stage.generator = inner
    assert seen[0].keys() == seen[1].keys() and "G_l1" in seen[0]
    for name, value in seen[0].items():
        assert float(value) == float(seen[1][name]), name


def scores_of(stage, e):
    """What `backward_penalty` calls: scores of pairs of images beside their e."""
    return lambda faces, pairs: stage.heads.score(stage.trunk(faces), torch.cat([e[:pairs], e[:pairs]]))


def test_the_penalty_follows_half_a_cosine(make_stage):
    """gamma 2 -> 0 and nothing else: the discriminator's gradient is gamma / 2 times the penalty's."""
    stage = make_stage("r3gan.gamma=2", "r3gan.gamma_end=0", "gan.iterations=100", "r3gan.penalty_share=1")
    e, _, real, *_ = stage.batches.draw(0)
    images = torch.cat([real, real.flip(0)])
    sizes = []
    for iteration in (0, 50, 100):
        stage.discriminator_optimiser.zero_grad()
        stage.backward_penalty(images, scores_of(stage, e), stage.gamma(iteration))
        sizes.append(float(sum(p.grad.norm() for p in stage.discriminator_parameters if p.grad is not None)))
    assert sizes[0] == pytest.approx(2 * sizes[1], rel=1e-4) and sizes[2] == 0 < sizes[0]


@pytest.mark.parametrize(
    ("overrides", "present", "absent"),
    [
        ((), {"D", "D_penalty", "R_real", "G", "G_read"}, {"C_real", "G_identity", "G_l1"}),
        (("r3gan.gamma=0", "r3gan.gamma_end=0"), {"D"}, {"D_penalty"}),
        (("r3gan.embedding_loss=0",), {"G"}, {"R_real", "G_read"}),
        (("gan.l1=1", "gan.g_identity=1", "gan.d_identity=1"), {"G_l1", "G_identity", "C_real"}, set()),
        (("r3gan.loss='softplus'",), {"D", "G"}, set()),
        (
            ("model.generator.z_dim=0", "model.generator.projection=false", "model.generator.film=false"),
            {"D", "G"},
            set(),
        ),
    ],
)
def test_every_ingredient_trains_and_can_be_left_out(make_stage, overrides, present, absent):
    stage = make_stage(*overrides)
    before = weights(stage)
    for iteration in range(2):
        losses = stage.step(iteration)
    assert present <= set(losses) and not absent & set(losses)
    assert all(torch.isfinite(v) for v in losses.values())
    assert not torch.equal(weights(stage), before)


def test_softplus_is_the_non_saturating_loss():
    real, fake = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])
    p_real, p_fake = torch.sigmoid(real), torch.sigmoid(fake)
    expected = -torch.log(p_real).mean() - torch.log(1 - p_fake).mean()
    assert float(discriminator_loss(real, fake, "softplus")) == pytest.approx(float(expected))
    assert float(generator_loss(fake, real, "softplus")) == pytest.approx(float(-torch.log(p_fake).mean()))


def test_a_resumed_run_is_the_same_run(make_stage):
    whole, first = make_stage(), make_stage()
    for iteration in range(4):
        whole.step(iteration)
    for iteration in range(2):
        first.step(iteration)
    second = make_stage()
    second.load(first.state())
    for iteration in (2, 3):
        second.step(iteration)
    assert torch.equal(weights(second), weights(whole))
    assert torch.equal(second.generator_ema.to_rgb.weight, whole.generator_ema.to_rgb.weight)


def test_it_learns_to_make_the_embedding_readable(make_stage):
    """With the embedding loss alone: after some steps e is read better from generated faces than at first."""
    stage = make_stage("gan.g_adversarial=1e-6", "r3gan.embedding_loss=5", "r3gan.augment=0", "gan.lr=2e-3")
    first = float(stage.step(0)["G_read"])
    for iteration in range(1, 60):
        losses = stage.step(iteration)
    assert float(losses["G_read"]) < first - 0.2


def test_the_checkpoint_makes_faces(make_stage, tmp_path):
    from voice2face_gan.pipeline import VoiceToFace

    stage = make_stage()
    stage.step(0)
    model = VoiceToFace(load_checkpoint(stage.checkpoint(1).save(tmp_path / "c")), "c")
    e = torch.nn.functional.normalize(torch.randn(2, 64), dim=1)
    faces = model.decode(e)
    assert faces.shape == (2, 64, 64, 3)
    assert torch.equal(faces, model.decode(e, model.noise(2)))
    assert not torch.equal(faces, model.decode(e, model.noise(2, seed=1)))
    assert torch.equal(model.decode(e, noise_scale=0), model.decode(e, torch.zeros(2, 6)))
    assert stage.image().size[0] > 0


def test_the_first_variant_is_that_of_z_0(make_stage, clips, tmp_path):
    from voice2face_gan.pipeline import VoiceToFace

    stage = make_stage("gan.lr=1e-2")
    for iteration in range(3):
        stage.step(iteration)
    model = VoiceToFace(load_checkpoint(stage.checkpoint(3).save(tmp_path / "c")), "c")
    one, three = model.generate(clips[0]), model.generate(clips[0], variants=3, seed=5)
    assert one[0].tobytes() == three[0].tobytes() != three[1].tobytes() != three[2].tobytes()
    assert model.generate(clips[0], variants=3, seed=6)[1].tobytes() != three[1].tobytes()


def test_an_encoders_strength_is_left_out_where_e_is_normalised():
    """The default's strength, soft clip and residual_std are of an e that is not normalised."""
    found = Controls(normalise_embedding=False, strength=4.0, soft_clip=(2.0,) * 64, residual_std=(0.5,) * 64)
    assert controls_of(Controls(), found) == Controls()
    own = controls_of(Controls(normalise_embedding=False, embedding_noise_std=0.2), found)
    assert own == replace(found, embedding_noise_std=0.2)


def test_two_processes_share_what_one_draws(make_stage):
    """Batches, noise and augmentation of either are those of every second place of one process's."""

    def stage(rank: int, size: int) -> R3GANStage:
        here = SingleProcess("cpu")
        here.rank, here.size = rank, size
        return make_stage(processes=here)

    whole, halves = stage(0, 1), [stage(rank, 2) for rank in (0, 1)]
    batch, drawn = whole.batches.draw(3)[:4], whole.streams.augmentation(3)
    for rank, half in enumerate(halves):
        mine = slice(rank, None, 2)
        for theirs, ours in zip(half.batches.draw(3)[:4], batch, strict=True):
            assert torch.allclose(theirs.float(), ours[mine].float(), atol=1e-6)
        assert torch.equal(half.streams.z(3, 6), whole.streams.z(3, 6)[mine])
        assert torch.equal(half.streams.augmentation(3), drawn[:, mine])


@pytest.mark.parametrize(
    ("share", "owned"), [(0.5, (2, 2)), (0.375, (2, 1)), (0.125, (1, 0)), (0.01, (1, 0))]
)
def test_the_penalty_of_two_processes_is_that_of_one(make_stage, share, owned):
    """Whichever places of the whole batch are penalised, also where none of them is a process's own."""

    def penalty(rank: int, size: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
        here = SingleProcess("cpu")
        here.rank, here.size = rank, size
        stage = make_stage(f"r3gan.penalty_share={share}", processes=here)
        mine = here.shard(8)
        images = torch.cat([real[mine], fake[mine]])
        found = stage.backward_penalty(images, scores_of(stage, e[mine]), stage.gamma(0))
        parameters = stage.discriminator_parameters
        return found, [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]

    stage = make_stage()
    e, _, real, *_ = stage.batches.draw(0)
    fake = torch.randn(real.shape, generator=torch.Generator().manual_seed(0))
    (size, whole), *halves = penalty(0, 1), penalty(0, 2), penalty(1, 2)
    assert [float(s) > 0 for s, _ in halves] == [count > 0 for count in owned]
    assert float(sum(s for s, _ in halves) / 2) == pytest.approx(float(size), rel=1e-5)
    for one, first, second in zip(whole, *(gradients for _, gradients in halves), strict=True):
        assert torch.allclose((first + second) / 2, one, rtol=1e-4, atol=1e-6 * float(one.abs().max()))
