"""`v2f-gan train` from the outside: options, words, JSON, Ctrl-C, kill -9, --resume."""

import json
import math
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from voice2face_gan.cli.commands.train import _default_recipe, _recipe_of, _side_of_landmarks
from voice2face_gan.faces.mean_shape import MEAN_SHAPE
from voice2face_gan.models.checkpoint import load_checkpoint


def lines(run: Path) -> list[dict]:
    """The whole lines of a run's log; the last may be half written while the run goes on."""
    path = run / "train.jsonl"
    text = path.read_text() if path.is_file() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def wait_for(process, root: Path, stage: str, iteration: int) -> Path:
    """The run folder, once its log has reached an iteration of a stage."""
    for _ in range(900):
        for run in sorted(root.glob("0*")):
            if any(x["stage"] == stage and x["iteration"] >= iteration for x in lines(run)):
                return run
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    raise AssertionError("the run did not get there")


def error(result) -> str:
    assert result.code == 2, result
    (line,) = [x for x in result.stderr.splitlines() if x.startswith("Error: ")]
    return line


def test_a_run_from_the_command_line(cli, tiny):
    result = cli("train", *tiny(), "--iterations", 4, "--seed", 3, "--json")
    assert result.code == 0, result.stderr
    told = json.loads(result.stdout)
    run = cli.here / told["run"]
    assert told["run"] == "runs/00000-wen2019-small-all-b8"
    assert (
        told["finished"]
        and told["reason"] == "finished"
        and told["stage"] == "gan"
        and told["iteration"] == 4
    )
    assert all(math.isfinite(v) for v in told["losses"].values())
    about = json.loads((run / "run.json").read_text())
    assert about["seed"] == 3 and about["data"] == "synthetic:20" and about["gender"] == "all"
    assert about["recipe"]["gan"]["batch"] == 8
    assert "14 identities (8 female, 6 male), 42 voices" in result.stderr
    assert "generate CLIP --checkpoint" in result.stderr
    assert load_checkpoint(told["checkpoint"]).info["iteration"] == 4


def test_the_recipe_that_is_taken_on_the_synthetic_world(cli):
    """It needs nothing beyond the core dependencies."""
    small = ("gan.batch=8", "run.tensorboard='off'", "run.evaluate_every=0")
    options = ("--iterations", 1, "--json", *(part for text in small for part in ("--set", text)))
    result = cli("train", "--data", "synthetic:20", *options)
    assert result.code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["run"] == "runs/00000-voice-to-face-all-b8"
    assert load_checkpoint(cli.here / told["run"]).generator_config.width == 16


def test_the_recipe_that_is_taken_on_other_data(cli, store, monkeypatch):
    """The default model's: its voice encoder is kept, and the faces are read into the space of that, enlarged
    to its zoom. Without the extra `faces` it is the recipe that needs none."""
    pytest.importorskip("face_recognition_models")
    small = ("--set", "model.generator.width=4", "--set", "gan.batch=8")
    result = cli("train", "--data", store.folder, *small, "--iterations", 1, "--json")
    assert result.code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["run"] == "runs/00000-r3gan-face-embedding-all-b8"
    made, default = load_checkpoint(cli.here / told["run"]), load_checkpoint("default")
    assert made.generator_config.face_scale == default.info["face_space"]["zoom"] > store.zoom
    ours, theirs = made.encoder.state_dict(), default.encoder.state_dict()
    assert all((ours[name] == value).all() for name, value in theirs.items())

    monkeypatch.setitem(sys.modules, "face_recognition_models", None)
    result = cli("train", "--data", store.folder, *small, "--out", "other", "--iterations", 1)
    assert result.code == 0 and (cli.here / "other" / "00000-voice-to-face-all-b8").is_dir()
    result = cli(
        "train",
        "--data",
        store.folder,
        *small,
        "--out",
        "third",
        "--recipe",
        "r3gan-face-embedding",
        "--encoder",
        "default",
    )
    assert "pip install 'voice2face-gan[faces]'" in error(result) and not (cli.here / "third").exists()


