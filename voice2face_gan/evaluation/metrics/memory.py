"""Memory: distance of generated faces to the training faces, compared with that of held-out real faces.

The distance of every generated face to the nearest face of the training split, and the same for real faces of
the evaluated identities, which were not trained on: 1 - cosine in the face reader, and ("..., pixels") the
root mean square difference of images averaged to 16 x 16, on 0-255.

    generated nearest, held-out real nearest     medians over faces
    ratio                    of the first to the second; below 1 the generated faces are nearer
    nearer than held-out     percent of generated faces nearer than 5 % of the held-out real ones are
    trained / unseen         distance to the training faces, divided by that to equally many faces of
                             identities neither trained on nor evaluated; below 1 the model remembers

A model that generates averages is near to all faces, so that its `ratio` is below 1 and its `trained /
unseen` is 1: read them together. Training faces are those of the evaluated data. A note is added where the
model was trained on others, as far as the checkpoint shows it.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from voice2face_gan.data.cache import cached
from voice2face_gan.data.store import Store
from voice2face_gan.errors import DataError, MetricError
from voice2face_gan.evaluation.eval_set import EvalSet, framed_faces
from voice2face_gan.evaluation.readers import FaceReader, Reading
from voice2face_gan.evaluation.readers.classifier import ClassifierReader
from voice2face_gan.evaluation.readers.dlib import DlibReader
from voice2face_gan.evaluation.registry import Options, metric, resampled
from voice2face_gan.faces.pixels import to_grid
from voice2face_gan.results import Figure

NEAR_PERCENT = 5.0  # percent of held-out real faces that are "near"
AVERAGED_SIDE = 16  # pixels of a side that images are averaged to
_MIN_UNSEEN_FACES = 20  # unseen faces worth comparing with
_FACES_PER_CHUNK = 1024  # faces compared with all training faces together


class Match(NamedTuple):
    """A generated face and the training face nearest to it.

    Attributes:
        index: index of the generated face in the set.
        face: uint8 (side, side, 3), the training face.
        distance: 1 - cosine in the face reader.
    """

    index: int
    face: Tensor
    distance: float


@metric("memory")
def memory(eval_set: EvalSet, options: Options) -> dict[str, Figure]:
    store, trained = training_faces(eval_set)
    _note_other_data(eval_set, store, options)
    known = _read(eval_set.reader, trained)
    made, real = (eval_set.reading(which).unit() for which in ("generated", "real"))
    spaces = {
        "": (f"1 - cosine in {eval_set.reader.name}", *(nearest_angle(x, known)[0] for x in (made, real))),
        ", pixels": (
            f"root mean square difference of {AVERAGED_SIDE} x {AVERAGED_SIDE} images, 0-255,",
            *(nearest_image(x, trained) for x in (eval_set.generated, eval_set.real)),
        ),
    }
    figures = {}
    for suffix, (distance, made, real) in spaces.items():
        low, high = interval(made, eval_set.generated_identity, real, eval_set.real_identity, options.seed)
        about = f"{distance} to the nearest of {len(trained)} training faces"
        rows = (
            ("generated nearest", f"generated faces' median {about}", "", None),
            ("held-out real nearest", f"median {about}, of real faces of the evaluated identities", "", None),
            ("ratio", f"generated / held-out real median {about}", "", None),
            (
                "nearer than held-out",
                f"generated faces whose {about} is below the {NEAR_PERCENT:g} % point of held-out real "
                "faces'",
                "%",
                NEAR_PERCENT,
            ),
        )
        values = compare(made, real)
        for i, (name, protocol, unit, chance) in enumerate(rows):
            counted = (len(real), "held-out real faces") if i == 1 else (len(made), "generated faces")
            figures[name + suffix] = Figure(values[i], *counted, protocol, unit, low[i], high[i], chance)
    unseen = unseen_faces(eval_set)
    if len(unseen) >= _MIN_UNSEEN_FACES:
        figures |= _against_unseen(eval_set, trained, known, unseen, options.seed)
    return figures


def _against_unseen(
    eval_set: EvalSet, trained: Tensor, known: np.ndarray, unseen: Tensor, seed: int
) -> dict[str, Figure]:
    """Figures that compare distances to training faces and to equally many unseen faces, drawn at random.

    Args:
        trained, unseen: uint8 (N, side, side, 3).
        known: unit embeddings of `trained`.
        seed: seed of the draw and of resampling.
    """
    random, count = np.random.default_rng(seed), min(len(trained), len(unseen))
    of_trained, of_unseen = (np.sort(random.permutation(len(x))[:count]) for x in (trained, unseen))
    unseen, made = unseen[of_unseen], eval_set.reading("generated").unit()
    near = {
        "": [nearest_angle(made, x)[0] for x in (known[of_trained], _read(eval_set.reader, unseen))],
        ", pixels": [nearest_image(eval_set.generated, x) for x in (trained[of_trained], unseen)],
    }
    who = eval_set.generated_identity
    members = [np.flatnonzero(who == name) for name in np.unique(who)]
    figures = {}
    for suffix, (to_trained, to_unseen) in near.items():
        found = []
        for drawn in resampled(len(members), seed):
            at = np.concatenate([members[i] for i in drawn])
            found.append(np.median(to_trained[at]) / max(np.median(to_unseen[at]), 1e-12))
        figures["trained / unseen" + suffix] = Figure(
            float(np.median(to_trained) / max(np.median(to_unseen), 1e-12)),
            len(made),
            "generated faces",
            f"median distance to the nearest of {count} training faces, by that to the nearest of {count} "
            "faces of identities neither trained on nor evaluated",
            "",
            *(float(x) for x in np.quantile(found, [0.025, 0.975])),
            1.0,
        )
    return figures


def unseen_faces(eval_set: EvalSet) -> Tensor:
    """Faces, uint8 (N, side, side, 3), of the set's gender and of identities that are neither of the training
    split nor evaluated; there may be none."""
    part = eval_set.store.of_gender(eval_set.about.get("gender", "all"))
    known = np.concatenate([part.identity[part.split == "train"], eval_set.real_identity])
    part = part.select(part.has_face & ~np.isin(part.identity, known))
    return framed_faces(eval_set.store, np.unique(part.face_index))


def compare(made: np.ndarray, real: np.ndarray) -> np.ndarray:
    """float (4,): median of both kinds of nearest distance, their ratio, percent of `made` that is near."""
    both = np.median(made), np.median(real)
    near = 100 * (made < np.quantile(real, NEAR_PERCENT / 100)).mean()
    return np.array([*both, both[0] / both[1] if both[1] > 0 else np.nan, near])


def interval(made, made_identity, real, real_identity, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of `compare`, (4,) and (4,); an identity's faces of both kinds are drawn together."""
    names = np.union1d(made_identity, real_identity)
    members = [[np.flatnonzero(who == n) for n in names] for who in (made_identity, real_identity)]
    found = []
    for drawn in resampled(len(names), seed):
        made_at, real_at = (np.concatenate([m[i] for i in drawn]) for m in members)
        if len(made_at) and len(real_at):
            found.append(compare(made[made_at], real[real_at]))
    return tuple(np.nanquantile(found, [0.025, 0.975], axis=0))


