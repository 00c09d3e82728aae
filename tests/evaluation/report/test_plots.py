"""Plots are drawn from the figures there are, the same way each time."""

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from voice2face_gan.evaluation.report import plots
from voice2face_gan.results import Figure


@pytest.mark.slow
def test_the_plots_there_are(report):
    found = {p.name: p for p in plots.all_plots([report("$ODD$"), report("b", 2.0)])}
    assert set(found) == {
        "by-gender",
        "retrieval",
        "duration",
        "losses-1-1",
        "losses-1-2",
        "losses-2-1",
        "losses-2-2",
    }
    for image in found.values():
        with Image.open(io.BytesIO(image.png)) as opened:
            assert opened.format == "PNG" and opened.width > 300
            assert np.ptp(np.asarray(opened.convert("L"))) > 100
        assert ElementTree.fromstring(image.svg).tag.endswith("svg")
    assert "1: 9.0 % (chance 4 %), 2: 18.0 % (chance 8 %), 5: 45.0 % (chance 20 %)" in found["retrieval"].alt
    assert "1: 51.0 %" in found["duration"].alt and "female 72.5 %" in found["by-gender"].alt
    assert "loss a 0.3 to 0.1" in found["losses-1-1"].alt
    again = plots.all_plots([report("$ODD$"), report("b", 2.0)])
    assert [(p.png, p.svg) for p in again] == [(p.png, p.svg) for p in found.values()]


def test_no_plot_without_figures(report):
    bad = [{"stage": "gan"}, {"stage": "gan", "iteration": 1, "x": None, "y": "text", "z": float("nan")}]
    lone = {"R@1 cosine": Figure(4.0, 1, "clips", "p", "%", chance=4.0)}
    assert (
        plots.all_plots([report(metrics={"retrieval": lone, "l1": {"l1": Figure(1, 1, "c", "p")}}, log=bad)])
        == []
    )


def test_the_running_mean_is_the_mean():
    y = np.random.default_rng(0).normal(size=200)
    smooth = plots._running_mean(y)
    assert np.isclose(smooth[100], y[95:106].mean()) and np.isclose(smooth[0], y[:6].mean())
    assert np.allclose(plots._running_mean(np.full(7, 3.5)), 3.5)
