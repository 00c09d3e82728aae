"""`v2f-gan evaluate`, `train-judge` and `bench`: tables for people, JSON for programs."""

import json

import pytest

from voice2face_gan.evaluation import judges


@pytest.fixture(autouse=True)
def judged_by(judge_folder, monkeypatch):
    """A judge made here instead of the shipped one."""
    monkeypatch.setattr(judges, "resource", lambda kind, name: judge_folder)


def evaluate(cli, *arguments):
    return cli("evaluate", "--data", "builtin:20", *arguments)


def test_all_goes_on_without_inception_weights(cli, model_folder):
    result = evaluate(cli, "--checkpoint", model_folder, "--json", "-o", "figures.json")
    assert result.code == 0, result.stderr
    told = json.loads(result.stdout)
    assert json.loads((cli.here / "figures.json").read_text()) == told
    assert set(told["metrics"]) == {"l1", "cosine", "gender"} and set(told["skipped"]) == {"fid"}
    assert (told["checkpoint"], told["split"], told["gender"]) == ("painter", "test", "all")
    assert (told["identities"], told["clips"], told["faces"]) == (4, 16, 24)
    assert told["judge"]["name"].startswith("judge-random-") and not told["trained_on"]
    figure = told["metrics"]["l1"]["l1"]
    assert figure["low"] <= figure["value"] <= figure["high"] and figure["n"] == 16
    (line,) = [x for x in result.stderr.splitlines() if x.startswith("fid left out: ")]
    assert "--inception-weights" in line
    assert "judge-random-" in result.stderr and "gender accuracy 0.5" in result.stderr


def test_fid_alone_without_weights_is_an_error(cli, model_folder, tmp_path):
    (tmp_path / "text.pth").write_text("no weights")
    for weights, words in (
        ([], "not on this machine"),
        (["--inception-weights", tmp_path / "none.pth"], "does not exist"),
        (["--inception-weights", tmp_path / "text.pth"], "does not hold"),
        (["--inception-weights", tmp_path], "does not exist"),
    ):
        result = evaluate(cli, "--metric", "fid", "--checkpoint", model_folder, *weights)
        assert result.code == 2 and result.stdout == ""
        (line,) = [x for x in result.stderr.splitlines() if x.startswith("Error: ")]
        assert words in line


@pytest.mark.parametrize("metric", ["l1", "cosine", "gender"])
def test_one_metric(cli, model_folder, metric):
    result = evaluate(cli, "--metric", metric, "--checkpoint", model_folder, "--json")
    assert result.code == 0 and set(json.loads(result.stdout)["metrics"]) == {metric}


def test_parts_of_the_data(cli, model_folder, store):
    result = evaluate(
        cli,
        "--metric",
        "l1",
        "--checkpoint",
        model_folder,
        "--gender",
        "female",
        "--split",
        "train",
        "--json",
    )
    told = json.loads(result.stdout)
    assert (told["identities"], told["gender"], told["split"], told["trained_on"]) == (
        8,
        "female",
        "train",
        True,
    )
    assert "say nothing of new voices" in result.stderr
    test = store.of_split("test")
    lacking = {"female", "male"} - set(test.gender.tolist())
    for gender in lacking:
        result = evaluate(cli, "--checkpoint", model_folder, "--gender", gender)
        assert result.code == 2 and "empty" in result.stderr


def test_a_runs_figures_are_appended_to_it(cli, run_copy, model_folder):
    for metric in ("l1", "cosine"):
        assert evaluate(cli, "--metric", metric, "--checkpoint", run_copy).code == 0
    newest = run_copy / "checkpoints" / "gan-0000020"
    assert evaluate(cli, "--metric", "l1", "--checkpoint", newest).code == 0
    lines = [json.loads(x) for x in (run_copy / "evaluation.jsonl").read_text().splitlines()]
    assert [set(x["metrics"]) for x in lines] == [{"l1"}, {"cosine"}, {"l1"}]
    assert [x["checkpoint"] for x in lines] == ["gan-0000030", "gan-0000030", "gan-0000020"]
    assert evaluate(cli, "--metric", "l1", "--checkpoint", model_folder).code == 0
    assert sorted(p.name for p in model_folder.parent.iterdir()) == ["painter"]


