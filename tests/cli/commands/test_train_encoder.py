"""`v2f-gan train` of a voice encoder alone, from the outside."""

import importlib.util
import json

import pytest

from voice2face_gan.models.checkpoint import load_checkpoint
from voice2face_gan.models.conditioning import Controls


@pytest.fixture
def settings_of_voices(encoder_settings):
    """Function: --set of small nets."""
    return lambda **more: [x for text in encoder_settings(**more) for x in ("--set", text)]


@pytest.fixture
def arguments(settings_of_voices):
    """Function: --data and --set of small nets; the world has two speakers to validate on."""

    def make(**more) -> list[str]:
        settings = settings_of_voices(**{"run__evaluate_every": 3, **more})
        return ["--recipe", "speaker-encoder", "--data", "synthetic:20", *settings]

    return make


def error(result) -> str:
    assert result.code == 2, result
    (line,) = [x for x in result.stderr.splitlines() if x.startswith("Error: ")]
    return line


def test_from_a_world_to_a_measured_encoder_that_a_gan_takes(cli, arguments, tiny):
    result = cli("train", *arguments(), "--iterations", 6, "--json")
    assert result.code == 0, result.stderr
    told = json.loads(result.stdout)
    run = cli.here / told["run"]
    assert told["run"] == "runs/00000-speaker-encoder-all-b16" and told["finished"] and told["iteration"] == 6
    assert "14 speakers (8 female, 6 male), 56 voices" in result.stderr
    assert "75 % of the clips are distorted, as speech" in result.stderr
    assert "Held out: 2 speakers, 8 clips" in result.stderr
    lines = [json.loads(x) for x in (run / "evaluation.jsonl").read_text().splitlines()]
    assert [x["iteration"] for x in lines] == [3, 6]
    assert told["equal_error_rate"] == lines[-1]["metrics"]["equal_error_rate"]
    for figure in told["equal_error_rate"].values():
        assert 0 <= figure["value"] <= 100 and figure["n"] == 28 and figure["chance"] == 50
        assert "2 speakers, 12 pairs of one speaker" in figure["protocol"]
    assert told["best"]["by"] == "eer_noisy"
    assert (
        load_checkpoint(told["checkpoint"], need_generator=False).info["recipe"]["encoder"]["augment"] == 0.75
    )
    again = cli("train", "--resume")
    assert again.code == 0 and "iteration 6" in again.stderr
    gan = cli("train", *tiny(), "--iterations", 1, "--encoder", told["run"])
    assert gan.code == 0, gan.stderr


def test_log_mels_alone_do_too(cli, store, settings_of_voices):
    settings = settings_of_voices()
    result = cli("train", "--recipe", "speaker-encoder", "--data", store.folder, *settings, "--iterations", 2)
    assert result.code == 0, result.stderr
    assert "0 of 56 as speech, others as log-mels" in result.stderr and "--keep-speech" in result.stderr
    assert "Equal error rate, noisy" in result.stderr


def test_other_recipes_are_measured_too(cli, store, settings_of_voices):
    settings = settings_of_voices(run__checkpoint_every=2)
    alone = ("--recipe", "r3gan", "--set", "stages=['encoder']")
    result = cli("train", *alone, "--data", store.folder, *settings, "--iterations", 2)
    assert result.code == 0, result.stderr
    (run,) = (cli.here / "runs").iterdir()
    about = json.loads((run / "run.json").read_text())
    assert about["recipe"]["stages"] == ["encoder"] and "gan" not in about["recipe"]
    assert about["recipe"]["run"]["evaluate_every"] == 500 and about["recipe"]["run"]["best"] == "eer_noisy"
    assert "of the clips are distorted" not in result.stderr


def test_what_it_refuses(cli, arguments, trained):
    assert "go on from a trained one with --init" in error(cli("train", *arguments(), "--encoder", trained))
    assert "stages must be ['encoder', 'gan'] or ['encoder'], not ['gan']" in error(
        cli("train", *arguments(), "--set", "stages=['gan']")
    )
    lstm = ("--set", "model.encoder.type=lstm")
    assert "needs stages = ['encoder']" in error(
        cli("train", "--recipe", "r3gan", *lstm, "--set", "encoder.space=x")
    )
    assert "needs model.encoder.type = 'lstm'" in error(
        cli("train", "--recipe", "r3gan", "--set", "encoder.space=x")
    )
    assert "no run to resume" in error(cli("train", "--resume"))
    assert "--seed cannot be changed" in error(cli("train", "--resume", trained, "--seed", 1))
    assert "unknown key" in error(cli("train", *arguments(), "--set", "encoder.augmen=1"))
    for key in ("gan.batch=4", "model.generator.channels=[8,8,8,8,8]", "data.flip=false"):
        said = error(cli("train", *arguments(), "--set", key))
        assert f"{key.partition('=')[0]} has no effect: with stages = ['encoder']" in said
    assert "no figure of a voice encoder" in error(cli("train", *arguments(run__best="fid")))
    assert not (cli.here / "runs").exists()


