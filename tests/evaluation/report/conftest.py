"""Runs made by hand, with figures of every kind."""

import io

import numpy as np
import pytest
from PIL import Image

from voice2face_gan.evaluation.report import gather, plots
from voice2face_gan.results import Figure


@pytest.fixture(autouse=True)
def no_plots(monkeypatch):
    """Drawing takes seconds; who tests plots makes them."""
    monkeypatch.setattr(plots, "available", lambda: False)


@pytest.fixture
def with_plots(no_plots, monkeypatch):
    monkeypatch.setattr(plots, "available", lambda: True)


def png(colour: int = 90) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.full((64, 268, 3), colour, dtype=np.uint8)).save(content, "PNG")
    return content.getvalue()


def figures(k: float = 0.0) -> dict:
    """Some of every kind: percent, by gender, by rank, by length, through a stand-in."""

    def figure(value, protocol, unit="", chance=None):
        return Figure(value + k, 40, "clips", protocol, unit, value + k - 3.1, value + k + 3.3, chance)

    by_gender = {f"generated{g}": figure(71.5 + i, "the face reader's view of sex", "%", 50.0)
                 for i, g in enumerate(("", ", female", ", male"))}  # fmt: skip
    return {
        "gender": by_gender | {"real": figure(60.0, "the face reader's view of real faces", "%", 50.0)},
        "l1": {"l1": Figure(41.23 + k, 40, "clips", "pixels apart", low=40.0, high=42.0)},
        "retrieval": {f"R@{r} cosine": figure(r * 9.0, f"among {r} of 25", "%", r * 4.0) for r in (1, 2, 5)},
        "duration": {f"gender x @{s}s": figure(50.0 + s, f"after {s} s", "%", 50.0) for s in (1, 2, 4)},
        "fid": {"fid_trunk": Figure(12.5 + k, 40, "images", "stage means, a stand-in: not comparable"),
                "floor": Figure(3.25 + k, 20, "images", "real against real")},
        "identity": {"top-1": Figure(float("nan"), 4, "clips", "closed set", "%")},
    }  # fmt: skip


@pytest.fixture
def report(store):
    """Function (label, more of RunReport) -> a run's part of the report."""

    def make(label: str = "a run", k: float = 0.0, **more) -> gather.RunReport:
        recipe = {"name": "x", "gan": {"iterations": 30, "lr": 2e-5, "flip": True}}
        tables = {"encoder": {"type": "conv"}, "generator": {"type": "wen2019"}}
        config = {**tables, "voice2face_gan": "0.1.0", "gender": "all", "recipe": recipe,
                  "stage": "gan", "iteration": 30, "data": store.summary()}  # fmt: skip
        about = {
            "split": "test",
            "gender": "all",
            "identities": 4,
            "clips": 16,
            "faces": 24,
            "trained_on": False,
        }
        log = [
            {"stage": s, "iteration": i, "per_second": 1.0, "loss_a": 3.0 / i, "b": i}
            for s in ("encoder", "gan")
            for i in (10, 20, 30)
        ]
        given = dict(
            label=label, checkpoint="gan-0000030", config=config, weights="0123456789abcdef", shipped=False,
            trained_on="synthetic:20", parameters={"voice encoder": 1234, "generator": 56789},
            data=gather.DataCard("synthetic:20", store, False), about=about,
            reader={"name": "judge-x", "trained_on": "drawings", "held_out": {"gender_accuracy": 0.5}},
            metrics=figures(k), skipped={"memory": "memory needs <training> faces"}, fresh=[],
            notes=["a note"],
            people=[gather.ReportImage(f"person-{i}", png(i), f"Person {i}") for i in (1, 2, 3, 4)],
            closest=gather.ReportImage("closest", png(200), "Nearest"), log=log,
        )  # fmt: skip
        return gather.RunReport(**{**given, **more})

    return make
