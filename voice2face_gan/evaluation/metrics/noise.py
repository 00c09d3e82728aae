"""Noise: realism of faces generated from noise, compared with faces generated from voices.

A model that depends on its input makes a worse face of noise, which no training voice resembles. One that
generates its mean face for any input does not. Faces are scored by realism, and by the discriminator D where
the run has kept it. For either score s

    AUC = P(s(face from a voice) > s(face from noise)), ties half, in percent; chance is 50

Realism of a face g among real faces r, in the face reader's embeddings (Kynkaanniemi et al. 2019, eq. 3,
k = 3):

    R(g) = max over r of  |r - its k-th nearest real face| / |g - r|

over the half of the real faces whose radii are smallest; R(g) >= 1 inside one of their balls. Source of the
comparison: Wen et al. 2019, section 4.2. Noise is white and pink, through the same front end as voices.

Wen's D scores a face alone. The r3gan D scores a face and a voice's e, and its loss compares scores at one e
alone, so that scores at different e do not compare. There each voice's e is given with its own face and with
every face from noise, and s is compared at that e; of such scores there are no means.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from voice2face_gan.audio.encoder_input import encoder_input
from voice2face_gan.audio.log_mel import FeatureSettings
from voice2face_gan.errors import MetricError, first_line
from voice2face_gan.evaluation.eval_set import EvalSet, generate_framed
from voice2face_gan.evaluation.protocol import generator_inputs
from voice2face_gan.evaluation.registry import Options, mean_over_identities, metric
from voice2face_gan.faces.pixels import to_unit
from voice2face_gan.models.discriminators import r3gan, wen2019
from voice2face_gan.pipeline import VoiceToFace
from voice2face_gan.results import Figure

CLIPS_PER_COLOUR, CLIP_SECONDS = 32, 4.0  # the second: length of a clip
STATE = "training.pt"  # training state beside a run's checkpoint (training/run/folder.py)
NEIGHBOUR_RANK = 3  # k
_MAX_REAL_FACES = 4096  # real faces
_MIN_DISTANCE = 1e-6  # bounds the realism of a copy of a real face


@dataclass
class Score:
    """A score of faces, one number a face, higher for more realistic ones.

    Attributes:
        name: part of the figures' names.
        protocol: noun phrase for a protocol.
        voices: float (clips,), scores of faces from voices.
        noise: float (noise clips,), or (clips, noise clips) for a score that depends on the clip.
    """

    name: str
    protocol: str
    voices: np.ndarray
    noise: np.ndarray


@metric("noise")
def noise(eval_set: EvalSet, options: Options) -> dict[str, Figure]:
    """Mean scores of both kinds of faces, and AUC, for each score there is.

    Raises:
        MetricError: the faces are not our model's, or there are too few real ones.
    """
    if eval_set.model is None or eval_set.voices is None:
        raise MetricError("noise needs the model, to generate from noise; a folder of faces has none.")
    if len(eval_set.real) <= NEIGHBOUR_RANK:
        raise MetricError(
            f"noise needs more than {NEIGHBOUR_RANK} real faces, and there are {len(eval_set.real)}."
        )
    e = noise_embeddings(eval_set, options.seed)
    faces = generate_framed(eval_set.model, e, noise_scale=eval_set.noise_scale)
    real = eval_set.reading("real").embedding
    if len(real) > _MAX_REAL_FACES:
        real = real[np.random.default_rng(options.seed).choice(len(real), _MAX_REAL_FACES, replace=False)]
    scores = [
        Score(
            "realism",
            f"realism (k = {NEIGHBOUR_RANK}, {len(real)} real faces) in {eval_set.reader.name}",
            realism(eval_set.reading("generated").embedding, real),
            realism(eval_set.reader.read(faces).embedding, real),
        )
    ]
    try:
        kept = kept_discriminator(eval_set.model)
    except MetricError as error:
        kept = None
        options.note(f"noise is not scored by the run's discriminator: {error}.")
    if kept is not None:
        scores.append(kept.compare(eval_set, eval_set.model.decode(e, noise_scale=eval_set.noise_scale)))
    figures = {}
    for score in scores:
        figures |= _figures(score, eval_set, options)
    return figures


def _figures(score: Score, eval_set: EvalSet, options: Options) -> dict[str, Figure]:
    """AUC, and means of scores that compare between clips; intervals resample speakers, or noise clips."""
    who, count, description = eval_set.generated_identity, score.noise.shape[-1], score.protocol
    auc, low, high = mean_over_identities(100 * placements(score.voices, score.noise), who, options.seed)
    sentence = f"a voice's face has a higher {description} than a face from one of {count} clips of noise"
    figures = {
        f"AUC {score.name}": Figure(auc, len(score.voices), "clips", sentence, "%", low, high, chance=50.0)
    }
    if score.noise.ndim == 2:
        return figures
    for kind, values, names in (("voice", score.voices, who), ("noise", score.noise, np.arange(count))):
        mean, low, high = mean_over_identities(values, names, options.seed)
        sentence = (
            f"mean {description}, of faces from {'voices' if kind == 'voice' else 'white and pink noise'}"
        )
        figures[f"{score.name} {kind}"] = Figure(mean, len(values), "clips", sentence, low=low, high=high)
    return figures


def placements(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Fraction of b, (M,), or of its own row of b, (N, M), that each of a, (N,), exceeds, ties half.

    Their mean is the AUC."""
    if b.ndim == 2:
        return ((a[:, None] > b) + (a[:, None] == b) / 2).mean(axis=1)
    order = np.sort(b)
    return (np.searchsorted(order, a, "left") + np.searchsorted(order, a, "right")) / (2 * len(b))


