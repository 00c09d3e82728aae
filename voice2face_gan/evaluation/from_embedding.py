"""The same figures from e, between voice and image: which half of a model loses what.

    voice -> encoder -> e -> generator -> image -> figure
                        └──> ridge regression ───> figure "from e"

A linear map from e to what a metric reads in faces is fitted on training identities and applied to the e of
the evaluated clips. Where a figure from e is low, the encoder lost it; where it is high and the image's is
low, the generator does not show it. The encoder was trained on the identities that the map is fitted on, so
that their e may hold more than a stranger's does: a figure from e is rather too low than too high.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from voice2face_gan.data.store import Store
from voice2face_gan.errors import DataError
from voice2face_gan.evaluation.eval_set import EvalSet, framed_faces

PEOPLE = 400  # training identities that a map is fitted on, at most; further ones change little
CLIPS = 2  # of each, and as many faces
MIN_PEOPLE = 10  # with fewer, a map means nothing
_RIDGE = 0.1  # of the variance of an element of e
PROTOCOL = "ridge regression from the voices' e, fitted on {} training identities"


@dataclass
class TrainingPart:
    """Training identities with a voice and a face.

    Attributes:
        names: (identities,), sorted.
        e: float64 (clips, E), what the generator takes. who: (clips,), places in `names`.
        faces: uint8 (faces, side, side, 3), framed as the template. whose: (faces,), places in `names`.
    """

    names: np.ndarray
    e: np.ndarray
    who: np.ndarray
    faces: Tensor
    whose: np.ndarray

    def map_to(self, targets: np.ndarray, e: Tensor) -> np.ndarray:
        """float64 (N, K): a ridge regression from clips' e to their identities' targets, (identities, K),
        applied to e (N, E)."""
        mean, std = self.e.mean(axis=0), self.e.std(axis=0) + 1e-9
        x, y = (self.e - mean) / std, targets[self.who]
        centre = y.mean(axis=0)
        gram = x.T @ x + _RIDGE * len(x) * np.eye(x.shape[1])
        return (e.double().numpy() - mean) / std @ np.linalg.solve(gram, x.T @ (y - centre)) + centre

    def means(self, values: np.ndarray) -> np.ndarray:
        """Of values of the faces, (faces, K), each identity's mean: float64 (identities, K)."""
        total = np.zeros((len(self.names), values.shape[1]))
        np.add.at(total, self.whose, values)
        return total / np.bincount(self.whose, minlength=len(self.names))[:, None]

    @property
    def protocol(self) -> str:
        return PROTOCOL.format(len(self.names))


def training_part(eval_set: EvalSet) -> TrainingPart | None:
    """Training identities of an evaluation set's data, of its gender, evenly chosen.

    None where e of its clips is not known, as of a folder of images, or where fewer than MIN_PEOPLE have both
    a voice and a face."""
    if eval_set.e is None or eval_set.model is None:
        return None
    if "part" not in eval_set.fitted_on:
        eval_set.fitted_on["part"] = _training_part(eval_set)
    return eval_set.fitted_on["part"]


def _training_part(eval_set: EvalSet) -> TrainingPart | None:
    from voice2face_gan.evaluation.protocol import generator_inputs, identities_with_voice_and_face

    store = eval_set.store if eval_set.training is None else eval_set.training
    try:
        voices, faces = identities_with_voice_and_face(store, "train", eval_set.about.get("gender", "all"))
    except DataError:
        return None
    names = np.unique(voices.identity)
    if len(names) < MIN_PEOPLE:
        return None
    chosen = names[np.unique(np.linspace(0, len(names) - 1, min(PEOPLE, len(names))).round().astype(int))]
    voices, faces = _some_of(voices, chosen), _some_of(faces, chosen)
    e = generator_inputs(eval_set.model, voices, strength=eval_set.strength).double().numpy()
    return TrainingPart(
        chosen,
        e,
        np.searchsorted(chosen, voices.identity),
        framed_faces(store, faces.face_index),
        np.searchsorted(chosen, faces.identity),
    )


def _some_of(records: Store, names: np.ndarray) -> Store:
    """The first CLIPS records of each of these identities."""
    order = np.argsort(records.identity, kind="stable")
    _, first, counts = np.unique(records.identity[order], return_index=True, return_counts=True)
    rank = np.arange(len(records)) - np.repeat(first, counts)
    keep = np.zeros(len(records), dtype=bool)
    keep[order[rank < CLIPS]] = True
    return records.select(keep & np.isin(records.identity, names))
