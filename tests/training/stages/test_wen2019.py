"""The GAN stage against a plainly written Algorithm 1 of Wen et al. 2019."""

import copy

import numpy as np
import pytest
import torch

from voice2face_gan.bench.plain import AlgorithmOne
from voice2face_gan.data.records import Record
from voice2face_gan.data.store import Store
from voice2face_gan.data.store_writer import StoreWriter
from voice2face_gan.errors import DataError
from voice2face_gan.models.checkpoint import load_checkpoint
from voice2face_gan.models.conditioning import condition
from voice2face_gan.training.recipe.recipe import load_recipe
from voice2face_gan.training.stages.wen2019 import Wen2019Stage


@pytest.fixture
def make_stage(trained, store, tiny_settings):
    """Function (**overrides) -> a new GAN stage on the trained run's encoder, in fp32."""

    def make(records: Store | None = None, recipe: str = "wen2019", **overrides) -> Wen2019Stage:
        encoder = load_checkpoint(trained / "encoder", need_generator=False)
        part = store.of_split("train") if records is None else records
        settings = load_recipe(recipe, tiny_settings(**overrides))
        return Wen2019Stage(part, store.of_split("val"), encoder, settings, 0, torch.device("cpu"))

    return make


@pytest.mark.parametrize("recipe", ["wen2019", "wen2019-paper"])
@pytest.mark.parametrize(("steps", "rate"), [(5, 3e-3), (20, 2e-4)])
def test_losses_and_weights_are_those_of_algorithm_1(make_stage, recipe, steps, rate):
    """Over 20 steps at the recipes' rate; and at one at which the nets move far in five, where a wrong step
    shows in the next one's losses."""
    stage = make_stage(recipe=recipe, gan__lr=rate, model__encoder__norm_last=False)
    plain = AlgorithmOne(stage)
    losses = []
    for iteration in range(steps):
        ours, theirs = stage.step(iteration), plain.step(iteration)
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert abs(float(ours[name]) - value) < 1e-4, (iteration, name)
        losses.append(theirs)
    assert abs(losses[-1]["D_fake"] - losses[0]["D_fake"]) > (0.01 if rate > 1e-3 else 1e-3)
    for name in ("generator", "trunk", "discriminator"):
        weights = getattr(stage, name).state_dict()
        for key, value in getattr(plain, name).state_dict().items():
            # Adam moves a weight whose gradient is rounding error by the whole rate: a few may differ, at the
            # high rate one in a hundred, or one of a bias (with AVX-512).
            differ = int(((weights[key] - value).abs() > 2e-4).sum())
            few = max(1, value.numel() // 50) if rate > 1e-3 else value.numel() // 1000
            assert differ <= few, (name, key)


def test_a_handed_over_step_is_the_plain_loops_next(make_stage):
    """The bench compares single steps: after a hand-over the stage has nothing of its own left."""
    stage, other = make_stage(gan__lr=5e-3), make_stage(gan__lr=5e-3)
    plain = AlgorithmOne(other)
    for iteration in range(3):
        stage.step(iteration + 10)  # somewhere else, with other moments
        plain.step(iteration)
    plain.stage = stage
    plain.hand_over()
    for name in ("generator", "trunk", "discriminator", "classifier"):
        for mine, theirs in zip(
            getattr(stage, name).parameters(), getattr(plain, name).parameters(), strict=True
        ):
            assert torch.equal(mine, theirs)
    ours, theirs = stage.step(3), plain.step(3)
    for name, value in theirs.items():
        assert abs(float(ours[name]) - value) < 1e-5, name
    for name, value in plain.generator.state_dict().items():  # the moments too: the steps are the same
        assert torch.allclose(stage.generator.state_dict()[name], value, atol=1e-5), name


def test_each_loss_has_its_weight(make_stage):
    """With weight 0 the classifier does not move, and the discriminator does."""
    stage = make_stage(gan__d_identity=0)
    still, moving = (copy.deepcopy(net.state_dict()) for net in (stage.classifier, stage.discriminator))
    stage.step(0)
    assert all(torch.equal(stage.classifier.state_dict()[name], value) for name, value in still.items())
    assert any(not torch.equal(stage.discriminator.state_dict()[k], v) for k, v in moving.items())


def test_the_generators_losses_have_their_weights(make_stage):
    """The gradient is linear in them: with each alone, and with both at other weights."""

    def gradient(**weights):
        stage = make_stage(**weights)
        stage.step(0)
        return torch.cat([p.grad.flatten() for p in stage.generator.parameters()])

    fool, likeness = gradient(gan__g_identity=0), gradient(gan__g_adversarial=0)
    assert fool.norm() > 0 and likeness.norm() > 0
    both = gradient(gan__g_adversarial=2, gan__g_identity=3)
    assert torch.allclose(both, 2 * fool + 3 * likeness, atol=1e-3 * float(both.abs().max()))


def test_with_a_pixel_loss_real_faces_are_of_the_voices_people(make_stage):
    stage = make_stage(gan__l1=10)
    for iteration in range(5):
        e, voice, real, face, *_ = stage.batches.draw(iteration)
        assert torch.equal(voice, face)
        with torch.no_grad():
            expected = (stage.generator(e) - real).abs().mean()
        assert torch.allclose(stage.step(iteration)["G_l1"], expected, atol=1e-5)
    plain = make_stage()
    drawn = [plain.batches.draw(i) for i in range(5)]
    assert any(not torch.equal(batch.identity, batch.face_identity) for batch in drawn)
    assert "G_l1" not in plain.step(0)


def test_the_rate_falls_evenly_over_the_last_iterations(make_stage):
    stage = make_stage(gan__lr_decay=0.5, gan__iterations=10, gan__lr=1e-3)
    rates = []
    for iteration in range(10):
        stage.step(iteration)
        rates.append(
            [o.param_groups[0]["lr"] for o in (stage.generator_optimiser, stage.discriminator_optimiser)]
        )
    expected = [1e-3] * 6 + [0.8e-3, 0.6e-3, 0.4e-3, 0.2e-3]
    assert np.allclose(rates, np.array(expected)[:, None])


def test_the_encoder_is_frozen(make_stage):
    stage = make_stage()
    before = copy.deepcopy(stage.encoder.state_dict())
    for iteration in range(4):
        stage.step(iteration)
    assert not stage.encoder.training
    for name, value in stage.encoder.state_dict().items():  # running statistics included
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None for p in stage.encoder.parameters())