def realism(made: np.ndarray, real: np.ndarray, neighbour: int = NEIGHBOUR_RANK) -> np.ndarray:
    """Realism score of each embedding, (N, D) among (M, D), M > neighbour: float64 (N,)."""
    made, real = (torch.from_numpy(np.asarray(x, dtype=np.float64)) for x in (made, real))
    # The nearest of all is the face itself, at distance 0.
    radius = torch.cat(
        [torch.cdist(part, real).kthvalue(neighbour + 1, dim=1).values for part in real.split(512)]
    )
    small = radius <= radius.median()
    parts = [radius[small] / torch.cdist(p, real[small]).clamp(min=_MIN_DISTANCE) for p in made.split(512)]
    return torch.cat([part.max(dim=1).values for part in parts]).numpy()


def noise_clips(samples: int, seed: int) -> np.ndarray:
    """float32 (2 x CLIPS, samples), standard deviation 0.1: white noise, then pink (-3 dB an octave)."""
    clips = np.random.default_rng([seed, 1952]).standard_normal((2 * CLIPS_PER_COLOUR, samples))
    spectrum = np.fft.rfft(clips[CLIPS_PER_COLOUR:])
    spectrum[:, 1:] /= np.sqrt(np.arange(1, spectrum.shape[1]))
    clips[CLIPS_PER_COLOUR:] = np.fft.irfft(spectrum, samples)
    return (0.1 * clips / clips.std(axis=1, keepdims=True)).astype(np.float32)


def noise_embeddings(eval_set: EvalSet, seed: int) -> Tensor:
    """Inputs of the generator for `noise_clips`, (2 x CLIPS_PER_COLOUR, embedding)."""
    settings, model = FeatureSettings.from_dict(eval_set.voices.about["features"]), eval_set.model
    embedded = []
    for clip in noise_clips(round(CLIP_SECONDS * settings.sample_rate), seed):
        taken = encoder_input(clip, settings, model.encoder.takes)
        embedded.append(model.generator_input(taken, eval_set.strength))
    return torch.stack(embedded)


