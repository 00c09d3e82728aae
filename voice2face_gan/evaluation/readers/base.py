"""Interface of face readers: frozen networks that were not trained with the models that they evaluate."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor


@dataclass
class Reading:
    """Output of a face reader for N faces.

    Attributes:
        embedding: float32 (N, D), not normalised.
        female: float32 (N,), probability of the label "female"; None for a reader without gender.
        age: float32 (N,), years; None for a reader without age.
        found: bool (N,), True where the reader found a face; its output for the others is a guess.
    """

    embedding: np.ndarray
    female: np.ndarray | None
    age: np.ndarray | None
    found: np.ndarray

    def __len__(self) -> int:
        return len(self.embedding)

    def __getitem__(self, keep: np.ndarray) -> "Reading":
        """The faces that a mask or indices name."""
        parts = (self.embedding, self.female, self.age, self.found)
        return Reading(*(None if part is None else part[keep] for part in parts))

    def unit(self, centre: np.ndarray | float = 0.0) -> np.ndarray:
        """float32 (N, D): embeddings less `centre`, of unit length (zero stays zero)."""
        moved = self.embedding - centre
        length = np.linalg.norm(moved, axis=1, keepdims=True)
        return moved / np.where(length > 0, length, 1)


class FaceReader(Protocol):
    """A face reader.

    Attributes:
        name: name in results; with a hash of its weights where it has any.
        about: its training data ("trained_on") and its figures on people it never saw ("held_out").
    """

    name: str
    about: dict

    def read(self, faces: Tensor) -> Reading:
        """Read faces uint8 (N, side, side, 3), aligned to the template of faces/align.py."""


def describe(reader: FaceReader) -> str:
    """One sentence on a face reader: name, training data, and accuracy on faces of people it never saw.

    `about["held_out"]` is a sentence, {figure: value}, or {data set: {figure: value} or a sentence}.
    """
    trained_on = reader.about.get("trained_on") or "faces that it does not name"
    held_out = reader.about.get("held_out")
    if not held_out:
        return f"Reader {reader.name}, trained on {trained_on}; how well it reads new faces is not stated."
    if isinstance(held_out, dict):
        loose = {k: v for k, v in held_out.items() if not isinstance(v, (dict, str))}
        sets = [f"{name} ({_figures(v)})" for name, v in held_out.items() if name not in loose]
        held_out = "; ".join(([_figures(loose)] if loose else []) + sets)
    return f"Reader {reader.name}, trained on {trained_on}; on faces of people it never saw: {held_out}."


def _figures(figures: dict | str) -> str:
    if isinstance(figures, str):
        return figures
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items())