def test_the_conditions_are_unit_vectors_with_noise(make_stage, store):
    stage = make_stage()
    e, label, real, *_ = stage.batches.draw(0)
    assert torch.allclose(e.norm(dim=1), torch.ones(8), atol=1e-5)
    assert real.shape == (8, 3, 64, 64) and real.min() >= -1 and real.max() <= 1
    quiet = make_stage(model__controls__embedding_noise_std=0.0)
    plain = quiet.batches.draw(0).e
    cosine = (e * plain).sum(dim=1)
    assert (cosine < 0.9999).all() and (cosine > 0.7).all()
    assert torch.equal(label, quiet.batches.draw(0).identity)


def test_batches_are_those_of_their_iteration_alone(make_stage):
    first, second = make_stage(), make_stage()
    second.step(0)
    for a, b in zip(first.batches.draw(3)[:4], second.batches.draw(3)[:4], strict=True):
        assert torch.equal(a, b)


def test_labels_of_voices_and_faces_are_of_the_same_people(make_stage, store):
    stage = make_stage()
    train = store.of_split("train")
    names = np.unique(train.identity)
    for bank, has in ((stage.batches.voices, train.has_voice), (stage.batches.faces, train.has_face)):
        assert np.array_equal(names[bank.labels.numpy()], train.identity[has])
    assert stage.classifier.model.out_features == len(names) == 14


def test_people_without_a_voice_or_a_face_are_left_out(make_stage, store):
    train = store.of_split("train")
    names = np.unique(train.identity)
    keep = ~((train.identity == names[0]) & train.has_voice)
    stage = make_stage(train.select(keep))
    assert stage.classifier.model.out_features == 13


def test_one_person_is_too_few(make_stage, store):
    with pytest.raises(DataError, match="1 identities have both.*two or more"):
        make_stage(store.select(store.identity == store.identity[0]))