def test_the_same_figures_again(cli, model_folder):
    told = [json.loads(evaluate(cli, "--checkpoint", model_folder, "--json").stdout) for _ in range(2)]
    assert told[0] == told[1]


def test_a_sheet_of_faces(cli, model_folder):
    from PIL import Image

    result = evaluate(cli, "--metric", "l1", "--checkpoint", model_folder, "--sheet", "new/sheet.png")
    assert result.code == 0
    with Image.open(cli.here / "new" / "sheet.png") as picture:
        assert picture.format == "PNG" and picture.size == (2 * (4 * 66 - 2), 2 * (2 * 66 - 2))
    result = evaluate(cli, "--metric", "l1", "--checkpoint", model_folder, "--sheet", "/proc/nowhere/x.png")
    assert result.code == 2 and "cannot be written" in result.stderr


def test_what_cannot_be_evaluated(cli, model_folder, trained, tmp_path, monkeypatch):
    for arguments, words in (
        (["--checkpoint", tmp_path], "not a checkpoint"),
        (["--checkpoint", trained / "embedder"], "voice embedder alone"),
        (["--checkpoint", model_folder, "--data", tmp_path], "prepared store"),
        (["--checkpoint", model_folder, "--metric", "l1", "-o", "no/such/folder.json"], "cannot be written"),
    ):
        result = evaluate(cli, *arguments)
        assert result.code == 2 and words in result.stderr, arguments
    monkeypatch.setattr(judges, "resource", lambda kind, name: tmp_path / "no judge")
    result = evaluate(cli, "--metric", "l1", "--checkpoint", model_folder)
    assert result.code == 2 and "train-judge" in result.stderr


def test_a_judge_from_the_command_line(cli, monkeypatch):
    from voice2face_gan.models.judge import load_judge
    from voice2face_gan.training import judge

    monkeypatch.setattr(judge, "_BATCH", 8)
    arguments = ["train-judge", "-o", "new/judge", "--speakers", 50, "--iterations", 10, "--json"]
    result = cli(*arguments)
    assert result.code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["held_out"]["identities"] == 10 and "--speakers 50 --iterations 10" in told["command"]
    assert load_judge(cli.here / "new" / "judge").about["held_out"] == told["held_out"]
    result = cli(*arguments)
    assert result.code == 2 and "exists and is kept" in result.stderr
    result = cli("train-judge", "-o", "/proc/nowhere/judge", "--speakers", 50, "--iterations", 10)
    assert result.code == 2 and "/proc/nowhere" in result.stderr


def test_the_bench(cli, model_folder):
    result = cli("bench", "generate", "--checkpoint", model_folder, "--seconds", 2, "--runs", 3, "--json")
    assert result.code == 0, result.stderr
    told = json.loads(result.stdout)
    steps = {"decode wav", "decode mp3", "decode m4a", "decode opus", "vad", "log-mel", "embed", "generate"}
    assert steps <= set(told["steps"]) and "whole, wav to picture" in told["steps"]
    assert all(0 < t["min_ms"] <= t["median_ms"] for t in told["steps"].values())
    assert told["log_mel_ratio"] > 0 and told["checkpoint"] == "painter"


def test_a_judge_out_of_its_field_is_named(capsys):
    """Real faces that the judge misreads bound what its figures can say."""
    from voice2face_gan.cli.evaluate import _show
    from voice2face_gan.evaluation.registry import Figure

    about = {"checkpoint": "c", "data": "d", "split": "test", "gender": "all", "trained_on": False}
    document = {
        **about,
        "identities": 1,
        "clips": 1,
        "faces": 1,
        "judge": {"name": "j", "trained_on": "drawings"},
    }
    for value, warned in ((52.8, True), (99.0, False)):
        _show(document, {"gender": {"real": Figure(value, 1, "faces", "protocol", "%")}})
        shown = " ".join(capsys.readouterr().err.split())
        assert ("say little about these data" in shown) is warned
        assert "trained on drawings" in shown