def test_it_goes_on_from_a_trained_one(cli, arguments):
    """The net is the same, other ones are refused before anything is written; --resume keeps the start."""
    assert cli("train", *arguments(), "--iterations", 2).code == 0
    init = ("--init", "runs/00000-speaker-encoder-all-b16")
    assert "cannot be changed with --resume" in error(cli("train", "--resume", *init))
    wide = "model.encoder.channels=[8,8,8,8,8]"
    refused = error(cli("train", *arguments(), *init, "--set", wide))
    assert "does not fit the recipe speaker-encoder: its model.encoder.channels is" in refused
    assert "missing" in error(cli("train", *arguments(), "--init", "missing"))
    assert len(list((cli.here / "runs").iterdir())) == 1
    still = ("--set", "encoder.lr=1e-12", "--seed", 5, "--iterations", 1)
    result = cli("train", *arguments(), *init, *still)
    assert result.code == 0 and "Starts from " in result.stderr, result.stderr
    first, then = (load_checkpoint(x, need_generator=False) for x in sorted((cli.here / "runs").iterdir()))
    for ours, theirs in zip(then.encoder.parameters(), first.encoder.parameters(), strict=True):
        assert (ours - theirs).abs().max() < 1e-6


def test_it_goes_on_from_one_that_ships(cli):
    """How strongly a model's e is used, and its limits, are no part of its voice encoder."""
    small = ("model.encoder.channels=[8,8,8,8]", "encoder.batch=4")
    small = [x for text in small for x in ("--set", text)]
    small += ("--set", "stages=['encoder']")
    r3gan = ("train", "--recipe", "r3gan", "--data", "synthetic:20", *small, "--iterations", 1)
    first = cli(*r3gan)
    assert first.code == 0, first.stderr
    shipped = load_checkpoint(cli.here / "runs" / "00000-r3gan-all-b4", need_generator=False)
    soft_clip = (2.0,) * shipped.encoder_config.embedding
    shipped.controls = Controls(strength=4.0, soft_clip=soft_clip, normalise_embedding=False)
    shipped.save(cli.here / "shipped")
    result = cli(*r3gan, "--init", "shipped")
    assert result.code == 0 and "Starts from " in result.stderr, result.stderr


def test_its_recipe_is_taken_from_the_run_that_it_starts_from(cli, arguments):
    assert cli("train", *arguments(), "--iterations", 1).code == 0
    init = ("--init", "runs/00000-speaker-encoder-all-b16", "--data", "synthetic:20")
    result = cli("train", *init, "--iterations", 1, "--json")
    assert result.code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["stage"] == "encoder" and told["recipe"]["name"] == "speaker-encoder"
    assert told["recipe"]["encoder"]["batch"] == 16 and told["equal_error_rate"]


def test_without_pairs_of_validation_speakers_there_is_no_rate(cli, settings_of_voices):
    """Of ten speakers one validates."""
    settings = settings_of_voices()
    options = ("--data", "synthetic:10", *settings, "--iterations", 1, "--json")
    result = cli("train", "--recipe", "speaker-encoder", *options)
    assert result.code == 0 and "No equal error rate" in result.stderr
    assert json.loads(result.stdout)["equal_error_rate"] == {}


def test_without_its_teacher_or_its_space_nothing_is_begun(cli, monkeypatch, tmp_path):
    """Distilling wants the weights of a public speaker encoder, which a package brings."""
    distil = ("train", "--recipe", "default-encoder", "--data", "synthetic:10")
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name == "resemblyzer" else find_spec(name, *more),
    )
    assert "pip install --no-deps resemblyzer" in error(cli(*distil))
    (tmp_path / "teacher.pt").write_bytes(b"no weights")
    said = error(cli(*distil, "--set", f"encoder.teacher={tmp_path}/teacher.pt"))
    assert "teacher.pt: not the weights of Resemblyzer's speaker encoder" in said
    assert not (cli.here / "runs").exists()
