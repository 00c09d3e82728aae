"""An embedder of e: the line from the teacher to faces, who is left out, and the distillation."""

import copy
import json

import numpy as np
import pytest
import torch

from voice2face_gan.audio.features import FeatureSettings, log_mel, log_mels, normalise, take_away
from voice2face_gan.data.face_embedding import write_face_embedding
from voice2face_gan.data.records import Record
from voice2face_gan.data.speech import SpeechBank
from voice2face_gan.data.store import Store, to_int16
from voice2face_gan.data.store_writer import StoreWriter
from voice2face_gan.errors import CheckpointError, DataError, RecipeError
from voice2face_gan.models.checkpoint import load_checkpoint
from voice2face_gan.models.face_space import AGE, COMPONENTS, SEX, SIZE, FaceSpace
from voice2face_gan.models.registry import build_embedder, model_config
from voice2face_gan.training import hints
from voice2face_gan.training.embedder import new_settings, train_embedder
from voice2face_gan.training.guises import Guises
from voice2face_gan.training.hearing import HearingStage, remembered, teach
from voice2face_gan.training.line import Line, _ridge, folded
from voice2face_gan.training.recipe import load_recipe
from voice2face_gan.training.run import Run
from voice2face_gan.training.teacher import DIMENSIONS, Teacher

CPU = torch.device("cpu")
PEOPLE = 21


@pytest.fixture(scope="module")
def space(space_folder):
    return FaceSpace.load(space_folder)


# The line


@pytest.fixture
def pairs(tmp_path, space):
    """Function (person of each clip, e) -> a store of such records, with a voice and a read face each."""

    def make(who, e: torch.Tensor, name: str = "") -> Store:
        with StoreWriter(tmp_path / "pairs", {"n_mels": 2, "hop_ms": 10}, side=4) as writer:
            for i, person in enumerate(who):
                face = np.full((4, 4, 3), i % 251, dtype=np.uint8)
                writer.add(Record(f"{i}", f"p{person}"), np.zeros((2, 3), np.float32), face)
            writer.finish()
        store = Store(tmp_path / "pairs")
        write_face_embedding(store, e.numpy(), name or space.name)
        return store

    return make


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_line_that_is_there_is_found(pairs, space):
    """t holds eight causes in 256 numbers, e is linear in them and in nothing else."""
    causes = normal(300, 8)
    t = 0.5 + causes @ normal(8, DIMENSIONS, seed=1)
    e = 0.2 + causes @ normal(8, SIZE, seed=2) / 3
    line = Line.fit(pairs(range(300), e), t, space)
    found = (t - line.mean) @ line.weights + line.offset
    # The ridge, 0.3 of the mean variance of 256 numbers, takes a hundredth of that of eight causes.
    assert (found - e).norm() < 0.05 * (e - e.mean(0)).norm()
    new = normal(50, 8, seed=3)
    wanted = 0.2 + new @ normal(8, SIZE, seed=2) / 3
    given = (0.5 + new @ normal(8, DIMENSIONS, seed=1) - line.mean) @ line.weights + line.offset
    assert (given - wanted).norm() < 0.05 * (wanted - 0.2).norm()
    assert torch.isfinite(line.residual).all() and line.residual.max() < 0.1
    assert line.about["pairs"] == line.about["people"] == 300 and line.about["space"] == space.name


def test_the_residual_is_what_the_voice_leaves_open(pairs, space):
    """Element k is r_k of a cause in t and sqrt(1 - r_k^2) of its own noise: its residual is the latter."""
    causes = normal(800, 8)
    r = torch.linspace(0, 0.95, SIZE)
    e = r * causes[:, torch.arange(SIZE) % 8] + (1 - r**2).sqrt() * normal(800, SIZE, seed=2)
    line = Line.fit(pairs(range(800), e), causes @ normal(8, DIMENSIONS, seed=1), space)
    assert ((1 - line.residual**2).sqrt() - r)[r > 0.2].abs().max() < 0.12
    assert line.residual[r < 0.1].min() > 0.95 and ((line.residual >= 0) & (line.residual <= 1)).all()
    assert line.about["r_sex"] == pytest.approx(float(r[SEX]), abs=0.05)
    assert line.about["r_age"] == pytest.approx(float(r[AGE]), abs=0.05)