def test_the_ema_follows_the_weights(make_stage):
    """Faster early in training, so that a short run's average does not hold its first weights."""
    stage = make_stage(gan__ema_decay=0.2, gan__lr=0.01)
    expected = {k: v.clone() for k, v in stage.generator.state_dict().items()}
    for iteration in range(3):
        stage.step(iteration)
        for name, value in stage.generator.state_dict().items():
            decay = min(0.2, 1 - 9 / (10 + iteration))
            expected[name] = decay * expected[name] + (1 - decay) * value
    for name, value in stage.checkpoint(3).generator.state_dict().items():
        assert torch.allclose(value, expected[name], atol=1e-6), name
    assert make_stage().generator_ema is None


def test_a_batch_normalised_generator_keeps_its_statistics(make_stage):
    settings = {"model__generator__norm": "batch", "model__generator__output": "tanh", "gan__ema_decay": 0.9}
    stage = make_stage(**settings)
    stage.step(0)
    stage.image()  # in evaluation mode; must leave the generator training
    assert stage.generator.training
    buffers = dict(stage.generator.named_buffers())
    assert any(float((v - 1).abs().max()) > 1e-4 for k, v in buffers.items() if k.endswith("running_var"))
    for name, value in stage.generator_ema.named_buffers():
        assert torch.equal(value, buffers[name])


def test_state_goes_round(make_stage):
    stage = make_stage(gan__ema_decay=0.9)
    stage.step(0)
    other = make_stage(gan__ema_decay=0.9)
    other.load(copy.deepcopy(stage.state()))
    for iteration in (1, 2):
        a, b = stage.step(iteration), other.step(iteration)
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_an_encoder_of_other_widths_makes_a_checkpoint_that_loads(trained, store, tiny_settings, tmp_path):
    """The encoder given need not be the recipe's: what is saved describes the one that is used."""
    encoder = load_checkpoint(trained / "encoder", need_generator=False)
    recipe = load_recipe("wen2019-paper", tiny_settings(model__encoder__channels=[24, 24, 24]))
    assert recipe.model.encoder.norm_last and not encoder.encoder_config.norm_last
    stage = Wen2019Stage(store.of_split("train"), store, encoder, recipe, 0, torch.device("cpu"))
    stage.step(0)
    loaded = load_checkpoint(stage.checkpoint(1).save(tmp_path / "model"))
    x = torch.randn(2, 64, 100)
    assert torch.equal(loaded.encoder(x), encoder.encoder(x))
    assert loaded.generator_config.kernel == 3 and not loaded.controls.normalise_embedding
    assert loaded.encoder_config == encoder.encoder_config


def test_the_grid_shows_real_faces_above_and_generated_ones_below(make_stage, store):
    stage = make_stage()
    image = np.asarray(stage.image())
    assert image.shape == (2 * 66 - 2, 2 * 66 - 2, 3)  # two people validate
    val = store.of_split("val")
    first = val.select(val.identity == sorted(set(val.identity.tolist()))[0])
    assert np.array_equal(image[:64, :64], store.faces[first.face_index[0]])
    e = condition(stage.encoder(stage._grid_voices[0][None]), stage.controls)
    with torch.no_grad():
        face = stage.generator(e)[0]
    expected = ((face * 127.5 + 127.5).round().clamp(0, 255)).permute(1, 2, 0).numpy()
    assert np.abs(image[66:, :64].astype(int) - expected).max() <= 1


def test_ages_and_genders_may_be_unknown(tmp_path, trained, tiny_settings):
    """A data set that knows nothing of its people trains, without a gender probe."""
    rng = np.random.default_rng(0)
    encoder = load_checkpoint(trained / "encoder", need_generator=False)
    with StoreWriter(tmp_path / "store", encoder.features) as writer:
        for i in range(6):
            mel, face = rng.standard_normal((64, 50)), rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            writer.add(Record(f"r{i}", f"p{i % 3}", split="train"), mel, face)
        writer.finish()
    records = Store(tmp_path / "store")
    recipe = load_recipe("wen2019", tiny_settings())
    stage = Wen2019Stage(records, records, encoder, recipe, 0, torch.device("cpu"))
    stage.step(0)
    assert stage.checkpoint(1).gender_probe is None