@pytest.mark.slow
def test_the_recipe_that_is_taken_on_stores_that_keep_landmarks(cli, store, tmp_path, monkeypatch):
    """The face decoder, at the stores' side, on the default's voice encoder; at the shipped decoder's side
    what the default is."""
    pytest.importorskip("face_recognition_models")
    folder = Path(shutil.copytree(store.folder, tmp_path / "marked.store"))
    np.save(folder / "landmarks.npy", np.tile(MEAN_SHAPE.astype(np.float32), (len(store.faces), 1, 1)))
    small = ("--set", "gan.batch=8", "--iterations", 1, "--json")
    result = cli("train", "--data", folder, *small)
    assert result.code == 0, result.stderr
    made = load_checkpoint(cli.here / json.loads(result.stdout)["run"])
    assert made.info["recipe"]["name"] == "face-decoder"
    assert made.generator_config.type == "face_decoder" and made.generator_config.side == 64
    assert _side_of_landmarks(f"{folder},{store.folder}") is None
    shipped = load_checkpoint("speech2face").generator_config.side
    monkeypatch.setitem(_default_recipe.__globals__, "_side_of_landmarks", lambda data: shipped)
    assert _default_recipe("heads", None, None) == ("appearance-model", "default", ())
    other = ("face-decoder", "default", (f"model.generator.side={shipped}",))
    assert _default_recipe("heads", "default", None) == other
    assert _side_of_landmarks("synthetic") is None and _side_of_landmarks(str(tmp_path)) is None


def test_the_recipe_that_is_taken_with_an_encoder_without_a_face_space(cli, store, trained):
    """It is said, for it is not the one that is taken without --encoder."""
    small = ("--set", "model.generator.width=8", "--set", "gan.batch=8", "--iterations", 1)
    result = cli("train", "--data", store.folder, "--encoder", trained, *small, "--json")
    assert result.code == 0, result.stderr
    assert json.loads(result.stdout)["recipe"]["name"] == "r3gan"
    said = f"The voice encoder {trained} keeps no face embedding space, which the recipe r3gan-face-embedding"
    assert result.stderr.count(said) == 1 and "the recipe is r3gan" in result.stderr
    named = cli("train", "--data", store.folder, "--encoder", trained, *small, "--recipe", "r3gan")
    assert named.code == 0 and "face embedding space" not in named.stderr


def test_gender_says_how_many_remain(cli, tiny):
    result = cli("train", *tiny(), "--iterations", 2, "--gender", "female")
    assert result.code == 0 and "8 identities (8 female), 24 voices" in result.stderr
    (run,) = (cli.here / "runs").iterdir()
    assert run.name.endswith("-female-b8")
    checkpoint = load_checkpoint(run)
    assert checkpoint.info["gender"] == "female" and checkpoint.gender_probe is None
    assert checkpoint.info["data"]["identities_by_gender"] == {"female": 8}


def test_a_gender_that_the_data_lack(cli, store, tmp_path):
    from voice2face_gan.data.records import Record
    from voice2face_gan.data.store_writer import StoreWriter

    with StoreWriter(tmp_path / "men", store.about["features"]) as writer:
        writer.add(Record("a", "a", gender="male", split="train"), None, store.faces[0])
        writer.finish()
    result = cli("train", "--data", tmp_path / "men", "--gender", "female")
    assert "no record is of gender 'female'" in error(result)
    assert not (cli.here / "runs").exists()


def test_a_given_encoder(cli, tiny, trained):
    result = cli("train", *tiny(), "--iterations", 2, "--encoder", trained, "--json")
    assert result.code == 0 and "encoder stage" not in result.stderr
    run = cli.here / json.loads(result.stdout)["run"]
    assert {line["stage"] for line in lines(run)} == {"gan"}
    assert json.loads((run / "run.json").read_text())["encoder"] == str(
        trained / "checkpoints" / "gan-0000030"
    )