def test_nobody_is_predicted_from_other_clips_of_himself(pairs, space):
    """t says who speaks and nothing else: were clips left out and not people, e would be known by heart."""
    who = np.arange(50).repeat(6)
    t = normal(50, DIMENSIONS)[who] + 0.05 * normal(300, DIMENSIONS, seed=1)
    e = normal(50, SIZE, seed=2)[who]
    line = Line.fit(pairs(who, e), t, space)
    assert line.residual[:COMPONENTS].mean() > 0.95 and line.about["people"] == 50
    by_clip = Line.fit(pairs(range(300), e), t, space)  # each clip a person of its own
    assert by_clip.residual.mean() < 0.5


def test_somebody_with_many_clips_counts_less_than_with_as_many_weights():
    """A weight of two is a clip twice; without a ridge it is least squares."""
    x, y = normal(40, 3).double(), normal(40, 2, seed=1).double()
    weight = torch.ones(40).double()
    weight[:5] = 2
    once = _ridge(x, y, weight, 0.5)
    twice = _ridge(torch.cat([x, x[:5]]), torch.cat([y, y[:5]]), torch.ones(45).double(), 0.5)
    for a, b in zip(once, twice, strict=True):
        torch.testing.assert_close(a, b)
    mean, slope, offset = _ridge(x, y, torch.ones(40).double(), 0.0)
    plain = torch.linalg.lstsq(torch.cat([x, torch.ones(40, 1).double()], dim=1), y).solution
    torch.testing.assert_close(slope, plain[:3])
    torch.testing.assert_close(offset - mean @ slope, plain[3])


def test_clips_are_weighted_by_the_root_of_their_number(pairs, space):
    """Two kinds of people, one with nine clips each: the mean lies where weights of 1 and 9 / 3 lay it."""
    who = [*range(20), *np.arange(20, 40).repeat(9)]
    kind = torch.tensor([0.0] * 20 + [1.0] * 180)
    t = kind[:, None] + 0.01 * normal(200, DIMENSIONS)
    e = kind[:, None] * 4 + 0.01 * normal(200, SIZE, seed=1)
    line = Line.fit(pairs(who, e), t, space)
    assert line.mean.mean() == pytest.approx(0.75, abs=0.01)
    assert line.offset.mean() == pytest.approx(3.0, abs=0.02)


