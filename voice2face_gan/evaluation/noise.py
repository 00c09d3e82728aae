"""Does the model hear speech? Faces from noise against faces from voices.

A model that listens makes a worse face of noise, which no training voice resembles; one that paints its mean
face whatever it hears does not. Faces are scored by realism, and where the run has kept its discriminator D,
by D. For either score s

    AUC = P(s(face from a voice) > s(face from noise)), ties half, in percent; chance is 50

Realism of a face g among real faces r, in the judge's embeddings (Kynkaanniemi et al. 2019, eq. 3, k = 3):

    R(g) = max over r of  |r - its k-th nearest real face| / |g - r|

over the half of the real faces whose radii are smallest; R(g) >= 1 inside one of their balls. Source of the
comparison: Wen et al. 2019, section 4.2. Noise is white and pink, through the same front end as voices.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from voice2face_gan.audio.features import FeatureSettings, log_mel, normalise, repeat_to
from voice2face_gan.errors import MetricError, first_line
from voice2face_gan.evaluation.case import Case
from voice2face_gan.evaluation.registry import Figure, Options, mean_over_identities, metric
from voice2face_gan.faces.pixels import to_unit
from voice2face_gan.models.wen2019 import Discriminator, FaceTrunk, Wen2019Config
from voice2face_gan.pipeline import VoiceToFace

CLIPS, SECONDS = 32, 4.0  # of each colour of noise
STATE = "training.pt"  # training state beside a run's checkpoint (training/run.py)
NEIGHBOUR = 3  # k
_MOST = 4096  # real faces
_TINY = 1e-6  # of a distance: a copy of a real face is very real, not infinitely so


@dataclass
class Score:
    """One number a face, higher for what looks real: what it is, and its values."""

    name: str
    protocol: str
    voices: np.ndarray  # (clips,)
    noise: np.ndarray  # (noise clips,)


@metric("noise")
def noise(case: Case, options: Options) -> dict[str, Figure]:
    """Mean scores of both kinds of faces, and AUC, for each score there is.

    Raises:
        MetricError: the faces are not our model's, or there are too few real ones.
    """
    if case.model is None or case.voices is None:
        raise MetricError("noise needs the model, to hear noise; a folder of faces has none.")
    if len(case.real) <= NEIGHBOUR:
        raise MetricError(f"noise needs more than {NEIGHBOUR} real faces, and there are {len(case.real)}.")
    faces = noise_faces(case.model, case.voices.about["features"], options.seed)
    real = case.reading("real").embedding
    if len(real) > _MOST:
        real = real[np.random.default_rng(options.seed).choice(len(real), _MOST, replace=False)]
    scores = [
        Score(
            "realism",
            f"realism (k = {NEIGHBOUR}, {len(real)} real faces) in {case.judge.name}",
            realism(case.reading("generated").embedding, real),
            realism(case.judge.read(faces).embedding, real),
        )
    ]
    try:
        probability = kept_discriminator(case.model)
    except MetricError as error:
        probability = None
        options.note(f"noise is not scored by the run's discriminator: {error}.")
    if probability is not None:
        sentence = "probability of being real, by the run's own discriminator"
        made = (probability(x) for x in (case.generated, faces))
        scores.append(Score("discriminator", sentence, *made))
    figures = {}
    for score in scores:
        figures |= _figures(score, case, options)
    return figures


def _figures(score: Score, case: Case, options: Options) -> dict[str, Figure]:
    """AUC, and the mean of either side; intervals resample speakers, or noise clips."""
    who, count, told = case.generated_identity, len(score.noise), score.protocol
    auc, low, high = mean_over_identities(100 * placements(score.voices, score.noise), who, options.seed)
    sentence = f"a voice's face has a higher {told} than a face from one of {count} clips of noise"
    figures = {
        f"AUC {score.name}": Figure(auc, len(score.voices), "clips", sentence, "%", low, high, chance=50.0)
    }
    for kind, values, names in (("voice", score.voices, who), ("noise", score.noise, np.arange(count))):
        mean, low, high = mean_over_identities(values, names, options.seed)
        sentence = f"mean {told}, of faces from {'voices' if kind == 'voice' else 'white and pink noise'}"
        figures[f"{score.name} {kind}"] = Figure(mean, len(values), "clips", sentence, low=low, high=high)
    return figures


def placements(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """For each of a, (N,), the part of b, (M,), that it exceeds, ties half; their mean is the AUC."""
    order = np.sort(b)
    return (np.searchsorted(order, a, "left") + np.searchsorted(order, a, "right")) / (2 * len(b))


def realism(made: np.ndarray, real: np.ndarray, neighbour: int = NEIGHBOUR) -> np.ndarray:
    """Realism score of each embedding, (N, D) among (M, D), M > neighbour: float64 (N,)."""
    made, real = (torch.from_numpy(np.asarray(x, dtype=np.float64)) for x in (made, real))
    # The nearest of all is the face itself, at distance 0.
    radius = torch.cat(
        [torch.cdist(part, real).kthvalue(neighbour + 1, dim=1).values for part in real.split(512)]
    )
    small = radius <= radius.median()
    parts = [radius[small] / torch.cdist(p, real[small]).clamp(min=_TINY) for p in made.split(512)]
    return torch.cat([part.max(dim=1).values for part in parts]).numpy()


def noise_clips(samples: int, seed: int) -> np.ndarray:
    """float32 (2 x CLIPS, samples), standard deviation 0.1: white noise, then pink (-3 dB an octave)."""
    clips = np.random.default_rng([seed, 1952]).standard_normal((2 * CLIPS, samples))
    spectrum = np.fft.rfft(clips[CLIPS:])
    spectrum[:, 1:] /= np.sqrt(np.arange(1, spectrum.shape[1]))
    clips[CLIPS:] = np.fft.irfft(spectrum, samples)
    return (0.1 * clips / clips.std(axis=1, keepdims=True)).astype(np.float32)


def noise_faces(model: VoiceToFace, features: dict, seed: int) -> Tensor:
    """Faces of `noise_clips`, uint8 (2 x CLIPS, side, side, 3)."""
    settings = FeatureSettings.from_dict(features)
    embedded = []
    for clip in noise_clips(round(SECONDS * settings.sample_rate), seed):
        mel = normalise(log_mel(clip, settings))
        embedded.append(model.embed(repeat_to(mel, settings.min_frames)))
    return model.decode(torch.stack(embedded))


def kept_discriminator(model: VoiceToFace) -> Callable[[Tensor], np.ndarray] | None:
    """The discriminator beside a run's checkpoint, as a function from uint8 faces (N, side, side, 3) to the
    probability of being real, float64 (N,); None where there is none.

    Raises:
        MetricError: it cannot be read, or is not of Wen's kind, which judges a face alone.
    """
    folder = model.checkpoint.folder
    path = None if folder is None else folder / STATE
    if path is None or not path.is_file():
        return None
    if not isinstance(model.config, Wen2019Config):
        raise MetricError("the run's discriminator judges more than a face alone")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        trunk, head = FaceTrunk(model.config), Discriminator(model.config)
        trunk.load_state_dict(state["trunk"])
        head.load_state_dict(state["discriminator"])
    except Exception as error:  # a damaged zip, a foreign pickle, other nets: whatever torch makes of it
        raise MetricError(f"{path} holds no discriminator that can be read ({first_line(error)})") from error

    @torch.inference_mode()
    def probability(faces: Tensor) -> np.ndarray:
        parts = [torch.sigmoid(head(trunk(to_unit(part)))) for part in faces.split(64)]
        return torch.cat(parts).double().numpy()

    return probability
