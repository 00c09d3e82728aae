"""What runs are called on the page, and whose faces stand beside each other."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from voice2face_gan.evaluation.report import gather


def test_faces_of_a_person():
    """Real ones end at the gap, generated ones begin there."""
    real = np.full((1, 4, 4, 3), 10, dtype=np.uint8)
    made = np.stack([np.full((4, 4, 3), v, dtype=np.uint8) for v in (20, 30)])
    row = np.asarray(gather._strip(real, made, 2))[0, :, 0].tolist()
    assert row == [255] * 6 + [10] * 4 + [255] * 8 + [20] * 4 + [255] * 2 + [30] * 4


def test_labels_differ():
    def model(name):
        return SimpleNamespace(name=name)

    places = [Path("/r/a"), Path("/r/b"), Path("/s/b"), Path("/t/b"), Path("/d")]
    models = [model("gan-1"), model("gan-2"), model("gan-3"), model("gan-3"), model("default")]
    assert gather._labels(places, models) == ["a", "b/gan-2", "b/gan-3 (1)", "b/gan-3 (2)", "default"]
