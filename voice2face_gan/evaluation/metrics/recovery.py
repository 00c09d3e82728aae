"""Recovery: how much of what the voice determines is in the face, measured in the synthetic world.

There the causes are known (synthetic/speakers.py). An attribute reader, fitted on rendered faces of other
speakers, estimates the attributes of the generated faces. Each is averaged over a speaker's clips and
compared with the truth:

    R2 = 1 - sum (read - true)^2 / sum (true - mean true)^2        over speakers

1 is perfect, 0 is the value of always guessing the mean, less is worse than that.

    ATTRIBUTE               estimated from the generated faces
    ATTRIBUTE ceiling       estimated from the same speakers' real faces, by the same reader
    ATTRIBUTE from e        predicted from the voice's e, without any face (evaluation/from_embedding.py)
    ATTRIBUTE from voice    predicted from the voice's true parameters, without any face

The means are over all attributes that share a cause with the voice ("determined", each R2 counted as 0 if it
is negative) and over those that are independent of it ("free"). A voice holds no information on the latter:
an R2 above 0 by more than its interval means that the model was trained on these speakers.

The reader is ridge regression on principal components of 32 x 32 pixels: linear, and with few components on
purpose. With twice as many the ceiling of the free attributes rises from 0.67 to 0.74, but on the default
model's faces they are estimated at -0.73 instead of -0.21. It does not depend on the option --judge.
"""

import functools
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from voice2face_gan.data.synthetic import JUDGE_SEED
from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation.eval_set import EvalSet
from voice2face_gan.evaluation.from_embedding import training_part
from voice2face_gan.evaluation.registry import Options, metric, resampled
from voice2face_gan.faces.pixels import to_unit
from voice2face_gan.results import Figure
from voice2face_gan.synthetic import VOICE_DETERMINED, VOICE_FREE, Speakers, render, sample_speakers

ATTRIBUTES = (*VOICE_DETERMINED, *VOICE_FREE)
READER_SEED = JUDGE_SEED + 1  # a world of its own, apart from those of the data and of the face classifier
MIN_SPEAKERS = 10  # with fewer, R2 means nothing
_READER_SPEAKERS, _READER_VIEWS = 1000, 2  # the reader's training faces
_SIDE_PIXELS, _COMPONENTS = 32, 200
_RIDGE_PENALTY = 30.0  # on standardised components, of about 2,000 images
_VOICE_PARAMETERS = ("f0", "vocal_tract_length", "breathiness", "jitter", "tremor")  # causes of a voice
_REGRESSION_SPEAKERS = 20_000  # speakers that the regression on these parameters is fitted on


@dataclass
class Reader:
    """Attribute reader: a linear map from pixels to attributes.

    Attributes:
        mean: float64 (pixels,), mean of the images that it was fitted on.
        weights: float64 (pixels, attributes).
        bias: float64 (attributes,).
    """

    mean: np.ndarray
    weights: np.ndarray
    bias: np.ndarray

    @classmethod
    def fit(cls, faces: Tensor, attributes: np.ndarray) -> "Reader":
        """Fit on faces uint8 (N, side, side, 3) with known attributes (N, attributes)."""
        x = _pixels(faces)
        mean = x.mean(axis=0)
        components = min(_COMPONENTS, len(x) - 1)
        with torch.random.fork_rng(
            devices=[]
        ):  # the decomposition draws random numbers; the caller's stay as they were
            torch.manual_seed(READER_SEED)
            _, _, basis = torch.svd_lowrank(torch.from_numpy(x - mean), q=components)
        basis = basis.double().numpy()
        along = (x - mean) @ basis
        basis /= along.std(axis=0)
        along /= along.std(axis=0)
        centre, scale = attributes.mean(axis=0), attributes.std(axis=0)
        gram = along.T @ along + _RIDGE_PENALTY * np.eye(components)
        weights = np.linalg.solve(gram, along.T @ ((attributes - centre) / scale))
        return cls(mean, basis @ weights * scale, centre)

    def read(self, faces: Tensor) -> np.ndarray:
        """Attributes, float64 (N, attributes), of faces uint8 (N, side, side, 3)."""
        return (_pixels(faces) - self.mean) @ self.weights + self.bias


