"""The GAN stages on a face space: e of faces, simulated voices, and the identity loss."""

import copy
import json

import numpy as np
import pytest
import torch

from voice2face_gan.data.batches.sampling import gaussian
from voice2face_gan.data.face_embedding import read_face_embedding, write_face_embedding
from voice2face_gan.data.store import Store
from voice2face_gan.errors import CheckpointError, DataError
from voice2face_gan.models.checkpoint import Checkpoint, load_checkpoint
from voice2face_gan.models.conditioning import Controls
from voice2face_gan.models.encoders.conv import ConvEncoder, ConvEncoderConfig
from voice2face_gan.models.face_embedding_space import SIZE, FaceSpace
from voice2face_gan.training.engine.distributed import SingleProcess
from voice2face_gan.training.engine.train import train
from voice2face_gan.training.recipe.recipe import load_recipe
from voice2face_gan.training.run.folder import Run
from voice2face_gan.training.stages import r3gan as module
from voice2face_gan.training.stages.losses import UNKNOWN_IDENTITY, l1, loss_ramp
from voice2face_gan.training.stages.r3gan import Counts, R3GANStage
from voice2face_gan.training.stages.wen2019 import Wen2019Stage

CPU = torch.device("cpu")
RESIDUAL = tuple(np.linspace(0.3, 1.0, SIZE).round(4).tolist())
R2 = 1 - torch.tensor(RESIDUAL).square()
SMALL = (
    "model.generator.width=4",
    "model.generator.full_res_block=false",
    "model.generator.z_dim=6",
    "gan.batch=4",
    "gan.iterations=100",
    "face_embedding.identity_loss_from=0",
    "face_embedding.fully_visible=0",
    "run.precision='fp32'",
)


@pytest.fixture
def encoder(read_store):
    """Function (residual, further entries of its info) -> a checkpoint of an encoder of e."""

    def make(residual=RESIDUAL, **info) -> Checkpoint:
        torch.manual_seed(0)
        config = ConvEncoderConfig(channels=(8, 8, 8, 8))
        controls = Controls(residual_std=residual, normalise_embedding=False, embedding_noise_std=0.0)
        features = read_store.about["features"]
        return Checkpoint(config, ConvEncoder(config), controls=controls, features=features, info=info)

    return make


@pytest.fixture
def make_space_stage(read_store, encoder, space_folder):
    """Function (*overrides, data, checkpoint, processes) -> a new stage of small nets."""

    def make(*overrides: str, data: Store = read_store, checkpoint=None, processes=None) -> R3GANStage:
        folder = f"face_embedding.space={json.dumps(str(space_folder))}"
        recipe = load_recipe("r3gan-face-embedding", (*SMALL, folder, *overrides))
        people = data.of_split("train"), data.of_split("val")
        return R3GANStage(*people, checkpoint or encoder(), recipe, 0, CPU, processes)

    return make


def own(stage, iteration: int, batch: int) -> torch.Tensor:
    return stage.batches.e[torch.from_numpy(stage.batches.sampler.draw(iteration, batch))]


def weights(stage) -> torch.Tensor:
    return torch.cat(
        [p.detach().flatten() for p in (*stage.generator.parameters(), *stage.discriminator_parameters)]
    )


# Batches