@dataclass
class FaceDiscriminator:
    """A discriminator of a face alone (models/discriminators/wen2019.py): logits by a trunk and a head."""

    trunk: nn.Module
    head: nn.Module

    def compare(self, eval_set: EvalSet, noise: Tensor) -> Score:
        """Scores of the set's own faces and of faces from noise.

        Args:
            noise: uint8 (noise clips, side, side, 3), as the model generates them.
        """
        sentence = "probability of being real, by the run's own discriminator"
        e = generator_inputs(eval_set.model, eval_set.voices, strength=eval_set.strength)
        own = eval_set.model.decode(e, noise_scale=eval_set.noise_scale)
        return Score("discriminator", sentence, self.probability(own), self.probability(noise))

    @torch.inference_mode()
    def probability(self, faces: Tensor) -> np.ndarray:
        """Probability of being real, float64 (N,), of uint8 faces (N, side, side, 3)."""
        return torch.sigmoid(self.head(_features(self.trunk, faces))).double().numpy()


@dataclass
class PairDiscriminator:
    """A discriminator of a face and a voice's e (models/r3gan.py)."""

    trunk: nn.Module
    heads: nn.Module

    def compare(self, eval_set: EvalSet, noise: Tensor) -> Score:
        """Scores as of `FaceDiscriminator.compare`, all at each voice's own e."""
        sentence = "score, by the run's own discriminator for this voice,"
        e = generator_inputs(eval_set.model, eval_set.voices, strength=eval_set.strength)
        own = eval_set.model.decode(e, noise_scale=eval_set.noise_scale)
        return Score("discriminator", sentence, *self.scores(own, noise, e))

    @torch.inference_mode()
    def scores(self, faces: Tensor, noise: Tensor, e: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Scores of uint8 faces (N, side, side, 3) at their own e (N, embedding), float64 (N,), and of others
        (M, side, side, 3) at each of these, (N, M)."""
        own, others = _features(self.trunk, faces), _features(self.trunk, noise)
        pairs = (
            (torch.cat([face[None], others]), at.expand(1 + len(others), -1))
            for face, at in zip(own, e, strict=True)
        )
        scores = torch.stack([self.heads.score(*pair) for pair in pairs]).double().numpy()
        at_own, at_others = scores[:, :1], scores[:, 1:]
        # Equal faces have equal scores but for rounding, which depends on a face's place in the batch.
        same = np.isclose(at_others, at_own, rtol=1e-5, atol=1e-5)
        return at_own[:, 0], np.where(same, at_own, at_others)


def _face_discriminator(config, state: dict) -> FaceDiscriminator:
    kept = FaceDiscriminator(wen2019.FaceTrunk(config), wen2019.Discriminator(config))
    kept.head.load_state_dict(state["discriminator"])
    return kept


def _pair_discriminator(config, state: dict) -> PairDiscriminator:
    identities = len(state["heads"]["identity.weight"])
    kept = PairDiscriminator(r3gan.FaceTrunk(config), r3gan.Heads(config, identities))
    kept.heads.load_state_dict(state["heads"])
    return kept


_DISCRIMINATORS = {"wen2019": _face_discriminator, "r3gan": _pair_discriminator}  # by the generator's type


def _features(trunk: nn.Module, faces: Tensor) -> Tensor:
    return torch.cat([trunk(to_unit(part)) for part in faces.split(64)])


def kept_discriminator(model: VoiceToFace) -> FaceDiscriminator | PairDiscriminator | None:
    """The discriminator beside a run's checkpoint; None where there is none.

    Raises:
        MetricError: it cannot be read.
    """
    folder = model.checkpoint.folder
    path = None if folder is None else folder / STATE
    if path is None or not path.is_file():
        return None
    config = model.checkpoint.generator_config
    if config.type not in _DISCRIMINATORS:  # it knows nothing of e
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        kept = _DISCRIMINATORS[config.type](config, state)
        kept.trunk.load_state_dict(state["trunk"])
    except Exception as error:  # torch has many errors for a damaged zip, a foreign pickle, other weights
        raise MetricError(f"{path} holds no discriminator that can be read ({first_line(error)})") from error
    return kept
