"""Craniofacial measures of landmarks laid by hand, r of people whose faces we know, faces found and not."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation import compute
from voice2face_gan.evaluation.metrics.craniofacial import landmarks, measures, upright

needs_dlib = pytest.mark.skipif(
    not all(importlib.util.find_spec(n) for n in ("dlib", "face_recognition_models")),
    reason="the extra faces is not installed",
)
SHARED = Path(__file__).parents[4] / "shared" / "data"


def drawn(**moved) -> np.ndarray:
    """Landmarks in distances of the eyes' centres, (68, 2); `moved` sets points, p33=(x, y)."""
    points = np.zeros((68, 2))
    for start, centre in ((36, -0.5), (42, 0.5)):  # corners, lids above, lids below
        for k, (x, y) in enumerate(
            [(-0.2, 0), (-0.1, -0.05), (0.1, -0.05), (0.2, 0), (0.1, 0.05), (-0.1, 0.05)]
        ):
            points[start + k] = centre + x, y
    at = {
        1: (-1.2, 0.3), 15: (1.2, 0.3), 4: (-0.9, 1.2), 12: (0.9, 1.2), 8: (0, 1.9),
        27: (0, 0.1), 33: (0, 0.8), 31: (-0.3, 0.75), 35: (0.3, 0.75),
        48: (-0.4, 1.2), 54: (0.4, 1.2), 49: (-0.2, 1.1), 53: (0.2, 1.1),
        51: (0, 1.1), 62: (0, 1.2), 66: (0, 1.2), 57: (0, 1.4),
    }  # fmt: skip
    for index, place in (at | {int(k[1:]): v for k, v in moved.items()}).items():
        points[index] = place
    return points


EXPECTED = {
    "upper lip height": 0.4,
    "lateral upper lip heights": 0.35,
    "jaw width": 1.8,
    "nose height": 0.7,
    "nose width": 0.6,
    "labio-oral region": 0.8,
    "mandibular index": 0.7 / 1.8,
    "intercanthal index": 0.6 / 1.4,
    "nasal index": 0.6 / 0.7,
    "vermilion height index": 0.5,
    "mouth-face width index": 0.8 / 2.4,
    "nose area": 0.5 * 0.6 * 0.7,
}


def test_measures_of_a_face_laid_by_hand():
    found = measures(drawn()[None])
    assert list(found) == list(EXPECTED)
    assert {k: float(v[0]) for k, v in found.items()} == pytest.approx(EXPECTED)


def test_measures_do_not_depend_on_turn_scale_and_place():
    turn = np.radians(25)
    matrix = 37 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    moved = drawn() @ matrix.T + (120, 90)
    assert upright(moved[None])[0] == pytest.approx(drawn())
    assert {k: float(v[0]) for k, v in measures(moved[None]).items()} == pytest.approx(EXPECTED)


def test_lips_that_meet_divide_by_little_but_not_by_nothing():
    closed = measures(drawn(p57=(0, 1.2))[None])["vermilion height index"]
    assert closed == pytest.approx([0.1 / 0.01]) and np.isfinite(measures(np.zeros((1, 68, 2)))["nose area"])


@pytest.fixture(scope="module")
def rendered():
    """Ten built-in people, three views each: uint8 (3, 10, 64, 64, 3)."""
    from voice2face_gan.synthetic.face import render
    from voice2face_gan.synthetic.speakers import sample_speakers

    people = sample_speakers(10, seed=5)
    return torch.from_numpy(np.stack([render(people, seed=5, view=k) for k in range(3)]))


@needs_dlib
def test_people_resemble_themselves(rendered, build_eval_set):
    """Own faces give r = 1; another view of oneself resembles one, the next person's faces do not."""
    first, second = rendered[0], rendered[1]
    same = compute("craniofacial", build_eval_set(first, first))
    assert set(same) == {*EXPECTED, "mean"}
    assert all(f.value == pytest.approx(1) and f.n == 10 and f.chance == 0 for f in same.values())
    views = compute("craniofacial", build_eval_set(first, second))
    others = compute("craniofacial", build_eval_set(first, second.roll(1, 0)))
    assert views["mean"].value > 0.3 > others["mean"].value
    assert views["jaw width"].low <= views["jaw width"].value <= views["jaw width"].high
    assert "0 generated and 0 real" in views["mean"].protocol


@needs_dlib
def test_fewer_than_three_people_have_no_r(rendered, build_eval_set):
    with pytest.raises(MetricError, match="3 identities"):
        compute("craniofacial", build_eval_set(rendered[0][:2], rendered[1][:2]))


@needs_dlib
def test_detection_counts_people(rendered, build_eval_set):
    """p0: a face and a grey image; p1: a face. Of the real faces, p1's is grey."""
    grey = torch.full((64, 64, 3), 128, dtype=torch.uint8)
    made = torch.stack([rendered[0, 0], grey, rendered[0, 1]])
    real = torch.stack([rendered[1, 0], grey])
    judged = build_eval_set(made, real, ["p0", "p0", "p1"], ["p0", "p1"], ["female"] * 3)
    figures = compute("detection", judged)
    assert figures["generated"].value == pytest.approx(75) and figures["generated"].n == 3
    assert figures["real"].value == pytest.approx(50) and figures["real"].unit == "%"


@needs_dlib
@pytest.mark.skipif(not SHARED.is_dir(), reason="no real faces here")
def test_landmarks_of_real_faces_lie_on_the_template():
    """Eyes of aligned real faces are where the template lays them, and each part is below the one before."""
    import csv

    from voice2face_gan.faces.align import EYE_DISTANCE, EYES_Y, align
    from voice2face_gan.faces.detect import detector
    from voice2face_gan.faces.image_io import open_image

    folder = SHARED / "faces" / "utkface"
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[::1200]
    key = next(k for k, v in rows[0].items() if v and v.lower().endswith((".webp", ".png", ".jpg")))
    faces = []
    for row in rows:
        image = open_image(folder / row[key])
        if found := detector("hog").find(image):
            faces.append(torch.from_numpy(align(image, found[0].points)[0]))
    points, found = landmarks(torch.stack(faces))
    assert len(faces) >= 10 and found.mean() > 0.8
    eyes = np.stack([points[:, 36:42].mean(axis=1), points[:, 42:48].mean(axis=1)], axis=1) / 256
    assert np.median(eyes[:, 1, 0] - eyes[:, 0, 0]) == pytest.approx(EYE_DISTANCE, abs=0.03)
    assert np.median(eyes[..., 1]) == pytest.approx(EYES_Y, abs=0.03)
    heights = points[:, [27, 33, 51, 57, 8], 1]
    assert (np.diff(heights, axis=1) > 0).mean() > 0.95