def test_what_is_wrong_is_said_before_a_run_folder_is_made(cli, tiny, trained, tmp_path):
    (tmp_path / "no store").mkdir()
    for arguments, words in (
        (["--data", "synthetic:3"], "10 or more"),
        (["--data", tmp_path / "nowhere"], "does not exist"),
        (["--data", tmp_path / "no store"], "prepared store"),
        (["--recipe", "wen2018"], "did you mean 'wen2019'"),
        (["--set", "gan.bach=3"], "did you mean 'gan.batch'"),
        (["--recipe", "wen2019-small", "--set", "model.generator.kernel=5"], "kernel must be 3 or 4"),
        (["--device", "abacus"], "no such device"),
        ([*tiny(), "--encoder", tmp_path / "none"], "no such checkpoint"),
        ([*tiny(model__encoder__mel_bins=40)], "the recipe takes 40"),
        (["--resume"], "no run to resume"),
        (["--resume", tmp_path], "not a run folder"),
    ):
        assert words in error(cli("train", *arguments)), arguments
        assert list(cli.here.iterdir()) == [], arguments


@pytest.mark.slow
def test_wens_nets_train_on_the_defaults_encoder_too(cli, tiny, clips):
    """It is recurrent, and their checkpoints hold it."""
    result = cli("train", *tiny(), "--encoder", "default", "--iterations", 1, "--json")
    assert result.code == 0, result.stderr
    folder = json.loads(result.stdout)["run"]
    assert cli("generate", clips[0], "--checkpoint", folder, "-o", "face.png").code == 0


def test_a_recipe_of_a_face_space_wants_a_voice_encoder(cli):
    said = error(
        cli("train", "--data", "synthetic:20", "--recipe", "r3gan-face-embedding", "--iterations", 1)
    )
    assert "needs a trained voice encoder" in said and list(cli.here.iterdir()) == []


@pytest.mark.parametrize(
    ("recipe", "begins"),
    [
        ("face-detail-calibrated", "default, or a run"),
        ("face-detail-distilled", "a run of the recipe face-detail,"),
    ],
)
def test_a_recipe_that_goes_on_with_a_model_says_which(cli, recipe, begins):
    said = error(cli("train", "--data", "synthetic:20", "--recipe", recipe, "--iterations", 1))
    assert f"goes on with a trained model: give {begins}" in said and list(cli.here.iterdir()) == []


def test_a_calibrated_model_is_fine_tuned_by_the_recipe_of_its_diffusion():
    recipe = _recipe_of("default", ())
    assert recipe.name == "face-detail" and recipe.appearance_model.part == "detail"
    assert recipe.model.generator.head_gain == load_checkpoint("default").generator_config.head_gain
    assert recipe.model.generator.detail_steps > 1, "all levels of noise are learned again"


def test_a_store_without_levels_is_refused_before_a_run_folder_is_made(cli, store, tmp_path):
    """The default's voice encoder hears them."""
    shutil.copytree(store.folder, tmp_path / "old")
    about = json.loads((tmp_path / "old" / "store.json").read_text())
    (tmp_path / "old" / "store.json").write_text(json.dumps(about | {"levels": False}))
    result = cli("train", "--data", tmp_path / "old", "--init", "r3gan", "--iterations", 1)
    assert "old: was prepared without raw log-mels" in error(result)
    assert list(cli.here.iterdir()) == []
    result = cli("evaluate", "--data", tmp_path / "old", "--checkpoint", "default", "--metric", "l1")
    assert "old: was prepared without raw log-mels" in error(result)


def test_a_folder_of_runs_that_cannot_be_written(cli, tiny):
    assert "cannot write run folders" in error(cli("train", *tiny(), "--out", "/proc/nowhere"))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--data", "synthetic:30"),
        ("--gender", "male"),
        ("--recipe", "wen2019"),
        ("--set", "gan.lr=1"),
        ("--seed", "1"),
        ("--encoder", "x"),
        ("--init", "x"),
    ],
)
def test_what_a_run_was_started_with_cannot_be_changed(cli, run_copy, option, value):
    result = cli("train", "--resume", run_copy, option, value)
    assert f"{option} cannot be changed with --resume" in error(result)


