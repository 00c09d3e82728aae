"""Ridge regression from features of a voice to the e of a face space, on people with both: of a teacher's
embedding (`RidgeMap`), or of an encoder's statistics (training/stages/ridge_encoder.py).

Clips are weighted by one over the root of their person's number; the ridge and how much of each element is
predicted are found by cross-validation over identities.
"""

import numpy as np
import torch
from torch import Tensor, nn

from voice2face_gan.data.face_embedding import read_face_embedding
from voice2face_gan.data.store import Store
from voice2face_gan.errors import DataError
from voice2face_gan.models.face_embedding_space import SIZE, FaceSpace

FOLDS = 5
RIDGES = (0.1, 0.3, 0.5, 1.0, 2.0, 4.0, 8.0)  # of the mean variance of t's elements
MIN_PEOPLE = 20  # with a voice and a face


class RidgeMap:
    """e = (t - mean) @ weights + offset.

    Attributes:
        mean (256,), weights (256, 64), offset (64,).
        residual_std: (64,) sqrt(1 - R2) of each element, of people left out: the standard deviation that
            the voice leaves open.
        about: how it was fitted.
    """

    def __init__(self, mean: Tensor, weights: Tensor, offset: Tensor, residual_std: Tensor, about: dict):
        self.mean, self.weights, self.offset = mean, weights, offset
        self.residual_std, self.about = residual_std, about

    @classmethod
    def fit(cls, voices: Store, t: Tensor, space: FaceSpace) -> "RidgeMap":
        """From the records with both a voice and a face, and t (records, 256) of all records.

        Raises:
            DataError: the faces were not read into this space, or too few people have both.
        """
        embedding, name = read_face_embedding(voices)
        if name != space.name:
            raise DataError(
                f"{voices.folder}: its faces were read by {name}, not by {space.name}; run v2f-gan "
                "face-space on them again."
            )
        both = np.flatnonzero(voices.has_face)
        people, who, clips = np.unique(voices.identity[both], return_inverse=True, return_counts=True)
        if len(people) < MIN_PEOPLE:
            raise DataError(
                f"{voices.folder}: {len(people)} people with both voices and faces are too few; {MIN_PEOPLE} "
                "are needed."
            )
        x, y = t[both].double(), torch.from_numpy(embedding[voices.face_index[both]]).double()
        weight = torch.from_numpy(1 / np.sqrt(clips[who]))
        importance = space.importance().double().cpu()
        ridge, predicted = best_ridge(x, y, weight, folds_of(people, who), importance)
        r2 = predicted_share(predicted, y, weight)
        about = {
            "space": space.name,
            "pairs": len(both),
            "people": len(people),
            "ridge": ridge,
            "r_sex": round(float(r2[SIZE - 2].sqrt()), 3),
            "r_age": round(float(r2[SIZE - 1].sqrt()), 3),
            "protocol": f"{FOLDS}-fold cross-validation over identities, the teacher's embedding of whole "
            "clips",
        }
        mean, weights, offset = ridge_regression(x, y, weight, ridge)
        residual_std = (1 - r2).clamp(min=0).sqrt()
        return cls(*(number.float() for number in (mean, weights, offset, residual_std)), about)


def fold_into_last_layer(encoder: nn.Module, ridge: RidgeMap) -> dict[str, Tensor]:
    """The weights of an encoder of t with the map multiplied into its last layer: an encoder of e."""
    state = encoder.state_dict()
    last, bias = f"{encoder.last_name}.weight", f"{encoder.last_name}.bias"
    weight, shift = state[last].cpu(), state[bias].cpu()  # (256, channels) or (256, channels, 3), (256,)
    return {
        **state,
        last: torch.einsum("te,t...->e...", ridge.weights, weight),
        bias: (shift - ridge.mean) @ ridge.weights + ridge.offset,
    }