def test_every_face_comes_with_its_own_e(make_space_stage, read_store):
    stage = make_space_stage("face_embedding.simulated_voices=0", "data.flip=false")
    assert len(stage.batches.e) == read_store.of_split("train").has_face.sum() == stage.data["faces"]
    batch = stage.batches.draw(2)
    e, identity, real, whose, own_e = batch.e, batch.identity, batch.real, batch.face_identity, batch.own_e
    face_e = batch.face_e
    assert torch.equal(face_e, e)
    with torch.no_grad():
        torch.testing.assert_close(stage.space(real), e, atol=0.02, rtol=0.01)  # kept as float16
    assert (
        torch.equal(identity, whose) and (whose != UNKNOWN_IDENTITY).all() and own_e.all()
    )  # all have voices
    seen = torch.cat([own(stage, i, 4) for i in range(len(stage.batches.e) // 4)])
    assert len(torch.unique(seen, dim=0)) == len(seen), "a pass over all faces"


def test_it_encodes_no_voice_before_its_first_checkpoint(make_space_stage, encoder):
    """Batches need no voices; those of the gender probe are encoded for a checkpoint alone, and once."""
    checkpoint, calls = encoder(), []
    checkpoint.encoder.register_forward_hook(lambda *_: calls.append(1))
    stage = make_space_stage(checkpoint=checkpoint)
    stage.step(0)
    assert not calls and not hasattr(stage.batches, "voices")
    probe = stage.checkpoint(1).gender_probe
    assert probe is not None and len(calls) == stage.records.has_voice.sum()
    assert stage.checkpoint(2).gender_probe is probe and len(calls) == stage.records.has_voice.sum()


def test_faces_without_voices_are_trained_on_too(make_space_stage, read_store):
    """Half of the training people have lost their voices."""
    unvoiced = read_store.select(np.ones(len(read_store), dtype=bool))
    odd = np.array([int(name[3:]) % 2 == 1 for name in unvoiced.identity.tolist()])
    unvoiced.voice_offset = np.where(odd & (unvoiced.split == "train"), -1, unvoiced.voice_offset)
    stage = make_space_stage(data=unvoiced)
    assert len(stage.batches.e) == read_store.of_split("train").has_face.sum() > stage.records.has_face.sum()
    labels = torch.cat([stage.batches.draw(i).identity for i in range(len(stage.batches.e) // 4)])
    assert 0 < (labels == UNKNOWN_IDENTITY).sum() < len(labels), (
        "nobody as far as the classifier knows, and somebody"
    )
    assert all(torch.isfinite(value) for value in stage.step(0).values())


def test_a_share_of_the_batch_lies_wholly_within_its_images(make_space_stage, read_store):
    """Every tenth face does; of the others half is missing."""
    cut = read_store.select(np.ones(len(read_store), dtype=bool))
    cut.visible_box = np.array(read_store.visible_box)
    cut.visible_box[np.arange(len(cut.visible_box)) % 10 > 0, 3] = 32
    settings = ("gan.batch=8", "data.flip=false")
    stage = make_space_stage(*settings, "face_embedding.fully_visible=0.25", data=cut)
    held = read_store.of_split("train")
    seen = []
    for iteration in range(6):
        batch = stage.batches.draw(iteration)
        e, real, visible, own_e = batch.e, batch.real, batch.visible, batch.own_e
        assert visible[-2:].all() and len(real) == len(e) == 8
        # Each face is its own e's, those put in too.
        items = torch.cat([(stage.batches.e == one).all(dim=1).nonzero()[:1, 0] for one in e[own_e]])
        faces = torch.from_numpy(held.faces[held.face_index[held.has_face][items.numpy()]]).permute(
            0, 3, 1, 2
        )
        known = visible[own_e].bool().expand(-1, 3, -1, -1)
        assert torch.equal((real[own_e] * 127.5 + 127.5).round()[known], faces.float()[known])
        seen.append(visible[:-2].bool().all(dim=(1, 2, 3)).float().mean())
    assert np.mean(seen) < 0.4, "of the rest as many as there are"
    assert all(torch.isfinite(value) for value in stage.step(0).values())
    none = read_store.select(np.ones(len(read_store), dtype=bool))
    none.visible_box = np.array(read_store.visible_box)
    none.visible_box[:, 3] = 32
    stage = make_space_stage(*settings, "face_embedding.fully_visible=0.25", data=none)
    assert len(stage.batches.draw(0).e) == 8, "where none does, the others fill the batch"


def test_a_simulated_e_is_what_a_voice_encoder_would_have_predicted(make_space_stage):
    """e' = s (R2 e + sqrt(R2 (1 - R2)) n): of R2's variance, and as near to e as its prediction."""
    stage = make_space_stage(
        "face_embedding.simulated_voices=1", "face_embedding.strength_range=[2,2]", "gan.batch=600"
    )
    batch = stage.batches.draw(1)
    e, own_e = batch.e, batch.own_e
    assert not own_e.any()
    true, noise = own(stage, 1, 600), gaussian((600, SIZE), 0, "noise", 1)
    torch.testing.assert_close(e, 2 * (R2 * true + (R2 * (1 - R2)).sqrt() * noise), atol=1e-5, rtol=1e-4)
    left = e / 2 - R2 * true
    assert (left.mean(dim=0).abs() < 5 * (R2 * (1 - R2) / 600).sqrt() + 1e-6).all()
    torch.testing.assert_close(left.var(dim=0), R2 * (1 - R2), atol=1e-3, rtol=0.25)
    assert float((left.var(dim=0) - R2 * (1 - R2)).mean()) == pytest.approx(0, abs=0.004)


def test_each_simulated_e_has_a_strength_of_its_own(make_space_stage, encoder):
    """With R2 = 1 e' is s e."""
    stage = make_space_stage(
        "face_embedding.simulated_voices=1",
        "face_embedding.strength_range=[0.5,3]",
        "gan.batch=400",
        checkpoint=encoder((0.0,) * SIZE),
    )
    e = stage.batches.draw(0).e
    true = own(stage, 0, 400)
    strength = (e * true).sum(dim=1) / true.square().sum(dim=1)
    torch.testing.assert_close(e, strength[:, None] * true, atol=1e-4, rtol=1e-4)
    assert 0.5 <= strength.min() < 0.6 and 2.9 < strength.max() <= 3
    assert float(strength.mean()) == pytest.approx(1.75, abs=0.15)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_shares_of_the_batch_have_a_simulated_voice_and_z_0(make_space_stage, share, monkeypatch):
    monkeypatch.setattr(module, "ZERO_Z", share)
    stage = make_space_stage(f"face_embedding.simulated_voices={share}", "gan.batch=300")
    batch = stage.batches.draw(0)
    e, own_e = batch.e, batch.own_e
    same = (e == own(stage, 0, 300)).all(dim=1)
    assert torch.equal(same, own_e)
    z = stage.streams.z(0, stage.z_dim, stage.zero_z)
    zero = (z == 0).all(dim=1)
    assert torch.equal(z[~zero], gaussian((300, 6), 0, "z", 0)[~zero])
    for found in (1 - same.float().mean(), zero.float().mean()):
        assert float(found) == pytest.approx(share, abs=0.08 if 0 < share < 1 else 0)
    assert stage.streams.z(0, 0, share) is None


def test_two_processes_share_what_one_draws(make_space_stage):
    def stage(rank: int, size: int) -> R3GANStage:
        here = SingleProcess("cpu")
        here.rank, here.size = rank, size
        return make_space_stage("gan.batch=8", processes=here)

    whole, halves = stage(0, 1), [stage(rank, 2) for rank in (0, 1)]
    batch, parts = whole.batches.draw(3), [half.batches.draw(3) for half in halves]
    for rank, (half, part) in enumerate(zip(halves, parts, strict=True)):
        for theirs, ours in zip(part, batch, strict=True):
            assert (theirs is None and ours is None) or torch.equal(theirs, ours[rank::2])
        assert torch.equal(half.streams.z(3, 6, 0.5), whole.streams.z(3, 6, 0.5)[rank::2])
        assert torch.equal(half.streams.zooms(3), whole.streams.zooms(3)[rank::2])


def test_the_pixel_loss_of_two_processes_is_that_of_one(make_space_stage):
    """Also where more faces with their own e are in one process's part than in the other's."""

    def loss(here: SingleProcess) -> tuple[float, int]:
        stage = make_space_stage("gan.batch=8", "face_embedding.simulated_voices=0.6", processes=here)
        batch = stage.batches.draw(0)
        real, own_e = batch.real, batch.own_e
        return float(l1(torch.zeros_like(real), real, own_e, here)), int(own_e.sum())

    whole, counted = loss(SingleProcess("cpu"))
    halves = [SingleProcess("cpu") for _ in range(2)]
    for rank, here in enumerate(halves):
        here.rank, here.size = rank, 2
        here.mean = lambda count: torch.full_like(count, counted / 2)  # as the other tells it
    (first, one), (second, other) = map(loss, halves)
    assert one != other and one + other == counted
    assert (first + second) / 2 == pytest.approx(whole, rel=1e-5)


# Losses


def test_the_identity_loss_ramps_up_after_a_warm_up(make_space_stage):
    stage = make_space_stage("face_embedding.identity_loss_from=0.1", "gan.iterations=1000")
    ramp = {0: 0, 100: 0, 125: 0.25, 150: 0.5, 200: 1, 201: 1, 999: 1}
    assert {i: stage.ramp(i) for i in ramp} == pytest.approx(ramp)
    assert loss_ramp(0, 0) == 1
    stage.fine_tunes = True
    assert stage.ramp(0) == 1
    stage.fine_tunes = False
    assert not {"G_face_embedding", "G_sex_age"} & set(stage.step(100)) and "G_sex_age" in stage.step(101)
    fake, batch = torch.zeros(4, 3, 64, 64), stage.batches.draw(0)._replace(e=torch.zeros(4, SIZE))
    half, full = (
        stage._reading_losses(i, batch, fake, fake, Counts(None, None, batch.e), stage.ramp(i))
        for i in (150, 1000)
    )
    assert set(half) == set(full) == {"G_face_embedding", "G_sex_age"}
    assert float(half["G_face_embedding"]) == pytest.approx(
        0.5 * float(full["G_face_embedding"]), rel=0.2
    )  # at other zooms


def test_the_l1_loss_counts_faces_with_their_own_e_alone():
    real = torch.zeros(4, 3, 64, 64)
    fake = torch.tensor([0.1, 0.2, 0.4, 0.8])[:, None, None, None].expand_as(real)
    one = SingleProcess("cpu")
    assert float(l1(fake, real, torch.tensor([True, False, True, False]), one)) == pytest.approx(0.25)
    assert float(l1(fake, real, torch.zeros(4, dtype=torch.bool), one)) == 0
    assert float(l1(fake, real, None, one)) == pytest.approx(0.375)


def test_the_l1_loss_fades_along_the_ramp(make_space_stage):
    stage = make_space_stage("face_embedding.identity_loss_from=0.1", "gan.iterations=1000", "gan.lr=1e-9")
    for iteration, left in ((0, 1), (100, 1), (150, 0.625), (500, 0.25)):
        batch = stage.batches.draw(iteration)
        e, real, visible, own_e = batch.e, batch.real, batch.visible, batch.own_e
        with torch.no_grad():
            fake = stage.generator(e, stage.streams.z(iteration, 6, stage.zero_z)) * visible
        expected = left * float(l1(fake, real, own_e, stage.processes))
        assert float(stage.step(iteration)["G_l1"]) == pytest.approx(expected, rel=1e-3)


def test_the_identity_loss_written_out(make_space_stage):
    stage = make_space_stage("face_embedding.identity_loss=3")
    batch = stage.batches.draw(0)
    e, real = batch.e, batch.real
    losses = stage._reading_losses(7, batch, real, real, Counts(None, None, e), stage.ramp(7))
    with torch.no_grad():
        embedding, attributes = stage.space.read(real, stage.streams.zooms(7))
    wanted = stage.space.centre + (e[:, :62] * stage.space.scale) @ stage.space.basis.t()
    apart = (embedding - wanted).square().sum() / 4 / stage.space.scale.square().sum()
    assert float(losses["G_face_embedding"]) == pytest.approx(3 * float(apart), rel=1e-4)
    unlike = (attributes - e[:, 62:]).square().sum() / 4
    assert float(losses["G_sex_age"]) == pytest.approx(3 * 0.25 * float(unlike), rel=1e-4)


def test_as_far_as_people_are_from_the_average_is_one(make_space_stage):
    """All training faces, asked for e = 0; as they are."""
    stage = make_space_stage()
    with torch.no_grad():
        embedding, _ = stage.space.target(stage.batches.e)
    apart = (embedding - stage.space.centre).square().sum(dim=1).mean() / stage.space.scale.square().sum()
    assert float(apart) == pytest.approx(1, abs=0.15)


def test_images_are_zoomed_a_little_and_anew_each_time(make_space_stage):
    stage = make_space_stage("gan.batch=50")
    first, second = stage.streams.zooms(0), stage.streams.zooms(1)
    assert first.shape == (50, 3) and not torch.equal(first, second)
    zoom, right, down = first.t()
    assert 0.94 <= zoom.min() < 0.97 < 1.03 < zoom.max() <= 1.06
    for shift in (right, down):
        assert -0.04 <= shift.min() < -0.02 and 0.02 < shift.max() <= 0.04
    assert torch.equal(first, make_space_stage("gan.batch=50").streams.zooms(0))


# Steps


def test_a_step_trains_both_nets_and_leaves_the_space_alone(make_space_stage):
    stage = make_space_stage()
    before, space = weights(stage), copy.deepcopy(stage.space.state_dict())
    for iteration in range(2):
        losses = stage.step(iteration)
    wanted = {"D", "D_penalty", "R_real", "G", "G_read", "G_face_embedding", "G_sex_age", "G_l1"}
    assert set(losses) == wanted and all(torch.isfinite(value) for value in losses.values())
    assert not torch.equal(weights(stage), before)
    assert all(torch.equal(value, space[name]) for name, value in stage.space.state_dict().items())
    assert all(p.grad is None for p in stage.space.parameters())
    assert "space" not in "".join(stage.state())


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("G_l1", ("face_embedding.identity_loss_from=0.5", "gan.l1=1")),  # before the identity loss begins
        ("G_face_embedding", ("face_embedding.identity_loss_from=0", "gan.l1=0")),
    ],
)
def test_it_learns_four_faces(make_space_stage, read_store, name, overrides, monkeypatch):
    """Faces of two people, always the same four, either from their pixels or from the identity loss."""
    people = np.unique(read_store.identity[read_store.split == "train"])[:2]
    chosen = read_store.split == "val"
    for person in people:
        chosen[np.flatnonzero((read_store.identity == person) & read_store.has_face)[:2]] = True
    monkeypatch.setattr(module, "ZERO_Z", 1.0)
    alone = (
        "face_embedding.simulated_voices=0",
        "gan.g_adversarial=0",
        "data.flip=false",
    )
    stage = make_space_stage(*alone, *overrides, "gan.lr=3e-3", data=read_store.select(chosen))
    assert len(stage.batches.e) == 4
    losses = [float(stage.step(i)[name]) for i in range(14)]
    assert np.mean(losses[-3:]) < 0.85 * losses[0]


def test_a_resumed_stage_is_the_same_stage(make_space_stage):
    stage, other = make_space_stage(), make_space_stage()
    stage.step(0)
    other.load(copy.deepcopy(stage.state()))
    a, b = stage.step(1), other.step(1)
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    assert torch.equal(weights(stage), weights(other))


WEN = (
    "model.generator.channels=[16,8,8,8,8]",
    "model.generator.trunk_channels=[8,8,8,8,8]",
    "gan.batch=4",
    "run.precision='fp32'",
)


@pytest.fixture
def encoder_folder(encoder, space_folder, tmp_path):
    """The folder of an encoder whose checkpoint names the space of its e."""
    return encoder(distillation={"space": FaceSpace.load(space_folder).name}).save(tmp_path / "encoder")


@pytest.fixture
def new_space_run(read_store, space_folder, tmp_path):
    """Function (recipe, its overrides, encoder or init) -> a run of two iterations."""

    def make(name: str, overrides, **given) -> Run:
        folder = f"face_embedding.space={json.dumps(str(space_folder))}"
        recipe = load_recipe(name, (*overrides, folder, "gan.iterations=2", "run.tensorboard=false"))
        settings = {"data": str(read_store.folder), "gender": "all", "seed": 0, "iterations": None}
        settings |= {k: str(v) for k, v in given.items()}
        return Run.create(tmp_path / "runs", recipe, {"encoder": None, "init": None, **settings})

    return make


def test_a_run_takes_the_space_and_keeps_the_encoders_residual(read_store, encoder_folder, new_space_run):
    run = new_space_run("r3gan-face-embedding", SMALL, encoder=encoder_folder)
    outcome = train(run, read_store, CPU)
    assert outcome.finished and "G_face_embedding" in outcome.losses
    kept = load_checkpoint(outcome.checkpoint)
    assert kept.controls.residual_std == RESIDUAL and not kept.controls.normalise_embedding
    assert kept.info["data"]["faces"] == read_store.of_split("train").has_face.sum()
    again = train(new_space_run("r3gan-face-embedding", SMALL, init=outcome.folder), read_store, CPU)
    assert load_checkpoint(again.checkpoint).tables() == kept.tables()


def test_wens_networks_are_trained_on_the_same_faces(read_store, encoder_folder, new_space_run):
    """Their configuration has no residual; voices are simulated with the encoder's."""
    run = new_space_run("wen2019-face-embedding", WEN, encoder=encoder_folder)
    outcome = train(run, read_store, CPU)
    assert outcome.finished and all(np.isfinite(value) for value in outcome.losses.values())
    kept = load_checkpoint(outcome.checkpoint)
    assert kept.generator_config.type == "wen2019" and not kept.controls.normalise_embedding
    assert kept.controls.residual_std == RESIDUAL
    people = read_store.of_split("train"), read_store.of_split("val")
    nets = load_checkpoint(run.encoder_folder, need_generator=False)
    stage = Wen2019Stage(*people, nets, run.recipe, 0, CPU)
    torch.testing.assert_close(stage.batches.r2, R2)
    assert len(stage.batches.e) == people[0].has_face.sum()


# What is refused


def test_data_and_encoders_that_do_not_fit_are_refused(
    make_space_stage, encoder, read_store, store, space_folder, tmp_path
):
    with pytest.raises(
        DataError, match=r"gives no e of a face space \(its residual_std has 0 numbers, not 64\)"
    ):
        make_space_stage(checkpoint=encoder(()))
    with pytest.raises(DataError, match="gives the e of face-space-0, but .* is face-space-"):
        make_space_stage(checkpoint=encoder(distillation={"space": "face-space-0"}))
    with pytest.raises(DataError, match="no usable face embeddings"):
        make_space_stage(data=store)
    with pytest.raises(CheckpointError, match="no usable face space"):
        make_space_stage(f"face_embedding.space={json.dumps(str(tmp_path))}")
    import shutil

    other = Store(shutil.copytree(read_store.folder, tmp_path / "other.store"))
    write_face_embedding(other, read_face_embedding(read_store)[0], "dlib-resnet")
    with pytest.raises(DataError, match="read by dlib-resnet, but .* is face-space-.*; run v2f-gan") as error:
        make_space_stage(data=other)
    assert "\n" not in str(error.value)