def training_faces(eval_set: EvalSet) -> tuple[Store, Tensor]:
    """Records of the training split that have a face, of the set's gender, and those faces.

    Returns:
        records; faces uint8 (N, side, side, 3).
    Raises:
        MetricError: there are none, or the evaluated identities may have been trained on.
    """
    if eval_set.store is None:
        raise MetricError("memory needs the training faces, and images alone do not have them.")
    try:
        part = eval_set.store.of_gender(eval_set.about.get("gender", "all")).of_split("train")
    except DataError as error:
        raise MetricError(f"memory needs training faces: {error}") from error
    part = part.select(part.has_face)
    if not len(part):
        raise MetricError(f"memory needs training faces, and {eval_set.store.folder} has none.")
    if eval_set.about.get("trained_on") or np.isin(eval_set.real_identity, part.identity).any():
        raise MetricError(
            "memory compares with real faces of identities that were not trained on, and these may have "
            "been; evaluate the split 'test' of a model trained on the split 'train'."
        )
    return part, framed_faces(eval_set.store, np.unique(part.face_index))


def _read(reader: FaceReader, faces: Tensor) -> np.ndarray:
    """Unit embeddings float32 (N, D).

    They are cached on disk for face readers whose names hash their weights: dlib takes minutes for thousands
    of faces."""
    if isinstance(reader, (ClassifierReader, DlibReader)):
        embedding = cached(f"judge {reader.name}", faces, lambda x: reader.read(x).embedding)
        found = np.ones(len(faces), dtype=bool)
        return Reading(embedding, None, None, found).unit()
    return reader.read(faces).unit()


