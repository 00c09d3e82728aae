"""Which face a clip is trained with, where a person has several clips and several faces.

    all-to-all    every clip with each of the person's faces: a new one is drawn every time
    one-to-one    every clip with one face of its own; faces serve alike often
    all-to-one    every clip of a person with the same face
    all-to-mean   every clip of a person with the mean e of the faces

Faces are drawn without a state (data/batches/sampling.py): a draw depends on seed, iteration and place alone.
"""

import numpy as np
import torch
from torch import Tensor

from voice2face_gan.data.batches.sampling import random_source


class Pairing:
    """The e of the face that each clip is paired with.

    Args:
        kind: "all-to-all", "one-to-one", "all-to-one" or "all-to-mean".
        clips: (clips,) names, whose each is.
        faces: (faces,) names, whose each is; each clip's person must be among them.
        e: float32 (faces, embedding).
        seed: of what is drawn.
    """

    def __init__(self, kind: str, clips: np.ndarray, faces: np.ndarray, e: Tensor, seed: int):
        self.kind, self.e, self.seed = kind, e, seed
        people, who = np.unique(faces, return_inverse=True)
        self.person = np.searchsorted(people, clips)
        self.order = np.argsort(who, kind="stable")  # faces, person by person
        self.count = np.bincount(who)
        self.first = np.cumsum(self.count) - self.count
        if kind == "all-to-mean":
            mean = torch.zeros(len(people), e.shape[1]).index_add_(0, torch.from_numpy(who), e)
            self.e = mean / torch.from_numpy(self.count).float()[:, None]
        rng = random_source(seed, "fixed faces", 0)
        self.fixed = None
        if kind == "all-to-one":
            chosen = (rng.random(len(people)) * self.count).astype(np.int64)
            self.fixed = self.order[self.first + chosen][self.person]
        if kind == "one-to-one":
            self.fixed = self._spread(rng)

    def _spread(self, rng: np.random.Generator) -> np.ndarray:
        """A face for each clip: the person's faces in random order, again and again."""
        fixed = np.empty(len(self.person), dtype=np.int64)
        for person in range(len(self.count)):
            clips = np.flatnonzero(self.person == person)
            own = self.order[self.first[person] :][: self.count[person]]
            fixed[clips] = np.resize(rng.permutation(own), len(clips))
        return fixed

    def faces_of(self, clips: np.ndarray, iteration: int) -> np.ndarray:
        """Rows of `e`, int64 (batch,), of an iteration's clips (batch,)."""
        person = self.person[clips]
        if self.kind == "all-to-mean":
            return person
        if self.fixed is not None:
            return self.fixed[clips]
        drawn = random_source(self.seed, "paired faces", iteration).random(len(clips))
        return self.order[self.first[person] + (drawn * self.count[person]).astype(np.int64)]

    def draw(self, clips: np.ndarray, iteration: int) -> Tensor:
        """e (batch, embedding) of an iteration's clips (batch,)."""
        return self.e[torch.from_numpy(self.faces_of(clips, iteration))]
