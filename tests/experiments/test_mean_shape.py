"""The script of the mean shape: the mirror image's places, and that what ships is its own mirror image."""

import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[2] / "experiments"))
from mean_shape import MIRROR

from voice2face_gan.faces.mean_shape import MEAN_SHAPE


def test_each_point_has_a_mirror_image():
    assert sorted(MIRROR) == list(range(68))
    assert all(MIRROR[MIRROR[i]] == i for i in range(68)), "the mirror image's mirror image is the point"
    assert [i for i in range(68) if MIRROR[i] == i] == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]


def test_the_mean_shape_is_its_own_mirror_image():
    assert np.allclose(MEAN_SHAPE[list(MIRROR)] * [-1, 1] + [1, 0], MEAN_SHAPE, atol=1e-4)