@metric("recovery")
def recovery(eval_set: EvalSet, options: Options) -> dict[str, Figure]:
    """R2 of each attribute, its ceiling, its R2 from e, and its R2 from the voice.

    Raises:
        MetricError: other data than the synthetic world, or too few speakers.
    """
    source = {} if eval_set.store is None else eval_set.store.about["source"]
    if source.get("layout") != "synthetic":
        raise MetricError("recovery needs the synthetic world, where the causes of voice and face are known.")
    names, clip_of = np.unique(eval_set.generated_identity, return_inverse=True)
    if len(names) < MIN_SPEAKERS:
        raise MetricError(f"recovery needs {MIN_SPEAKERS} speakers or more, and there are {len(names)}.")
    numbers = _number(names)
    speakers = sample_speakers(int(numbers.max()) + 1, seed=source["seed"])[numbers]
    truth = attributes_of(speakers)
    seen = np.isin(eval_set.real_identity, names)
    face_of = np.searchsorted(names, eval_set.real_identity[seen])
    reader = fitted_reader(_READER_SPEAKERS, _READER_VIEWS)
    read = {
        "": _per_speaker(reader.read(eval_set.generated), clip_of),
        " ceiling": _per_speaker(reader.read(eval_set.real[torch.from_numpy(seen)]), face_of),
    }
    part = training_part(eval_set)
    if part is not None:
        known_people = sample_speakers(_number(part.names).max() + 1, seed=source["seed"])
        targets = attributes_of(known_people[_number(part.names)])
        read[" from e"] = _per_speaker(part.map_to(targets, eval_set.e), clip_of)
    read[" from voice"] = predicted_from_voice(speakers)
    drawn = resampled(len(names), options.seed)
    known = truth.std(axis=0) > 1e-9  # of women alone, "female" is no attribute
    scores = {how: _r2_with_resamplings(truth, value, drawn) for how, value in read.items()}
    figures = {}
    for group, members in (("determined", VOICE_DETERMINED), ("free", VOICE_FREE)):
        columns = [k for k, name in enumerate(ATTRIBUTES) if name in members and known[k]]
        ways = scores if group == "determined" else ("", " ceiling")
        for how in ways:
            chosen = scores[how][:, columns]
            mean = (chosen.clip(min=0) if group == "determined" else chosen).mean(axis=1)
            figures[group + how] = _figure(mean, len(names), _protocol(eval_set, group, how))
        for k in columns:
            for how in ways:
                name = ATTRIBUTES[k] + how
                figures[name] = _figure(scores[how][:, k], len(names), _protocol(eval_set, group, how, name))
    return figures


def _number(names: np.ndarray) -> np.ndarray:
    """Places of speakers in the world."""
    return np.array([int(name.removeprefix("spk")) for name in names])


@functools.lru_cache(maxsize=2)
def fitted_reader(speakers: int, views: int) -> Reader:
    """A reader fitted on rendered speakers, `views` images each; cached for the process (some seconds)."""
    some = sample_speakers(speakers, seed=READER_SEED)
    faces = np.concatenate([render(some, seed=READER_SEED, view=k) for k in range(views)])
    return Reader.fit(torch.from_numpy(faces), np.tile(attributes_of(some), (views, 1)))


def attributes_of(speakers: Speakers) -> np.ndarray:
    """float64 (N, attributes), in the order of ATTRIBUTES."""
    return np.stack([np.asarray(getattr(speakers, name), dtype=np.float64) for name in ATTRIBUTES], axis=1)


def predicted_from_voice(speakers: Speakers) -> np.ndarray:
    """Attributes predicted from voices' true parameters, float64 (N, attributes).

    A cubic regression for each sex (f0 separates the sexes without error), fitted on other speakers."""
    others = sample_speakers(_REGRESSION_SPEAKERS, seed=READER_SEED)
    known = attributes_of(others)
    predicted = np.empty((len(speakers), len(ATTRIBUTES)))
    for female in (True, False):
        fitted_on, own = others.female == female, speakers.female == female
        a, b = _cubic(others[fitted_on], speakers[own])
        predicted[own] = b @ np.linalg.lstsq(a, known[fitted_on], rcond=None)[0]
    return predicted


