"""Records of evaluation.jsonl: written, recognised and read, whatever else is in the file."""

import json
import math

import pytest
import torch

from voice2face_gan.data.store import Store
from voice2face_gan.evaluation import record
from voice2face_gan.evaluation.protocol import generate_eval_set
from voice2face_gan.evaluation.registry import METRICS, Options
from voice2face_gan.models.checkpoint import WEIGHTS, run_of, weights_hash
from voice2face_gan.results import FILE, Figure, read_records, results_of


@pytest.fixture
def judged(model, store, judge_folder):
    from voice2face_gan.evaluation.readers import open_reader

    return generate_eval_set(model, store, reader=open_reader(str(judge_folder)))


@pytest.fixture
def like(judged):
    """Function (options) -> what a kept record of the case must have."""

    def of(options=None) -> dict:
        return {**judged.about, **record.identity_of(judged, options), "judge": {"name": judged.reader.name}}

    return of


def test_a_record_comes_back_as_it_was(judged, like, tmp_path):
    options = Options(seed=3)
    results, skipped = record.compute_all(judged, ["l1", "gender", "no such metric"], options)
    assert set(results) == {"l1", "gender"} and "no such metric" in skipped["no such metric"]
    options.note("a note")
    record.append_record(tmp_path, record.build_record(judged, results, skipped, options))
    kept, notes = record.kept_figures(read_records(tmp_path), like(Options(seed=3)), METRICS)
    assert notes == ["a note"]
    assert {m: list(f) for m, f in kept.items()} == {m: list(f) for m, f in results.items()}
    for metric, figures in results.items():
        for name, figure in figures.items():
            assert kept[metric][name].to_dict() == figure.to_dict()
            assert math.isclose(kept[metric][name].value, figure.value, abs_tol=1e-6)


def test_only_the_same_case_is_recognised(judged, like, tmp_path, store):
    line = record.build_record(judged, {"l1": {"l1": Figure(1.0, 2, "clips", "how")}}, {}, Options())
    assert record.kept_figures([line], like(), ["l1"])[0]["l1"]["l1"].value == 1.0
    assert record.kept_figures([line], like(), ["gender"]) == ({}, [])
    others = [
        like(Options(seed=1)),
        like() | {"split": "val"},
        like() | {"gender": "female"},
        like() | {"judge": {"name": "somebody else"}},
        like() | {"weights": "0" * 16},
        like() | {"records": "0" * 16},
    ]
    for other in others:
        assert record.kept_figures([line], other, ["l1"]) == ({}, [])
    for lacking in ("weights", "records", "options"):
        old = {k: v for k, v in line.items() if k != lacking}
        assert record.kept_figures([old], like(), ["l1"]) == ({}, []), lacking
    newer = line | {
        "metrics": {"l1": {"l1": {**line["metrics"]["l1"]["l1"], "value": 5.0}}},
        "notes": ["new"],
    }
    kept, notes = record.kept_figures([line | {"notes": ["old"]}, newer], like(), ["l1"])
    assert kept["l1"]["l1"].value == 5.0 and notes == ["new"]


def test_the_hash_of_a_store_is_of_its_records(store, tmp_path):
    import shutil

    moved = Store(shutil.copytree(store.folder, tmp_path / "elsewhere"))
    assert record.store_hash(moved) == record.store_hash(store)
    moved.split[0] = "val" if moved.split[0] != "val" else "test"
    assert record.store_hash(moved) != record.store_hash(store)
    assert record.store_hash(store.select(store.split == "test")) != record.store_hash(store)


def test_the_hash_of_weights_is_of_the_file(model_folder, tmp_path):
    assert weights_hash(tmp_path) is None
    name = weights_hash(model_folder)
    (tmp_path / WEIGHTS).write_bytes((model_folder / WEIGHTS).read_bytes() + b"\0")
    assert len(name) == 16 and weights_hash(tmp_path) != name


def test_lines_that_are_no_records_are_passed_over(tmp_path):
    good = {"metrics": {"l1": {"l1": {"value": None, "n": 3, "counted": "clips", "protocol": "p", "new": 1}}}}
    lines = [
        '{"metrics": {"l1": {"l1"',
        "[]",
        "3",
        '{"metrics": 4}',
        '{"stage": "gan"}',
        "",
        json.dumps(good),
    ]
    (tmp_path / FILE).write_bytes("\n".join(lines).encode() + b"\n\xff\xfe")
    (found,) = read_records(tmp_path)
    figure = results_of(found)["l1"]["l1"]
    assert math.isnan(figure.value) and figure.n == 3 and figure.low is None
    assert read_records(tmp_path / "none") == read_records(None) == []


@pytest.mark.parametrize(
    "entry",
    [None, 3, {}, {"value": 1}, {"value": "x", "n": 1}, {"value": 1, "n": 1, "counted": 2, "protocol": "p"},
     {"value": 1, "n": 1, "counted": "c", "protocol": "p", "low": "<b>"}],
)  # fmt: skip
def test_what_is_no_figure_is_passed_over(entry):
    fine = {"value": 1, "n": 1, "counted": "clips", "protocol": "p"}
    found = results_of({"metrics": {"m": {"bad": entry, "good": fine}, "other": {"bad": entry}, "x": 7}})
    assert {m: list(f) for m, f in found.items()} == {"m": ["good"]}


def test_whose_run_a_checkpoint_is(run_copy, model_folder):
    assert run_of(run_copy / "checkpoints" / "gan-0000030") == run_copy.resolve()
    assert run_of(run_copy / "encoder") == run_copy.resolve()
    assert run_of(model_folder) is None and run_of(None) is None


def test_faces_without_a_model_have_no_weights(judged):
    judged.model = judged.store = None
    judged.generated = torch.zeros_like(judged.generated)
    known = record.identity_of(judged)
    assert known["weights"] is None and known["records"] is None and known["options"]["seed"] == 0
