"""Run folders as the pages get them, from files alone and by name alone."""

import json

import pytest

from voice2face_gan.errors import ServeError
from voice2face_gan.web.app import Settings
from voice2face_gan.web.limits import Limits
from voice2face_gan.web.run_pages import RunPages, curves

NAME = "00003-r3gan-all-b64"
PNG = b"\x89PNG\r\n\x1a\n0123"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two run folders, one of them broken, beside a secret."""
    root = tmp_path_factory.mktemp("runs")
    run = root / "runs" / NAME
    (run / "grids").mkdir(parents=True)
    recipe = {
        "name": "r3gan",
        "stages": ["encoder", "gan"],
        "encoder": {"iterations": 50},
        "gan": {"iterations": 2000},
    }
    about = {"data": "mine.store", "gender": "all", "seed": 1, "recipe": recipe}
    (run / "run.json").write_text(json.dumps(about))
    lines = [{"stage": "encoder", "iteration": i, "cross_entropy": 5 - i / 50} for i in range(10, 51, 10)]
    lines += [
        {"stage": "gan", "iteration": i, "per_second": 2.0, "seconds_left": 2000 - i, "D": i / 10, "G": 1.0}
        for i in range(1, 901)
    ]
    (run / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"stage": "g')
    figures = {"metrics": {"matching": {"U": {"value": 61.5}}}, "stage": "gan", "iteration": 900}
    (run / "evaluation.jsonl").write_text(json.dumps(figures) + "\n")
    for name in ("0000100.png", "0000200.png", "notes.txt"):
        (run / "grids" / name).write_bytes(PNG)
    (root / "runs" / "00004-broken").mkdir()
    (root / "runs" / "00004-broken" / "run.json").write_text("{")
    (root / "secret.png").write_bytes(b"secret")
    return root


@pytest.fixture(scope="module")
def studio(root, serving):
    settings = Settings(("synthetic",), runs=root / "runs", limits=Limits(workers=1))
    with serving(settings) as client:
        yield client


def test_the_list(studio):
    run, broken = studio.get("/api/v1/runs").json["runs"]
    assert run["folder"] == NAME and run["figures"] == {"matching_U": 61.5} and run["seconds_left"] == 1100
    assert (run["stage"], run["iteration"], run["iterations"]) == ("gan", 900, 2000)
    assert broken["error"].startswith("run.json cannot be read") and broken["seconds_left"] is None


def test_a_run(studio):
    run = studio.get(f"/api/v1/runs/{NAME}").json
    assert set(run["curves"]["gan"]) == {"D", "G"} and list(run["curves"]["encoder"]) == ["cross_entropy"]
    curve = run["curves"]["gan"]["D"]
    assert len(curve) == 300 and curve[0] == [3, pytest.approx(0.2)] and curve[-1][0] == 900
    assert run["grids"] == ["0000100.png", "0000200.png"]
    assert run["figures_over_time"] == [{"stage": "gan", "iteration": 900, "figures": {"matching_U": 61.5}}]
    assert studio.get("/api/v1/runs/00004-broken").json["error"]
    grid = studio.get(f"/api/v1/runs/{NAME}/grids/0000200.png")
    assert grid.status == 200 and grid.body == PNG and grid.headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    "path",
    ["nothing", "..", "%2e%2e", f"{NAME}/grids/notes.txt", f"{NAME}/grids/..%2f..%2f..%2fsecret.png",
     f"{NAME}/grids/%2e%2e", f"..%2f{NAME}", f"{NAME}%00", f"{NAME}/grids/0000300.png"],
)  # fmt: skip
def test_what_is_not_listed_is_not_found(studio, path):
    answer = studio.get(f"/api/v1/runs/{path}")
    assert answer.status == 404 and b"secret" not in answer.body


def test_a_run_that_grows(studio, root):
    with (root / "runs" / NAME / "train.jsonl").open("a") as file:
        file.write(
            'an", "iteration": 901}\n{"stage": "gan", "iteration": 902, "D": 1.0, "seconds_left": 7}\n'
        )
    run = studio.get(f"/api/v1/runs/{NAME}").json
    assert run["iteration"] == 902 and run["seconds_left"] == 7 and run["curves"]["gan"]["D"][-1][0] == 902


def test_nothing_is_written(studio, root):
    files = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    studio.get("/api/v1/runs")
    studio.get(f"/api/v1/runs/{NAME}")
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == files
    assert studio("DELETE", f"/api/v1/runs/{NAME}").status == 405


def test_without_runs(tmp_path):
    with pytest.raises(ServeError, match="no such folder of runs"):
        RunPages(tmp_path / "nothing")


def test_the_server_without_runs_has_none(small):
    answer = small.get("/api/v1/runs")
    assert answer.status == 404 and "--runs" in answer.json["error"]


def test_curves_of_foreign_lines():
    lines = [
        {},
        {"stage": "gan"},
        {"stage": 3, "iteration": 1, "a": 1},
        {"stage": "g", "iteration": "x", "a": 1},
    ]
    lines += [{"stage": "g", "iteration": 1, "a": float("inf"), "b": True, "c": "x", "d": 2}]
    assert curves(lines) == {"g": {"d": [[1, 2.0]]}}