def test_pairs_that_are_none_are_refused(pairs, space):
    with pytest.raises(DataError, match="read by another-space, not by face-space-"):
        Line.fit(pairs(range(30), torch.zeros(30, SIZE), "another-space"), normal(30, DIMENSIONS), space)
    with pytest.raises(DataError, match="19 people with both voices and faces are too few; 20"):
        Line.fit(pairs(np.arange(38) // 2, torch.zeros(38, SIZE)), normal(38, DIMENSIONS), space)


# Folding


@pytest.mark.parametrize("settings", [("mean", False), ("statistics", False), ("statistics", True)])
def test_the_line_is_multiplied_into_the_last_layer(settings):
    torch.manual_seed(0)
    settings = dict(zip(("voice_pool", "voice_levels"), settings, strict=True))
    settings |= {"normalise": False, "voice_channels": (8, 8, 8, 8)}
    wide = build_embedder(model_config("modern", {**settings, "embedding": DIMENSIONS}))
    narrow = build_embedder(model_config("modern", settings)).eval()
    wide(torch.randn(8, 64, 90))  # its normalisation has seen something
    wide.eval()
    weights = torch.randn(DIMENSIONS, SIZE) / 16
    line = Line(torch.randn(DIMENSIONS), weights, torch.randn(SIZE), torch.ones(SIZE), {})
    narrow.load_state_dict(folded(wide, line))
    for frames in (1, 33, 200):
        mel = torch.randn(3, 64, frames)
        with torch.no_grad():
            wanted = (wide(mel) - line.mean) @ line.weights + line.offset
            torch.testing.assert_close(narrow(mel), wanted, atol=1e-5, rtol=1e-5)


# Teaching


def buzz(person: int, seconds: float = 2.0) -> np.ndarray:
    """Sixteen tones that swell and fade five times a second; which of them do so together is the person's."""
    time = np.arange(round(16_000 * seconds)) / 16_000
    signs = np.random.default_rng(person).choice([-1, 1], 16)
    tones = [
        (1 + 0.9 * sign * np.sin(2 * np.pi * 5 * time)) * np.sin(2 * np.pi * hertz * time)
        for sign, hertz in zip(signs, np.geomspace(150, 6000, 16), strict=True)
    ]
    noise = 0.01 * np.random.default_rng(person).standard_normal(len(time))
    return (0.03 * sum(tones) + noise).astype(np.float32)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory, space):
    """People of one clip each, with their speech, and faces read into the space."""
    features, folder = FeatureSettings(), tmp_path_factory.mktemp("spoken") / "spoken.store"
    random = np.random.default_rng(0)
    with StoreWriter(folder, features.to_dict(), source={"layout": "test"}, keep_speech=True) as writer:
        for i in range(PEOPLE):
            wave = buzz(i)
            mel = log_mel(torch.from_numpy(wave), features)
            face = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            record = Record(f"{i}", f"p{i:02d}", gender=("female", "male")[i % 2], split="train")
            writer.add(record, normalise(mel).numpy(), face, to_int16(wave), take_away(mel)[1].numpy())
        writer.finish()
    store = Store(folder)
    write_face_embedding(store, random.standard_normal((PEOPLE, SIZE)), space.name)
    return store


@pytest.fixture(scope="module")
def recipe(space_folder, teacher_file):
    """Function (*overrides) -> the recipe `hearing` with small nets."""

    def make(*overrides: str):
        small = (
            "model.voice_channels=[16,16,16,16]",
            "embedder.batch=8",
            "embedder.crop_frames=[60,80]",
            "embedder.iterations=40",
            "embedder.lr=1e-2",
            "embedder.augment=0.25",
            "embedder.speeds=[1.0]",
            "embedder.guises=0",
            "embedder.echo=1",
            "embedder.hints=0",
            "model.voice_pool='statistics'",
            "run.precision='fp32'",
            "run.tensorboard='off'",
            f"embedder.space={json.dumps(str(space_folder))}",
            f"embedder.teacher={json.dumps(str(teacher_file))}",
        )
        return load_recipe("hearing", (*small, *overrides))

    return make


@pytest.fixture(scope="module")
def make_hearing(spoken, recipe):
    def make(*overrides: str, store: Store = spoken) -> HearingStage:
        return HearingStage(store, recipe(*overrides), 0, CPU)

    return make


class Tones:
    """Speech of one pure tone each, in place of a SpeechBank."""

    def __init__(self, *hertz: float):
        time = torch.arange(52_000) / 16_000
        self.waves = [0.3 * torch.sin(2 * torch.pi * f * time) for f in hertz]
        self.whole = self.waves.__getitem__

    def __len__(self) -> int:
        return len(self.waves)


@pytest.fixture(scope="module")
def three_speeds(make_hearing):
    """A stage that hears each clip at three speeds, next to never distorted. Do not count on its weights."""
    more = ("embedder.augment=1e-9", f"embedder.batch={PEOPLE}", "embedder.lr=1e-9")
    return make_hearing("embedder.speeds=[0.8,1.0,1.25]", *more)


def test_the_teacher_hears_each_clip_at_each_speed(spoken, teacher_file):
    """Played 1.25 times as fast a tone of 400 Hz is one of 500, played at 0.8 one of 320."""
    teacher = Teacher(teacher_file)
    told = teach(teacher, Tones(400, 500, 320), Guises(3, (0.8, 1.0, 1.25)))
    assert told.shape == (3, 3, DIMENSIONS) and not told.requires_grad
    for speed, same in ((1.25, 1), (0.8, 2)):
        heard = told[0, (0.8, 1.0, 1.25).index(speed)]
        apart = (heard - told[:, 1]).norm(dim=1)
        assert apart[same] < 0.2 * apart[0]
    speech = SpeechBank(spoken.select(spoken.identity == "p03"))
    torch.testing.assert_close(teach(teacher, speech, Guises(1, (1.0,)))[0, 0], teacher(speech.whole(0)))


def test_what_the_teacher_said_is_remembered(spoken, teacher_file, tmp_path, monkeypatch):
    monkeypatch.setenv("V2F_CACHE", str(tmp_path))
    teacher, some = Teacher(teacher_file), spoken.select(np.arange(len(spoken)) < 3)
    speech, calls, three = SpeechBank(some), [], Guises(3, (0.8, 1.0, 1.25))
    teacher.register_forward_hook(lambda *_: calls.append(1))
    first = remembered(teacher, speech, three)
    assert len(calls) == 9 and torch.equal(first, teach(teacher, speech, three))
    calls.clear()
    assert torch.equal(remembered(teacher, speech, three), first) and not calls
    remembered(teacher, speech, Guises(3, (0.9, 1.0, 1.25)))
    assert len(calls) == 9  # other speeds
    speech.length[0] -= 160
    remembered(teacher, speech, three)
    assert len(calls) == 18  # other speech
    with torch.no_grad():
        teacher.linear.bias[0] += 1
    remembered(teacher, speech, three)
    assert len(calls) == 27  # another teacher


def test_each_further_guise_is_asked_of_the_teacher_and_heard(make_hearing):
    """The embedder hears crops of just the speech that the teacher was asked about."""
    more = ("embedder.speeds=[0.8,1.0,1.25]", "embedder.augment=1e-9", f"embedder.batch={PEOPLE}")
    stage = make_hearing("embedder.guises=2", *more)
    assert stage.told.shape == (PEOPLE, 5, DIMENSIONS) and stage.guises.plain == 1
    speech = stage.distortion.speech
    whole = speech.whole(4)
    samples = int(len(whole) / float(stage.guises.speed[4, 4])) - 64
    heard = stage.guises.heard(whole[None], np.array([4]), np.array([4]), samples)[0]
    teacher = Teacher(stage.recipe.embedder.teacher)
    torch.testing.assert_close(stage.told[4, 4], teacher(heard), atol=1e-5, rtol=1e-4)
    assert (stage.told[4, 4] - stage.told[4, 1]).abs().max() > 1e-3
    assert all(torch.isfinite(loss) for loss in stage.step(0).values())
    drawn = torch.cat([stage._heard(i, 60)[1] for i in range(5)])
    assert len(torch.unique(drawn, dim=0)) == PEOPLE * 5, "a pass over all guises of all clips"


def test_echoed_crops_are_what_the_teacher_was_asked_of(make_hearing):
    """The same crops as without echo, each with what was said of its own clip at its own speed."""
    more = ("embedder.speeds=[0.8,1.0,1.25]", "embedder.batch=21", "embedder.echo=2", "embedder.echo_kept=63")
    stage = make_hearing(*more, "model.voice_levels=false")
    made = [stage._longest(number) for number in range(4)]
    for iteration in range(4):
        frames = stage.settings.crop_frames[0]
        mel, wanted = stage.echo.draw(iteration, frames, np.random.default_rng(iteration))
        there = made[iteration // 2 : iteration // 2 + 3]
        said, mels = torch.cat([t for _, t in there]), torch.cat([m for m, _ in there])
        for piece, t in zip(mel, wanted, strict=True):
            whole = mels[(said == t).all(dim=1)].half().float()  # once or twice
            starts = range(whole.shape[2] - frames + 1)
            cuts = [normalise(w[:, s : s + frames].clone()) for w in whole for s in starts]
            assert min((cut - piece).abs().max() for cut in cuts) < 1e-3
    before = stage.told.clone()
    losses = stage.step(0)
    assert all(torch.isfinite(loss) for loss in losses.values()) and torch.equal(before, stage.told)


def test_it_learns_what_the_teacher_says(make_hearing):
    """Losses are shares of the variance: an embedder that knows nothing misses all of it or more."""
    wide = "model.voice_channels=[32,32,32,32]"
    stage = make_hearing("embedder.augment=1e-9", f"embedder.batch={PEOPLE}", wide)
    assert stage.told.shape == (PEOPLE, 1, DIMENSIONS) and stage.embedder.last.out_features == DIMENSIONS
    losses = [stage.step(i) for i in range(24)]  # each a pass over all
    for name in ("t_missed", "e_missed"):
        assert 0.9 < float(losses[0][name]) < 1.5 and float(losses[-1][name]) < 0.4, name


def test_the_losses_are_shares_of_the_variance(three_speeds):
    """Of an embedder that always says the mean: over all clips and speeds the losses' means are one."""
    stage = three_speeds
    assert stage.told.shape == (PEOPLE, 3, DIMENSIONS)
    last = stage.embedder.last
    torch.nn.init.zeros_(last.weight), torch.nn.init.zeros_(last.bias)
    losses = [stage.step(i) for i in range(3)]  # a pass over the 63
    for name in ("t_missed", "e_missed"):
        mean = sum(float(x[name]) for x in losses) / 3
        assert mean == pytest.approx(62 / 63, rel=1e-3), name  # the variance is that of a sample


def test_what_it_hears_is_speech_of_the_right_speed(three_speeds):
    """Undistorted crops of the same speech, read at 0.8, 1 and 1.25 times the pace."""
    stage = three_speeds
    clips, speeds = np.array([5, 6, 7]), np.array([0.8, 1.0, 1.25])
    rng = np.random.default_rng(0)
    speech = stage._distorted(clips, stage._crops_of(clips, np.arange(3), 60, rng), 60, rng)
    features, samples = stage.distortion.features, stage.distortion.samples(60)
    assert speech.shape == (3, samples)
    mel = log_mels(speech, features, normalised=False)
    assert mel.shape == (3, 64, 60)
    more = stage.distortion.of_signals.samples_needed(samples)
    raw = stage.distortion.speech.crops(clips, int(np.ceil(more * 1.25)) + 64, np.random.default_rng(0))
    for row, speed in enumerate(speeds):
        wave = np.interp(np.arange(samples) * speed, np.arange(raw.shape[1]), raw[row].numpy())
        wanted = log_mels(torch.from_numpy(wave).float()[None], features, normalised=False)[0]
        low = slice(0, 40)  # what lies between samples is guessed badly for high tones
        alike = torch.corrcoef(torch.stack([mel[row, low].flatten(), wanted[low].flatten()]))[0, 1]
        assert alike > (0.999 if speed == 1 else 0.9), speed


def test_its_checkpoint_gives_e(make_hearing, tmp_path, space, spoken):
    """By the teacher's line, from what the embedder says in units of its own."""
    stage = make_hearing()
    for i in range(3):
        stage.step(i)
    kept = load_checkpoint(stage.checkpoint(3).save(tmp_path / "e"), need_generator=False)
    assert kept.model.embedding == SIZE == len(kept.model.residual) and not kept.model.normalise
    torch.testing.assert_close(torch.tensor(kept.model.residual), stage.line.residual, atol=1e-4, rtol=0)
    assert kept.info["hearing"]["space"] == space.name and kept.info["hearing"]["people"] == PEOPLE
    assert stage.embedder.training, "it goes on"
    ears, wide = kept.embedder.eval(), stage.embedder.eval()
    with torch.no_grad():
        clips = [stage.bank.whole(i)[None] for i in range(PEOPLE)]
        t, e = torch.cat([wide(mel) for mel in clips]), torch.cat([ears(mel) for mel in clips])
    told = t * stage.unit + stage.middle
    wanted = (told - stage.line.mean) @ stage.line.weights + stage.line.offset
    torch.testing.assert_close(e, wanted, atol=1e-4, rtol=1e-3)


def test_a_resumed_stage_is_the_same_stage(make_hearing):
    stage, other = make_hearing(), make_hearing()
    stage.step(0)
    other.load(copy.deepcopy(stage.state()))
    a, b = stage.step(1), other.step(1)
    assert all(torch.equal(a[k], b[k]) for k in a)
    weights = [torch.cat([p.detach().flatten() for p in s.embedder.parameters()]) for s in (stage, other)]
    assert torch.equal(*weights)


def test_what_it_cannot_learn_from_is_said(make_hearing, recipe, spoken, store, space_folder, tmp_path):
    with pytest.raises(DataError, match="--keep-speech"):
        make_hearing(store=store.of_split("train"))
    half = spoken.select(np.ones(PEOPLE, dtype=bool))
    half.speech_offset = np.where(np.arange(PEOPLE) < 3, -1, half.speech_offset)
    with pytest.raises(DataError, match="of all its voices"):
        make_hearing(store=half)
    slow = spoken.select(np.ones(PEOPLE, dtype=bool))
    slow.about = {**spoken.about, "features": {**spoken.about["features"], "sample_rate": 24_000}}
    with pytest.raises(DataError, match="at 24000 Hz, the teacher hears 16000"):
        make_hearing(store=slow)
    with pytest.raises(CheckpointError, match="no usable face space"):
        make_hearing(f"embedder.space={json.dumps(str(tmp_path))}")
    with pytest.raises(CheckpointError, match="Resemblyzer's speaker encoder"):
        make_hearing(f"embedder.teacher={json.dumps(str(space_folder / 'space.json'))}")


def test_a_run_of_it_ends_in_an_embedder_of_e(spoken, recipe, tmp_path):
    settings = new_settings(str(spoken.folder), "all", 0, None)
    run = Run.create(tmp_path / "runs", recipe("embedder.iterations=2", "run.best=eer"), settings)
    outcome = train_embedder(run, spoken, CPU)
    assert outcome.finished and set(outcome.losses) == {"t_missed", "e_missed"}
    assert len(load_checkpoint(run.embedder_folder, need_generator=False).model.residual) == SIZE


def test_an_embedder_of_levels_hears_log_mels_as_they_are(make_hearing):
    """What it is taught on is not normalised, nor is what an echo keeps; the first crops' means differ from
    bin to bin by far more than rounding."""
    for echo in (1, 2):
        stage = make_hearing("embedder.augment=1e-9", f"embedder.echo={echo}", "embedder.echo_kept=16")
        assert stage.embedder.levels
        crops, frames = stage._crops(0)
        mel = stage.echo.draw(0, frames, crops)[0] if echo > 1 else stage._heard(0, frames)[0]
        assert mel.mean(dim=2).std() > 1 and mel.std(dim=2).max() > 1.5
        losses = stage.step(0)
        assert all(torch.isfinite(loss) for loss in losses.values())
    plain = make_hearing("model.voice_levels=false", "embedder.augment=1e-9")
    assert plain._heard(0, 60)[0].mean(dim=2).abs().max() < 1e-4


# Hints


@pytest.fixture
def hinted(make_hearing, monkeypatch):
    """Function () -> a stage whose first two iterations are hints."""
    monkeypatch.setattr(hints, "_KEPT", 1)
    monkeypatch.setattr(hints, "_LOOKED", 1)

    def make(*more: str) -> HearingStage:
        layers = ("model.voice_pool='recurrent'", "model.voice_channels=[40,256,256,256,256]")
        few = ("embedder.hints=2", "embedder.iterations=4", "embedder.batch=4")
        return make_hearing(*layers, *few, "embedder.crop_frames=[160,170]", *more)

    return make


def test_hints_come_first(hinted):
    stage = hinted()
    assert "h1_missed" in stage.step(0) and "h3_missed" in stage.step(1)
    layer = stage.embedder.layers[1]
    taught = layer.weight_hh_l0.detach().clone()
    assert torch.equal(taught, stage.hints._of_layer(1)["weight_hh_l0"])
    assert set(stage.step(2)) == {"t_missed", "e_missed"}
    assert 0 < stage.optimiser.param_groups[0]["lr"] < stage.settings.lr / 25, "it begins slowly"
    assert not torch.equal(taught, layer.weight_hh_l0), "all goes on learning"


def test_hints_hear_speech_in_further_guises(hinted):
    stage = hinted("embedder.augment=1e-9")
    assert stage.guises.count == 1 < stage.further.count
    heard, said = stage._said(0)
    assert heard.shape == (4, 159 * 160 + 400) and torch.equal(heard, stage._said(0)[0])
    assert torch.equal(heard, said), "nothing is distorted"
    clips, _ = stage._drawn(0)
    rng = stage._distorting(0)
    which = rng.integers(stage.further.count, size=4)
    wanted = stage._crops_of(clips, which, 160, rng, stage.further)[:, : said.shape[1]]
    assert torch.equal(said, wanted) and (stage.further.resonances[clips, which] != 1).any()


def test_the_teacher_hears_them_as_they_were_said_and_as_loud(hinted):
    stage, plain = hinted("embedder.augment=1"), hinted("embedder.augment=1e-9")
    (heard, said), (clean, _) = stage._said(0), plain._said(0)
    power = heard.square().mean(dim=1)
    torch.testing.assert_close(said.square().mean(dim=1), power, atol=1e-9, rtol=1e-3)
    cosine = torch.cosine_similarity(said, clean)
    assert (cosine > 0.999).all(), "undistorted, but for the level"
    assert (torch.cosine_similarity(heard, clean) < 0.99).all()


def test_it_goes_on_from_a_trained_embedder(hinted):
    """All but the last layer, which holds the line, and without the part of each layer by itself."""
    stage, other = hinted("embedder.hints=4"), hinted("embedder.hints=4")
    stage.step(0)
    trained = stage.checkpoint(1).embedder
    other.start_from(trained)
    mel = torch.randn(2, 64, 200) - 4
    with torch.no_grad():
        mine, theirs = other.embedder.features(mel), trained.features(mel)
    assert torch.equal(mine, theirs)
    assert "c1_missed" not in other.step(0) and "c1_missed" in stage.step(1)
    assert other.hints.begun and not stage.hints.begun


def test_a_recurrent_embedder_begins_with_t_itself(hinted):
    """Before anything is learned its answer, in units of its own, is the t that its layers make."""
    stage = hinted()
    mel = torch.randn(2, 64, 200) - 4
    with torch.no_grad():
        answer, features = stage.embedder.eval().with_features(mel)
    t = answer * stage.unit + stage.middle
    torch.testing.assert_close(t, features[:, :DIMENSIONS], atol=1e-5, rtol=1e-4)


def test_a_resumed_stage_goes_on_with_its_hints(hinted):
    stage, other = hinted(), hinted()
    stage.step(0)
    other.load(copy.deepcopy(stage.state()))
    for iteration in (1, 2):
        a, b = stage.step(iteration), other.step(iteration)
        assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_run_of_hints_alone_ends_in_an_embedder_of_e(hinted, spoken, tmp_path):
    stage = hinted("embedder.iterations=2", "run.best=eer")
    run = Run.create(tmp_path / "runs", stage.recipe, new_settings(str(spoken.folder), "all", 0, None))
    outcome = train_embedder(run, spoken, CPU)
    assert outcome.finished and "h1_missed" in outcome.losses
    kept = load_checkpoint(run.embedder_folder, need_generator=False)
    assert kept.embedder(torch.randn(1, 64, 200) - 4).shape == (1, SIZE)


def test_layers_unlike_the_teachers_are_refused(hinted):
    with pytest.raises(RecipeError, match="needs the teacher's layers"):
        hinted("model.voice_channels=[40,128,128]")
    with pytest.raises(RecipeError, match="embedder.hints above 0 needs model.voice_pool = 'recurrent'"):
        hinted("model.voice_pool='statistics'")