def r2(truth: np.ndarray, read: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """R2 of each column: (N, K) twice -> (K,); weight (W, N): with each row's weights, (W, K)."""
    weight = np.ones((1, len(truth))) if weight is None else weight
    count = weight.sum(axis=1, keepdims=True)
    centred = truth - truth.mean(axis=0)  # first, so that the difference of squares below is exact enough
    variation = weight @ centred**2 - (weight @ centred) ** 2 / count
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = 1 - weight @ (truth - read) ** 2 / np.where(variation > 1e-9, variation, np.nan)
    return scores[0] if len(weight) == 1 else scores


def _r2_with_resamplings(truth: np.ndarray, read: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """(1 + resamplings, attributes): R2 of all speakers, then of each draw of them."""
    times = np.stack([np.bincount(row, minlength=len(truth)) for row in drawn]).astype(np.float64)
    return np.concatenate([r2(truth, read)[None], r2(truth, read, times)])


def _figure(scores: np.ndarray, speakers: int, protocol: str) -> Figure:
    low, high = np.nanquantile(scores[1:], [0.025, 0.975])
    return Figure(float(scores[0]), speakers, "people", protocol, "", float(low), float(high), chance=0.0)


def _protocol(eval_set: EvalSet, group: str, how: str, attribute: str = "") -> str:
    what = "R2 of an attribute" if attribute else f"mean R2 of the {group} attributes"
    if not attribute and group == "determined":
        what += ", each counted as 0 if negative"
    if how == " from e":
        part = training_part(eval_set)
        return f"{what}, predicted by {part.protocol} (mean of a speaker's clips)"
    if how == " from voice":
        return f"{what}, predicted from the voice's true parameters by a cubic regression for each sex"
    faces = "these speakers' real faces" if how else "the generated faces"
    sentence = (
        f"{what}, estimated from {faces} (mean of a speaker's images) by ridge regression on {_COMPONENTS} "
        f"principal components of pixels, fitted on {_READER_SPEAKERS} rendered speakers of another world"
    )
    if group == "free" and not how:
        sentence += "; a voice holds nothing of it, so a value above 0 by more than its interval is a leak"
    return sentence


def _per_speaker(values: np.ndarray, speaker: np.ndarray) -> np.ndarray:
    """Means of the rows of each speaker: (N, K) and indices (N,) -> (speakers, K)."""
    totals = np.zeros((speaker.max() + 1, values.shape[1]))
    np.add.at(totals, speaker, values)
    return totals / np.bincount(speaker)[:, None]


def _pixels(faces: Tensor) -> np.ndarray:
    """uint8 (N, side, side, 3) -> float64 (N, 3 x 32 x 32), averaged down."""
    parts = [
        F.interpolate(to_unit(p), (_SIDE_PIXELS, _SIDE_PIXELS), mode="area").flatten(1)
        for p in faces.split(256)
    ]
    return torch.cat(parts).double().numpy()


def _cubic(others: Speakers, speakers: Speakers) -> tuple[np.ndarray, np.ndarray]:
    """All products of up to three voice parameters, standardised by the first set, of both sets."""
    columns = [np.asarray(getattr(others, name)) for name in _VOICE_PARAMETERS]
    scaled = [
        np.stack(
            [(getattr(some, n) - c.mean()) / c.std() for n, c in zip(_VOICE_PARAMETERS, columns, strict=True)]
        )
        for some in (others, speakers)
    ]
    terms = []
    for x in scaled:
        x = np.concatenate([np.ones((1, x.shape[1])), x])
        i, j, k = np.array(
            [(i, j, k) for i in range(len(x)) for j in range(i, len(x)) for k in range(j, len(x))]
        ).T
        terms.append((x[i] * x[j] * x[k]).T)
    return terms[0], terms[1]
