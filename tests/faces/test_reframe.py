"""Faces laid on the template, and nearer."""

import numpy as np
import pytest
import torch
from PIL import Image

from voice2face_gan.faces.align import TEMPLATE, align
from voice2face_gan.faces.reframe import reframed
from voice2face_gan.synthetic import face, speakers


@pytest.fixture(scope="module")
def images():
    return [Image.fromarray(x) for x in face.render(speakers.sample_speakers(3, seed=3), side=256)]


def aligned(images, zoom: float) -> torch.Tensor:
    return torch.from_numpy(np.stack([align(p, 256 * TEMPLATE, 64, zoom)[0] for p in images]))


def test_nearer_faces_are_laid_on_the_template(images):
    near, far = aligned(images, 1.4), aligned(images, 1.0)
    again = reframed(near, 1.4)
    apart = (again.int() - far.int()).abs().float()
    # 64 / 1.4 pixels about the mouth are there; the rest goes on from the edge.
    assert apart[:, 15:57, 11:53].mean() < 3 < apart.mean()
    assert again.dtype == torch.uint8 and again.shape == near.shape


def test_and_taken_nearer(images):
    apart = (reframed(aligned(images, 1.0), 1.0, 1.4).int() - aligned(images, 1.4).int()).abs().float()
    assert apart.mean() < 6  # 46 pixels have become 64: softer, but in its place


def test_faces_framed_so_already_are_left_alone(images):
    faces = aligned(images, 1.4)
    assert reframed(faces, 1.4, 1.4) is faces
    assert reframed(faces[:0], 1.4) is not None and len(reframed(faces[:0], 1.4)) == 0
