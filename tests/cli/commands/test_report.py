"""`v2f-gan report`: a page and its Markdown twin for runs."""

import json
import re
import shutil

import pytest

from voice2face_gan.evaluation import readers
from voice2face_gan.evaluation.report import plots

FAST = ("--metric", "gender,l1,cosine")


@pytest.fixture
def run_copy(run_copy):
    """A run that nobody has evaluated yet."""
    (run_copy / "evaluation.jsonl").unlink(missing_ok=True)
    return run_copy


@pytest.fixture(autouse=True)
def judged_by(judge_folder, monkeypatch):
    """A face reader made here instead of the shipped one."""
    monkeypatch.setattr(readers, "resource", lambda kind, name: judge_folder)


@pytest.fixture(autouse=True)
def no_plots(monkeypatch):
    """Drawing takes seconds."""
    monkeypatch.setattr(plots, "available", lambda: False)


def told(result) -> dict:
    assert result.code == 0, result.stderr
    return json.loads(result.stdout)


def test_a_report_of_a_run(cli, run_copy, tmp_path, store, monkeypatch):
    monkeypatch.setattr(plots, "available", lambda: True)
    answer = told(cli("report", run_copy, *FAST, "--json"))
    (run,) = answer["runs"]
    assert (run["run"], run["checkpoint"], run["data"]) == (run_copy.name, "gan-0000030", "synthetic:20")
    assert run["metrics"] == run["computed_now"] == ["gender", "l1", "cosine"] and run["people_shown"] == 4
    assert {p.name for p in cli.here.iterdir()} == {"report.html", "report.md", "report_files"}
    assert answer["html"] == "report.html" and not answer["real_people"]
    for text in ((cli.here / "report.html").read_text(), (cli.here / "report.md").read_text()):
        assert f"v2f-gan report {run_copy.name} --metric gender,l1,cosine" in text
        assert str(tmp_path) not in text and str(store.folder) not in text  # nothing of this machine
        bare = re.sub(r"base64,[^\"]*", "", text)
        assert not [name for name in set(store.identity.tolist()) if name in bare]  # nobody is named
        assert "[gan]" in bare and "iterations = 30" in bare and "Training of" in bare


def test_figures_are_computed_once(cli, run_copy):
    def computed(*arguments) -> list[str]:
        return told(cli("report", run_copy, "--force", "--json", *arguments))["runs"][0]["computed_now"]

    assert computed("--metric", "l1") == ["l1"]
    assert computed("--metric", "l1", "--metric", "gender") == ["gender"]
    assert computed("--metric", "gender,l1") == []
    assert computed("--metric", "gender,l1", "--fresh") == ["gender", "l1"]
    assert computed("--metric", "l1", "--split", "val") == ["l1"]
    assert computed("--metric", "l1", "--seed", 1) == ["l1"]
    assert computed("--metric", "l1") == []
    lines = [json.loads(x) for x in (run_copy / "evaluation.jsonl").read_text().splitlines()]
    assert [sorted(x["metrics"]) for x in lines] == [["l1"], ["gender"], ["gender", "l1"], ["l1"], ["l1"]]


def test_kept_figures_are_shown(cli, run_copy):
    """The page shows what the run's folder holds, whatever else lies in that file."""
    assert "they need matplotlib" in cli("report", run_copy, "--metric", "l1").stderr
    path = run_copy / "evaluation.jsonl"
    line = json.loads(path.read_text())
    line["metrics"]["l1"]["l1"]["value"] = 123.4
    path.write_text("no json\n" + json.dumps(line) + '\n{"metrics": {"l1": 3}}\n')
    told(cli("report", run_copy, "--metric", "l1", "--json", "--force"))
    assert (
        "123.4" in (cli.here / "report.html").read_text() and "123.4" in (cli.here / "report.md").read_text()
    )


