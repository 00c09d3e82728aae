"""Craniofacial measures: Pearson's r over identities between generated and real faces. Chance is 0.

The twelve measures of Speech2Face (Oh et al. 2019, Fig. 5), which name Farkas' landmarks of the face. They
are computed from 68 landmarks (the iBUG scheme, numbered from 0) in dlib's boxes. Each face is turned upright
by the centres of its eyes. Lengths are in distances of these centres, heights along the face, widths across
it. An identity's measure is the mean over its images. Speech2Face leaves some measures open; here they are:

    upper lip height           base of the nose (33) to where the lips meet (62, 66)
    lateral upper lip heights  wings of the nose (31, 35) to the lip below them (49, 53), mean of both sides
    jaw width                  corners of the jaw (4, 12)
    nose height                root (27) to base (33)
    nose width                 wings (31, 35)
    labio-oral region          width of the mouth (48, 54)
    mandibular index           lips' meeting to chin (8), by jaw width
    intercanthal index         inner (39, 42) by outer (36, 45) corners of the eyes
    nasal index                nose width by nose height
    vermilion height index     upper (51) by lower (57) lip, each from where they meet
    mouth-face width index     width of the mouth by width of the face (1, 15)
    nose area                  root, wings and base

Speech2Face measured faces that it had made frontal; here they are only upright. The predictor of the 68
points comes with the extra `faces`; it was trained on iBUG 300-W, whose terms are non-commercial.
"""

import numpy as np
from torch import Tensor

from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation.correlation import MIN_IDENTITIES, interval, per_identity, resampled_r
from voice2face_gan.evaluation.eval_set import EvalSet
from voice2face_gan.evaluation.readers import hog
from voice2face_gan.evaluation.registry import Options, metric
from voice2face_gan.results import Figure

_MIN_DENOMINATOR = 0.01  # eye distances; smallest divisor, for a lip that the landmarks close


@metric("craniofacial")
def craniofacial(eval_set: EvalSet, options: Options) -> dict[str, Figure]:
    """r of each measure, and "mean" of all of them.

    Raises:
        MetricError: the extra `faces` is not installed, or fewer than three identities have both kinds
            of faces.
    """
    names = np.intersect1d(eval_set.generated_identity, eval_set.real_identity)
    if len(names) < MIN_IDENTITIES:
        raise MetricError(
            f"craniofacial needs {MIN_IDENTITIES} identities or more; these data have {len(names)}."
        )
    parts, missed = {}, {}
    for which in ("generated", "real"):
        points, found = landmarks(getattr(eval_set, which))
        parts[which], missed[which] = measures(points), int((~found).sum())
    made = per_identity(np.stack([*parts["generated"].values()], axis=1), eval_set.generated_identity, names)
    real = per_identity(np.stack([*parts["real"].values()], axis=1), eval_set.real_identity, names)
    r, drawn = resampled_r(made, real, options.seed)
    how = (
        "Pearson's r over identities of {} in generated and real faces, from dlib's 68 landmarks; no face "
        f"was found in {missed['generated']} generated and {missed['real']} real images, where landmarks lie "
        "in the template's box"
    )

    def figure(what: str, value: float, resampled: np.ndarray) -> Figure:
        return Figure(
            float(value), len(names), "people", how.format(what), "", *interval(resampled), chance=0.0
        )

    figures = {name: figure(name, r[k], drawn[:, k]) for k, name in enumerate(parts["real"])}
    figures["mean"] = figure(f"all {len(r)} measures, mean of their r", r.mean(), drawn.mean(axis=1))
    return figures


def landmarks(faces: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The 68 landmarks of each face.

    Args:
        faces: uint8 (N, side, side, 3).
    Returns:
        float64 (N, 68, 2), x and y in pixels of the enlarged image; bool (N,) where HOG found a face.
    """
    boxes, found = hog.find(faces)
    points = np.array(
        [[(p.x, p.y) for p in shape.parts()] for _, shape in hog.shapes(faces, boxes, points=68)],
        dtype=np.float64,
    )
    return points.reshape(len(faces), 68, 2), found


def measures(points: np.ndarray) -> dict[str, np.ndarray]:
    """The measures of each face: float (N, 68, 2) -> name -> float64 (N,)."""
    at = upright(points)
    x, y = at[..., 0], at[..., 1]
    meeting = (y[:, 62] + y[:, 66]) / 2  # stomion
    jaw, mouth, face = x[:, 12] - x[:, 4], x[:, 54] - x[:, 48], x[:, 15] - x[:, 1]
    nose_height, nose_width = y[:, 33] - y[:, 27], x[:, 35] - x[:, 31]
    return {
        "upper lip height": meeting - y[:, 33],
        "lateral upper lip heights": (y[:, 49] - y[:, 31] + y[:, 53] - y[:, 35]) / 2,
        "jaw width": jaw,
        "nose height": nose_height,
        "nose width": nose_width,
        "labio-oral region": mouth,
        "mandibular index": _ratio(y[:, 8] - meeting, jaw),
        "intercanthal index": _ratio(x[:, 42] - x[:, 39], x[:, 45] - x[:, 36]),
        "nasal index": _ratio(nose_width, nose_height),
        "vermilion height index": _ratio(meeting - y[:, 51], y[:, 57] - meeting),
        "mouth-face width index": _ratio(mouth, face),
        "nose area": _area(at[:, [27, 35, 33, 31]]),
    }


def upright(points: np.ndarray) -> np.ndarray:
    """Landmarks with the eyes' centres at (-0.5, 0) and (0.5, 0): float (N, 68, 2) -> float64 (N, 68, 2)."""
    z = points[..., 0] + 1j * points[..., 1]
    left, right = z[:, 36:42].mean(axis=1), z[:, 42:48].mean(axis=1)
    apart = np.where(np.abs(right - left) > 1e-9, right - left, 1)
    z = (z - ((left + right) / 2)[:, None]) / apart[:, None]
    return np.stack([z.real, z.imag], axis=-1)


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a / np.maximum(b, _MIN_DENOMINATOR)


def _area(corners: np.ndarray) -> np.ndarray:
    """Area of a polygon by the shoelace formula: (N, corners, 2) -> (N,)."""
    x, y = corners[..., 0], corners[..., 1]
    return np.abs((x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)).sum(axis=1)) / 2