def test_resume_alone_continues_the_newest(cli, tiny):
    for _ in range(2):
        assert cli("train", *tiny(), "--iterations", 2, "--out", "r").code == 0
    result = cli("train", "--resume", "--out", "r", "--iterations", 5, "--json")
    told = json.loads(result.stdout)
    assert result.code == 0 and told["run"].startswith("r/00001-") and told["iteration"] == 5
    assert "The gan stage goes on at iteration 2, 5 iterations in all." in result.stderr
    result = cli("train", "--out", "r", "--resume", "--json")  # the last option but one; and it is done
    assert json.loads(result.stdout)["finished"]


def test_a_run_is_resumed_from_another_folder(cli, tiny, monkeypatch, tmp_path):
    assert cli("train", *tiny(), "--iterations", 2).code == 0
    (run,) = (cli.here / "runs").iterdir()
    monkeypatch.chdir(tmp_path)
    assert cli("train", "--resume", run, "--iterations", 3).code == 0


def test_minutes(cli, tiny):
    result = cli("train", *tiny(), "--minutes", 1e-6, "--json")
    told = json.loads(result.stdout)
    assert result.code == 0 and told["reason"] == "minutes" and told["checkpoint"] is None
    assert "--resume runs/00000" in result.stderr


def test_ctrl_c_and_kill_9_and_resume(cli, tiny, start):
    """Ctrl-C in the GAN stage, then kill -9 of the resumed run; it ends as if nothing had been."""
    options = {
        "run__checkpoint_every": 1000,
        "run__log_every": 5,
        "encoder__iterations": 5,
        "gan__iterations": 150,
    }
    process = start("train", *tiny(**options), "--out", "a", "--json", cwd=cli.here)
    run = wait_for(process, cli.here / "a", "gan", 10)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    told = json.loads(out)
    stopped = told["iteration"]
    assert told["reason"] == "interrupted" and told["stage"] == "gan" and 10 <= stopped < 150
    assert "Interrupted and saved" in err and "Traceback" not in err

    process = start("train", "--resume", "--out", "a", cwd=cli.here)
    wait_for(process, cli.here / "a", "gan", stopped + 10)
    process.kill()
    process.communicate()
    result = cli("train", "--resume", "--out", "a")
    assert result.code == 0, result.stderr
    assert f"The gan stage goes on at iteration {stopped}, 150 iterations in all." in result.stderr

    logged = [(x["stage"], x["iteration"]) for x in lines(run)]
    assert logged == sorted(set(logged)), "an iteration is logged twice"
    assert cli("train", *tiny(**options), "--out", "b").code == 0
    weights = [
        (
            next((cli.here / root).glob("0*")) / "checkpoints" / "gan-0000150" / "model.safetensors"
        ).read_bytes()
        for root in "ab"
    ]
    assert weights[0] == weights[1]


def test_a_loss_that_is_no_number_ends_in_a_sentence(cli, tiny):
    result = cli("train", *tiny(gan__lr=1e18, run__log_every=1), "--iterations", 100)
    assert "no longer a finite number" in error(result) and "--set gan.lr=" in result.stderr


def test_a_full_disk_ends_in_a_sentence(cli, tiny, store, full_disk):
    with full_disk(20_000):
        result = cli("train", *tiny(), "--iterations", 2)
    assert "cannot be written" in error(result)


def test_a_cache_that_cannot_be_written(cli, monkeypatch):
    monkeypatch.setenv("V2F_CACHE", "/proc/nowhere")
    assert "/proc/nowhere" in error(cli("train", "--data", "synthetic:10"))


def test_fine_tuning_takes_the_recipe_of_what_it_starts_from(cli, tiny, trained):
    result = cli(
        "train", "--data", "synthetic:20", "--init", trained, "--iterations", 2, "--gender", "male", "--json"
    )
    assert result.code == 0, result.stderr
    told = json.loads(result.stdout)
    about = json.loads((cli.here / told["run"] / "run.json").read_text())
    assert about["init"] == str((trained / "checkpoints" / "gan-0000030").resolve())
    assert about["recipe"]["model"]["generator"]["channels"] == [32, 16, 16, 8, 8]
    assert about["recipe"]["data"]["gender"] == about["gender"] == "male" and told["stage"] == "gan"
    assert f"Starts from {about['init']}." in result.stderr
    first = load_checkpoint(cli.here / told["run"] / "checkpoints" / "gan-0000000").generator.state_dict()
    given = load_checkpoint(trained).generator.state_dict()
    assert all((first[name] == value).all() for name, value in given.items())
    assert cli("train", "--resume", "--iterations", 3).code == 0


