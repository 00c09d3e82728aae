"""The stage of the voice encoder of statistics (models/encoders/statistics.py): ridge regression from the
statistics of whole clips to the e of the classifier's face space, in one iteration.

1. The face space is fitted on the training identities' faces (models/classifier_space.py).
2. An identity's e is that of the mean reading of its faces. Clips are weighted by one over the root of their
   identity's number.
3. Each element's ridge is that of least error in cross-validation over identities.
4. Predictions of identities left out are regressed on e once more, all elements together, and that map is
   folded into the last layer: of an element of which voices hold little, the first ridge leaves noise. The
   predictions of identities left out are what voices give of strangers: their correlation with e becomes the
   control `residual_std`, their regression on e the simulation of voices (models/voice_simulation.py) that
   the generator is trained on.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from voice2face_gan.data.batches.sampling import VoiceBank, random_source
from voice2face_gan.errors import DataError, RecipeError
from voice2face_gan.models.checkpoint import Checkpoint
from voice2face_gan.models.classifier_space import ClassifierSpace
from voice2face_gan.models.face_space_base import AGE, SEX
from voice2face_gan.models.registry import build_encoder
from voice2face_gan.models.voice_simulation import VoiceSimulation
from voice2face_gan.training.ridge import (
    FOLDS,
    RidgeSystem,
    best_ridges,
    folds_of,
    predicted_share,
    predictions_left_out,
    ridge_regression,
)
from voice2face_gan.training.stages.encoder_base import EncoderStage

RIDGES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)  # of the mean variance of the standardised statistics
MIN_PEOPLE = FOLDS  # with a voice and a face
MAX_CLIPS = 20_000  # the statistics of more would take more than 200 MB
_LEAST_STD = 1e-4  # of a statistic
_SECOND_RIDGE = 0.03  # of the mean variance of the elements' predictions


class RidgeEncoderStage(EncoderStage):
    """Fits the encoder in closed form; arguments as in EncoderStage.

    Raises:
        DataError: fewer than MIN_PEOPLE people have both voices and faces.
    """

    on_space = True

    def _build(self) -> None:
        self.iterations = 1
        self.encoder = build_encoder(self.config).eval().requires_grad_(False)
        store = self.store
        self.space = ClassifierSpace().place(store.zoom)
        self.faces = store.select(store.has_face)
        self.simulation: VoiceSimulation | None = None
        self.residual_std, self.about = torch.zeros(self.config.embedding), {}
        people = np.intersect1d(self.faces.identity, self.voices.identity)
        if len(people) < MIN_PEOPLE:
            raise DataError(
                f"{store.folder}: {len(people)} people with both voices and faces are too few for a voice "
                f"encoder of faces' e; {MIN_PEOPLE} are needed."
            )

    def start_from(self, encoder: nn.Module) -> None:
        """
        Raises:
            RecipeError: always; a fit in closed form starts from nothing.
        """
        raise RecipeError("An encoder of statistics is fitted in closed form; leave out --init.")

    def step(self, iteration: int) -> dict[str, Tensor]:
        """The whole fit. Returns R2 of e, of people left out, weighted by the elements' importance, and the
        correlations of sex and age."""
        people, own = self._fit_space()
        clips = self._clips(people)
        e = own[clips.who]
        x = self._standardised(self._statistics(clips.items))
        importance = self.space.importance()
        folds = folds_of(people, clips.who)
        ridges, predicted = best_ridges(x, e, clips.weight, folds, RIDGES)
        system = RidgeSystem(x, e, clips.weight)
        weights = system.weights(ridges)
        mean, slope, offset = ridge_regression(predicted, e, clips.weight, _SECOND_RIDGE)
        self.encoder.last.weight.copy_((weights @ slope).t())
        self.encoder.last.bias.copy_((system.y_mean - system.x_mean @ weights - mean) @ slope + offset)

        predicted = predictions_left_out(predicted, e, clips.weight, folds, (_SECOND_RIDGE,))[0]
        r2 = predicted_share(predicted, e, clips.weight)
        self.residual_std = (1 - r2).clamp(min=0).sqrt()
        self.simulation = VoiceSimulation.fit(e.double(), predicted.double())
        explained = _explained(predicted, e, clips.weight, importance)
        self.about = {
            "space": self.space.name,
            "clips": len(clips.items),
            "people": len(people),
            "ridges": [round(float(ridge), 3) for ridge in ridges],
            "r2": round(float(explained), 3),
            "r_sex": round(float(r2[SEX].sqrt()), 3),
            "r_age": round(float(r2[AGE].sqrt()), 3),
            "protocol": f"{FOLDS}-fold cross-validation over identities, whole clips",
        }
        return {"r2": explained, "r_sex": r2[SEX].sqrt(), "r_age": r2[AGE].sqrt()}

    def _fit_space(self) -> tuple[np.ndarray, Tensor]:
        """Fits the space on all training identities with faces; those of them with a voice too, and their
        e."""
        index = np.unique(self.faces.face_index)
        place = np.searchsorted(index, self.faces.face_index)
        readings = self.space.readings(torch.from_numpy(np.asarray(self.faces.faces)[index]))
        names, who = np.unique(self.faces.identity, return_inverse=True)
        means = torch.zeros(len(names), readings.shape[1])
        means.index_add_(0, torch.from_numpy(who), readings[place])
        means /= torch.from_numpy(np.bincount(who)).float()[:, None]
        self.space.fit(means)
        self.space.about = {"zoom": self.voices.zoom, "faces": len(index), "identities": len(names)}
        people = np.intersect1d(names, self.voices.identity)
        return people, self.space.encode(*self.space.split(means[np.searchsorted(names, people)]))

    def _clips(self, people: np.ndarray) -> "_Clips":
        """The clips of these people, at most MAX_CLIPS."""
        items = np.flatnonzero(np.isin(self.voices.identity, people))
        if len(items) > MAX_CLIPS:
            items = np.sort(random_source(self.seed, "clips", 0).permutation(items)[:MAX_CLIPS])
        return _Clips(items, np.searchsorted(people, self.voices.identity[items]))

    @torch.no_grad()
    def _statistics(self, items: np.ndarray) -> Tensor:
        """(clips, S) of whole clips. They are not repeated as a pipeline repeats short ones: a repetition
        changes no mean but at its seam."""
        bank = VoiceBank(self.voices, self.labels, min_frames=1)
        return torch.cat([self.encoder.statistics(bank.whole(int(item))[None]) for item in items])

    def _standardised(self, statistics: Tensor) -> Tensor:
        self.encoder.mean.copy_(statistics.mean(dim=0))
        self.encoder.std.copy_(statistics.std(dim=0).clamp(min=_LEAST_STD))
        return statistics.sub_(self.encoder.mean).div_(self.encoder.std)

    def state(self) -> dict:
        return {
            "encoder": self.encoder.state_dict(),
            "space": self.space.map_tensors(),
            "space_about": self.space.about,
            "residual_std": self.residual_std,
            "simulation": {} if self.simulation is None else self.simulation.tensors(),
            "about": self.about,
        }

    def load(self, state: dict) -> None:
        self.encoder.load_state_dict(state["encoder"])
        self.space.with_map(state["space"], state["space_about"])
        self.residual_std, self.about = state["residual_std"], state["about"]
        self.simulation = VoiceSimulation(**state["simulation"]) if state["simulation"] else None

    def checkpoint(self, iteration: int) -> Checkpoint:
        made = super().checkpoint(iteration)
        controls = replace(
            made.controls,
            normalise_embedding=False,
            embedding_noise_std=0.0,
            residual_std=tuple(round(float(r), 4) for r in self.residual_std),
        )
        info = {**made.info, "voice_regression": self.about, "face_space": self.space.summary()}
        return replace(
            made,
            controls=controls,
            info=info,
            face_space=self.space.map_tensors(),
            voice_simulation=self.simulation,
        )


class _Clips:
    """Clips to fit on.

    Attributes:
        items: int (N,), places among the voices. who: int (N,), whose. weight: float32 (N,).
    """

    def __init__(self, items: np.ndarray, who: np.ndarray):
        self.items, self.who = items, who
        self.weight = torch.from_numpy(1 / np.sqrt(np.bincount(who)[who])).float()


def _explained(predicted: Tensor, e: Tensor, weight: Tensor, importance: Tensor) -> Tensor:
    """1 - squared error of predictions (N, E) over the variance of e, elements weighted by importance."""
    share = (weight / weight.sum())[:, None]
    error = (share * (predicted - e).square() * importance).sum()
    return 1 - error / (share * (e - (share * e).sum(dim=0)).square() * importance).sum()
