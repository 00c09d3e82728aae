"""EvalSet: generated faces, real faces of the same identities, and the face reader that reads both."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from torch import Tensor, from_numpy, stack

from voice2face_gan.data.records import GENDERS
from voice2face_gan.data.store import Store
from voice2face_gan.evaluation.readers.base import FaceReader, Reading
from voice2face_gan.faces.pixels import to_grid
from voice2face_gan.faces.reframe import reframed

if TYPE_CHECKING:
    from voice2face_gan.pipeline import VoiceToFace


@dataclass
class EvalSet:
    """Generated and real faces to compare.

    All faces are framed as the template of faces/align.py, as face readers were trained (`generate_framed`,
    `framed_faces`), at whatever zoom the model generates them or the store holds them.

    Attributes:
        generated: uint8 (clips, side, side, 3), one a clip.
        generated_identity: (clips,), the speaker of each clip.
        generated_gender: (clips,), "female", "male" or "".
        real: uint8 (faces, side, side, 3).
        real_identity: (faces,).
        reader: the face reader of both.
        real_age: float (faces,), NaN where unknown; None where no age is known.
        about: checkpoint, data, split, gender, counts.
        model: the model that generated the faces; None for a folder of images.
        voices: the records of the clips, in the order of `generated`; None where there are none.
        store: the whole data set with its training split; None where there is none.
        strength: strength at which the model generated; None for its own.
        noise_scale: standard deviation of the noise z with which it generated.
        e: float32 (clips, embedding), what the generator took; None where that is not known.
        training: the data whose training identities figures "from e" are fitted on; None for `store`.
        fitted_on: those identities, once from_embedding.py has read them.
    """

    generated: Tensor
    generated_identity: np.ndarray
    generated_gender: np.ndarray
    real: Tensor
    real_identity: np.ndarray
    reader: FaceReader
    about: dict = field(default_factory=dict)
    real_age: np.ndarray | None = None
    model: "VoiceToFace | None" = None
    voices: Store | None = None
    store: Store | None = None
    strength: float | None = None
    noise_scale: float = 1.0
    e: Tensor | None = None
    training: Store | None = None
    fitted_on: dict = field(default_factory=dict, repr=False)
    _readings: dict[str, Reading] = field(default_factory=dict, repr=False)
    # Filled by feature_sets.py.
    _features: dict[tuple[str, str], np.ndarray] = field(default_factory=dict, repr=False)

    def reading(self, which: str) -> Reading:
        """The reader's output for the "generated" or the "real" faces; computed once."""
        if which not in self._readings:
            self._readings[which] = self.reader.read(getattr(self, which))
        return self._readings[which]

    @property
    def was_read(self) -> bool:
        """True once the reader has read the real faces."""
        return "real" in self._readings

    @property
    def real_gender(self) -> np.ndarray:
        """(faces,): the gender of each real face's identity, "" where unknown."""
        known = self.gender_of
        return np.array([known.get(name, "") for name in self.real_identity.tolist()], dtype=str)

    @property
    def gender_of(self) -> dict[str, str]:
        """Gender by identity, where all labelled clips of the identity agree.

        Labels guessed from voices are blank where the guess is unsure, so that some of a speaker's clips may
        have none."""
        labels: dict[str, set[str]] = {}
        clips = zip(self.generated_identity.tolist(), self.generated_gender.tolist(), strict=True)
        for name, gender in clips:
            labels.setdefault(name, set()).update({gender} - {""})
        return {name: min(given) for name, given in labels.items() if len(given) == 1}

    def genders(self) -> Iterator[tuple[str, np.ndarray]]:
        """(suffix of a figure's name, mask of the clips): all of them, then each gender if there are more."""
        yield "", np.ones(len(self.generated), dtype=bool)
        for gender in GENDERS:
            chosen = self.generated_gender == gender
            if chosen.any() and not chosen.all():
                yield f", {gender}", chosen

    def masks(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """(suffix of a figure's name, mask of the clips, mask of the real faces): all of them, then those of
        each gender, for figures of whole sets such as FID."""
        real_gender = self.real_gender
        for suffix, clips in self.genders():
            every = np.ones(len(self.real), dtype=bool)
            yield suffix, clips, every if not suffix else real_gender == suffix.removeprefix(", ")

    def part(self, clips: np.ndarray, faces: np.ndarray) -> "EvalSet":
        """The clips and real faces where the masks are true, with their readings."""
        readings = {"generated": self.reading("generated")[clips], "real": self.reading("real")[faces]}
        return EvalSet(
            generated=self.generated[clips],
            generated_identity=self.generated_identity[clips],
            generated_gender=self.generated_gender[clips],
            real=self.real[faces],
            real_identity=self.real_identity[faces],
            reader=self.reader,
            about=self.about,
            real_age=None if self.real_age is None else self.real_age[faces],
            model=self.model,
            voices=None if self.voices is None else self.voices.select(clips),
            store=self.store,
            strength=self.strength,
            noise_scale=self.noise_scale,
            e=None if self.e is None else self.e[clips],
            training=self.training,
            fitted_on=self.fitted_on,
            _readings=readings,
            _features={k: x[clips if k[0] == "generated" else faces] for k, x in self._features.items()},
        )

    def with_generated(self, generated: Tensor) -> "EvalSet":
        """The set with other generated faces of the same voices, of other e; readings of the real faces are
        kept."""
        readings = {k: v for k, v in self._readings.items() if k == "real"}
        features = {k: v for k, v in self._features.items() if k[0] == "real"}
        return replace(self, generated=generated, e=None, _readings=readings, _features=features)

    def speakers(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each speaker who has real faces: indices of the speaker's clips, and of those faces."""
        for name in np.unique(self.generated_identity):
            own = np.flatnonzero(self.real_identity == name)
            if len(own):
                yield np.flatnonzero(self.generated_identity == name), own


def generate_framed(
    model: "VoiceToFace", e: Tensor, z: Tensor | None = None, noise_scale: float = 1.0
) -> Tensor:
    """The model's faces, framed as the template: uint8 (N, side, side, 3).

    Args:
        e, z, noise_scale: as `VoiceToFace.decode` takes them.
    """
    return reframed(model.decode(e, z, noise_scale), model.zoom)


def framed_faces(store: Store, index: np.ndarray) -> Tensor:
    """A store's faces, framed as the template: uint8 (N, side, side, 3)."""
    return reframed(from_numpy(store.faces[index]), store.zoom)


def sheet(eval_set: EvalSet, identities: int = 12, scale: int = 2) -> Image.Image:
    """An image of the first identities in the data's order, `scale` times enlarged.

    Above, a real face of each; below, the face generated from the speaker's first clip."""
    names = list(dict.fromkeys(eval_set.generated_identity.tolist()))[:identities]
    real = stack([eval_set.real[np.flatnonzero(eval_set.real_identity == name)[0]] for name in names])
    made = stack(
        [eval_set.generated[np.flatnonzero(eval_set.generated_identity == name)[0]] for name in names]
    )
    grid = to_grid(stack([*real, *made]), columns=len(names))
    return grid.resize((grid.width * scale, grid.height * scale), Image.Resampling.LANCZOS)