def test_fine_tuning_on_faces_taken_nearer(cli, trained, store, tmp_path):
    """It says so and learns to paint as near."""
    shutil.copytree(store.folder, tmp_path / "near")
    about = json.loads((tmp_path / "near" / "store.json").read_text())
    (tmp_path / "near" / "store.json").write_text(json.dumps({**about, "zoom": 1.4}))
    result = cli("train", "--data", tmp_path / "near", "--init", trained, "--iterations", 1, "--json")
    assert result.code == 0 and "faces at zoom 1, and these were taken at 1.4" in result.stderr
    assert load_checkpoint(cli.here / json.loads(result.stdout)["run"]).generator_config.face_scale == 1.4


def test_what_cannot_be_fine_tuned(cli, tiny, trained):
    result = cli("train", *tiny(model__generator__kernel=3), "--recipe", "wen2019", "--init", trained)
    assert "does not fit the recipe wen2019: its model.generator.kernel is 4, the recipe's 3" in error(result)
    assert "give either --init or --encoder" in error(cli("train", "--init", trained, "--encoder", trained))
    assert "no such checkpoint" in error(cli("train", "--init", "nowhere"))
    assert not (cli.here / "runs").exists()


def test_figures_while_training(cli, tiny, store):
    """Of validation people, by the shipped judge; the best checkpoint can be named."""
    options = tiny(run__evaluate_every=2, run__keep=1, run__best="gender")
    result = cli("train", *options, "--iterations", 5, "--json")
    assert result.code == 0, result.stderr
    run = cli.here / json.loads(result.stdout)["run"]
    records = [json.loads(line) for line in (run / "evaluation.jsonl").read_text().splitlines()]
    assert [(x["stage"], x["iteration"], x["split"]) for x in records] == [
        ("gan", i, "val") for i in (2, 4, 5)
    ]
    for record in records:
        assert record["clips"] == 8 and record["identities"] == 2
        assert 0 <= record["metrics"]["gender"]["generated"]["value"] <= 100
    assert result.stderr.count("validation people: ") == 3 and "(the best so far)" in result.stderr
    best = json.loads((run / "best.json").read_text())
    values = {x["iteration"]: x["metrics"]["gender"]["generated"]["value"] for x in records}
    assert best["gender"] == max(values.values()) == values[best["iteration"]]
    assert load_checkpoint(run / "best").info["iteration"] == best["iteration"]


def test_without_validation_people_no_figures(cli, tiny, store, tmp_path):
    from voice2face_gan.data.store import Store

    shutil.copytree(store.folder, tmp_path / "some")
    text = (tmp_path / "some" / "records.csv").read_text().replace(",val", ",train")
    (tmp_path / "some" / "records.csv").write_text(text)
    assert "val" not in Store(tmp_path / "some").split
    options = [x for x in tiny(run__evaluate_every=2) if x != "synthetic:20"]
    result = cli("train", "--data", tmp_path / "some", *options[1:], "--iterations", 2)
    assert result.code == 0 and "No figures while training" in result.stderr


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("run.evaluate_evry=5", "did you mean 'run.evaluate_every'"),
        ("run.keeep=5", "did you mean 'run.keep'"),
        ("run.best=gendr", "did you mean 'gender'"),
        ("run.tensorbord=true", "did you mean 'run.tensorboard'"),
        ("run.tensorboard=maybe", "run.tensorboard must be 'auto', true or false"),
        ("run.evaluate_every=-1", "run.evaluate_every must be 0 or more"),
        ("data.hold_out_clip=1", "must be true or false"),
    ],
)
def test_keys_of_a_run_are_checked(cli, key, hint):
    measured = ("train", "--data", "synthetic:20", "--set", "run.evaluate_every=5")
    assert hint in error(cli(*measured, "--set", key))