def test_several_runs_are_columns(cli, run_copy, model_folder):
    newest = run_copy / "checkpoints" / "gan-0000030"
    older = run_copy / "checkpoints" / "gan-0000020"
    answer = told(
        cli("report", run_copy, newest, older, model_folder, "--data", "synthetic:20", "--metric", "l1",
            "-o", "new/both.html", "--people", 2, "--json")
    )  # fmt: skip
    name = run_copy.name
    labels = [run["run"] for run in answer["runs"]]
    assert labels == [f"{name}/gan-0000030", f"{name}/gan-0000020", "painter"]
    assert [run["people_shown"] for run in answer["runs"]] == [2, 2, 2]
    (header,) = [
        x for x in (cli.here / "new" / "both.md").read_text().splitlines() if x.startswith("| figure |")
    ]
    assert header == f"| figure | {' | '.join(labels)} |"


def test_real_photographs(cli, model_folder, store, tmp_path):
    """A store of another layout than the synthetic world holds real people."""
    folder = shutil.copytree(store.folder, tmp_path / "people.store")
    about = json.loads((folder / "store.json").read_text())
    about["source"] = {"layout": "paired", "family": "paired/people", "sources": ["/home/jane/secret"]}
    (folder / "store.json").write_text(json.dumps(about))
    result = cli("report", model_folder, "--data", folder, "--metric", "l1", "--json")
    assert told(result)["real_people"] and "do not publish or commit it" in result.stderr
    for name in ("report.html", "report.md"):
        text = (cli.here / name).read_text()
        assert "photographs of real people: do not publish or commit" in text and "people.store" in text
        assert "/home/jane" not in text and str(tmp_path) not in text


def test_what_cannot_be_reported(cli, run_copy, model_folder, tmp_path):
    for arguments, words in (
        ([tmp_path / "none"], "no such checkpoint"),
        ([run_copy, tmp_path], "not a checkpoint or a run"),
        ([run_copy / "encoder"], "voice encoder alone"),
        ([model_folder], "nothing says what data it was trained on"),
        ([run_copy, "--metric", "l1,beauty"], "Unknown metric 'beauty'"),
        ([run_copy, "--data", tmp_path / "none"], "does not exist"),
        ([run_copy, "--judge", "nobody"], "There is no face reader 'nobody'"),
        ([run_copy, "-o", "report.pdf"], "ends in .html"),
        ([run_copy, "--metric", "l1", "-o", "/proc/nowhere/report.html"], "cannot be written"),
    ):
        result = cli("report", *arguments)
        assert result.code == 2 and result.stdout == "", arguments
        (line,) = [x for x in result.stderr.splitlines() if x.startswith("Error: ")]
        assert words in line, line
        assert list(cli.here.iterdir()) == []


def test_a_report_that_exists_is_kept(cli, run_copy):
    (cli.here / "report.md").write_text("mine")
    result = cli("report", run_copy, "--metric", "l1")
    assert result.code == 2 and "report.md exists and is kept; add --force to replace it." in result.stderr
    assert [p.name for p in cli.here.iterdir()] == ["report.md"]
    assert not (run_copy / "evaluation.jsonl").exists()  # it is said before anything is computed
    assert cli("report", run_copy, "--metric", "l1", "--force").code == 0
    assert (cli.here / "report.md").read_text().startswith("# Faces from voices")


def test_a_run_that_cannot_be_written_is_reported_all_the_same(cli, run_copy):
    (run_copy / "evaluation.jsonl").mkdir()
    result = cli("report", run_copy, "--metric", "l1")
    assert result.code == 0 and "Warning: the figures are not kept" in result.stderr
    assert (cli.here / "report.html").is_file()


def test_the_command_is_of_no_machine(cli, run_copy):
    inside = shutil.copytree(run_copy, cli.here / "my runs" / "00001-x")
    told(
        cli(
            "report",
            inside,
            "--metric",
            "l1",
            "--no-published",
            "--seed",
            3,
            "--seconds",
            "1,2.5",
            "--gallery",
            0,
            "-o",
            "a.html",
            "--json",
        )
    )
    wanted = "v2f-gan report 'my runs/00001-x' -o a.html --gallery 0 --seconds 1,2.5 --seed 3"
    assert f"{wanted} --metric l1 --no-published" in (cli.here / "a.md").read_text()
    assert "other data" not in (cli.here / "a.md").read_text()