def _note_other_data(eval_set: EvalSet, trained: Store, options: Options) -> None:
    """Add a note where the checkpoint's count of its training data differs from this training split's."""
    said = eval_set.model.checkpoint.info.get("data") if eval_set.model is not None else None
    here = {"identities": len(np.unique(trained.identity)), "faces": len(trained)}
    if isinstance(said, dict) and any(said.get(k, n) != n for k, n in here.items()):
        options.note(
            f"memory: the model was trained on {said.get('faces')} faces of {said.get('identities')} "
            f"identities, and the training split of these data has {here['faces']} of {here['identities']}; "
            "faces that the model was not trained on do not measure its memory."
        )


def nearest_angle(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance 1 - cosine of each unit vector of a, (N, D), to the nearest of b, (M, D), and its index.

    Returns:
        float64 (N,), int (N,).
    """
    index = np.concatenate([(part @ b.T).argmax(axis=1) for part in _parts(a)])
    # Of the nearest alone and exact: a copy is at distance 0.
    return ((a.astype(np.float64) - b[index]) ** 2).sum(axis=1) / 2, index


def nearest_image(a: Tensor, b: Tensor) -> np.ndarray:
    """Root mean square difference of each image of a, uint8 (N, side, side, 3), to the nearest of b.

    Both are averaged to AVERAGED_SIDE pixels a side; float64 (N,)."""
    a, b = averaged(a), averaged(b)
    length = (b**2).sum(axis=1)
    index = np.concatenate([(length - 2 * part @ b.T).argmin(axis=1) for part in _parts(a)])
    return np.sqrt(((a.astype(np.float64) - b[index]) ** 2).mean(axis=1))


def averaged(faces: Tensor) -> np.ndarray:
    """uint8 (N, side, side, 3) -> float32 (N, AVERAGED_SIDE^2 x 3): means of blocks of pixels, less 127.5."""
    parts = [
        F.adaptive_avg_pool2d(x.movedim(-1, 1).float(), AVERAGED_SIDE).flatten(1)
        for x in faces.split(_FACES_PER_CHUNK)
    ]
    return torch.cat(parts).numpy() - np.float32(127.5)


def _parts(x: np.ndarray):
    return (x[start : start + _FACES_PER_CHUNK] for start in range(0, len(x), _FACES_PER_CHUNK))


def closest(eval_set: EvalSet, count: int = 10) -> list[Match]:
    """The generated faces nearest to a training face, nearest first, one a speaker.

    Raises:
        MetricError: as `training_faces`.
    """
    _, trained = training_faces(eval_set)
    distance, index = nearest_angle(eval_set.reading("generated").unit(), _read(eval_set.reader, trained))
    found: dict[str, Match] = {}
    for i in np.argsort(distance, kind="stable"):
        found.setdefault(eval_set.generated_identity[i], Match(int(i), trained[index[i]], float(distance[i])))
        if len(found) == count:
            break
    return list(found.values())


def closest_sheet(eval_set: EvalSet, count: int = 10, scale: int = 2) -> Image.Image:
    """`closest` as an image: generated faces above, the training face nearest to each below.

    Raises:
        MetricError: as `training_faces`.
    """
    matches = closest(eval_set, count)
    made = eval_set.generated[[m.index for m in matches]]
    grid = to_grid(torch.cat([made, _like(torch.stack([m.face for m in matches]), made)]), len(matches))
    return grid.resize((grid.width * scale, grid.height * scale), Image.Resampling.LANCZOS)


def _like(faces: Tensor, others: Tensor) -> Tensor:
    """Faces resized to the side of others, where a model's differs from the store's."""
    if faces.shape == others.shape:
        return faces
    side = others.shape[1]
    pixels = faces.movedim(-1, 1).float()
    resized = F.interpolate(pixels, (side, side), mode="bilinear", antialias=True, align_corners=False)
    return resized.round().clamp(0, 255).to(torch.uint8).movedim(1, -1)