class RidgeSystem:
    """Weighted ridge regression of y (N, E) on x (N, D), of any ridge, by one eigendecomposition; in the dual
    form where N < D.

    Attributes:
        x_mean (D,), y_mean (E,): weighted means.
    """

    def __init__(self, x: Tensor, y: Tensor, weight: Tensor):
        share = weight / weight.sum()
        self.x_mean, self.y_mean = share @ x, share @ y
        root = share.sqrt()[:, None]
        self._x, y = (x - self.x_mean) * root, (y - self.y_mean) * root
        self._dual = len(x) < x.shape[1]
        gram = self._x @ self._x.t() if self._dual else self._x.t() @ self._x
        self._unit = gram.diagonal().sum() / x.shape[1]
        self._values, self._vectors = torch.linalg.eigh(gram)
        self._right = self._vectors.t() @ (y if self._dual else self._x.t() @ y)

    def weights(self, ridge: float | Tensor) -> Tensor:
        """(D, E); `ridge`, one or (E,), is relative to the mean variance of x's elements."""
        solved = self._vectors @ (self._right / (self._values.clamp(min=0)[:, None] + ridge * self._unit))
        return self._x.t() @ solved if self._dual else solved


def ridge_regression(x: Tensor, y: Tensor, weight: Tensor, ridge: float) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted ridge regression of y (N, E) on x (N, T): mean of x (T,), weights (T, E), offset (E,)."""
    system = RidgeSystem(x, y, weight)
    return system.x_mean, system.weights(ridge), system.y_mean


def best_ridge(
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    folds: np.ndarray,
    importance: Tensor,
) -> tuple[float, Tensor]:
    """The ridge of least squared error in cross-validation, and its predictions of the parts left out.

    Args:
        folds: int (N,), the part that each row is left out with.
        importance: (E,), weight of each element's error.
    """
    predicted = predictions_left_out(x, y, weight, folds, RIDGES)
    error = _errors(predicted, y, weight) @ importance
    best = int(error.argmin())
    return RIDGES[best], predicted[best]


def best_ridges(
    x: Tensor, y: Tensor, weight: Tensor, folds: np.ndarray, ridges: tuple[float, ...]
) -> tuple[Tensor, Tensor]:
    """As `best_ridge`, but each element of y has a ridge of its own: ridges (E,), predictions (N, E)."""
    predicted = predictions_left_out(x, y, weight, folds, ridges)
    best = _errors(predicted, y, weight).argmin(dim=0)
    chosen = predicted.gather(0, best.expand(1, *y.shape))[0]
    return torch.tensor(ridges, dtype=y.dtype)[best], chosen


def predictions_left_out(
    x: Tensor, y: Tensor, weight: Tensor, folds: np.ndarray, ridges: tuple[float, ...]
) -> Tensor:
    """(ridges, N, E): y of each row predicted by a regression without the rows of its fold."""
    predicted = y.new_empty(len(ridges), *y.shape)
    for fold in np.unique(folds):
        out = torch.from_numpy(folds == fold)
        system = RidgeSystem(x[~out], y[~out], weight[~out])
        left = x[out] - system.x_mean
        for i, ridge in enumerate(ridges):
            predicted[i, out] = left @ system.weights(ridge) + system.y_mean
    return predicted


def _errors(predicted: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """(ridges, E): weighted mean squared error of predictions (ridges, N, E)."""
    return torch.einsum("rne,n->re", (predicted - y).square(), weight / weight.sum())


def folds_of(people: np.ndarray, who: np.ndarray) -> np.ndarray:
    """int (N,): the part of a cross-validation over identities that each row is left out with.

    Args:
        people: the identities. who: (N,) each row's place among them.
    """
    return np.random.default_rng(0).permutation(len(people))[who] % FOLDS


def predicted_share(predicted: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """R2 (E,) of each element: the squared correlation of predictions (N, E) with y, 0 where negative."""
    return _correlation(predicted, y, weight).clamp(min=0).square()


def _correlation(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    share = (weight / weight.sum())[:, None]
    a, b = a - (share * a).sum(0), b - (share * b).sum(0)
    return (share * a * b).sum(0) / ((share * a * a).sum(0) * (share * b * b).sum(0)).sqrt().clamp(min=1e-12)
