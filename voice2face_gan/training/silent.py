"""Faces of people without a voice, as a part of the modern stage's batches.

Faces are many and voices few. A generator that takes e can learn from a face whose person was never heard, if
something says which e such a voice would have had. From the people who have both, this fits

    e = B f + c + n,   n ~ N(0, S)

of a face embedding f and the voice's e, by ridge regression; S is the covariance of what is left. For a face
without a voice e is then drawn from that: as voices give it, with all that a voice leaves open, and not as a
picture would give it, which would be a sharper condition than the generator meets at run time.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from voice2face_gan.data.face_embedding import read_face_embedding
from voice2face_gan.data.sampling import EpochSampler, FaceBank, gaussian
from voice2face_gan.data.store import Store
from voice2face_gan.errors import DataError

_RIDGE = 0.01  # of the mean variance of a face embedding's dimensions, times the number of faces
_FEW = 20  # faces of people with both, below which nothing is fitted


class SilentFaces:
    """Draws faces without voices, and an e for each.

    Args:
        store: training records; its faces must have been embedded (data/face_embedding.py).
        spoken: bool (records,): whose voice is known.
        e: {identity: (clips, embedding)} conditions that the voices of people with both give.
        normalise: whether conditions are of length 1.
        seed: of the order and of the noise.
    Raises:
        DataError: no embeddings, too few people with both to fit from, or no face without a voice.
    """

    def __init__(self, store: Store, spoken: np.ndarray, e: dict[str, Tensor], normalise: bool, seed: int):
        embedding, self.embedder = read_face_embedding(store)
        embedding = embedding / np.linalg.norm(embedding, axis=1, keepdims=True).clip(1e-6)
        known = store.select(spoken & store.has_face)
        silent = store.select(~spoken & store.has_face)
        if not len(silent):
            raise DataError(
                f"{store.folder}: everybody with a face has a voice; set modern.silent=0, or add faces."
            )
        if len(known) < _FEW:
            raise DataError(
                f"{store.folder}: {len(known)} faces of people with a voice are too few to tell what e the "
                f"others' would have; {_FEW} or more are needed."
            )
        self.normalise, self.seed = normalise, seed
        self.faces = FaceBank(silent, np.full(len(silent), -1), missing=True)
        self.sampler = EpochSampler(len(silent), seed, "silent")
        self._fit(
            torch.from_numpy(embedding[known.face_index]),
            torch.stack([e[name].mean(0) for name in known.identity.tolist()]),
            [e[name] - e[name].mean(0) for name in np.unique(known.identity).tolist()],
        )
        self.predicted = torch.from_numpy(embedding[silent.face_index]) @ self.weights + self.offset

    def _fit(self, f: Tensor, e: Tensor, within: list[Tensor]) -> None:
        """From faces f (N, D) and the mean e (N, E) of each one's person, and the clips' deviations."""
        f_mean, e_mean = f.mean(0), e.mean(0)
        centred = (f - f_mean).double()
        gram = centred.T @ centred
        ridge = _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        self.weights = torch.linalg.solve(gram + ridge, centred.T @ (e - e_mean).double()).float()
        self.offset = e_mean - f_mean @ self.weights
        left = e - f @ self.weights - self.offset
        # What the face does not tell of the person's mean e, and what one clip's e differs from that mean by.
        clips = torch.cat(within)
        covariance = left.T @ left / len(left) + clips.T @ clips / max(len(clips), 1)
        values, vectors = torch.linalg.eigh(covariance.double())
        self.spread = (vectors * values.clamp(min=0).sqrt()).float().T  # unit noise @ this has the covariance

    def draw(self, iteration: int, batch: int, flips: np.ndarray | None) -> tuple[Tensor, Tensor]:
        """e (batch, embedding) and faces (batch, 3, side, side) of one iteration."""
        items = self.sampler.draw(iteration, batch)
        faces, _ = self.faces.batch(items, flips)
        noise = gaussian((batch, len(self.spread)), self.seed, "silent", iteration)
        e = self.predicted[torch.from_numpy(items)] + noise @ self.spread
        return (F.normalize(e, dim=1) if self.normalise else e), faces
