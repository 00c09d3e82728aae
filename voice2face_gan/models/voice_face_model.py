"""The networks of a checkpoint with their controls: voice -> e -> input of the generator -> faces."""

from dataclasses import replace

import torch
from torch import Tensor

from voice2face_gan.errors import CheckpointError
from voice2face_gan.faces.pixels import to_uint8
from voice2face_gan.models.checkpoint import Checkpoint
from voice2face_gan.models.conditioning import Controls, condition, normalise_embedding
from voice2face_gan.models.probes import read_voice
from voice2face_gan.models.registry import check_takes_voices

VARIANT_NOISE = 0.05  # standard deviation, as Wen et al. train; where a model has no noise of its own
VARIANT_RESIDUAL = 0.5  # share of the residual's standard deviation; all of it would drown the voice
FACES_PER_BATCH = 16


class VoiceFaceModel:
    """Voice encoder, probes and generator of a checkpoint. A call changes nothing in the object.

    Args:
        checkpoint: a loaded checkpoint with a generator.
        name: the name in messages and in images' metadata.
        device: device of the networks.
    """

    def __init__(self, checkpoint: Checkpoint, name: str, device: str | torch.device = "cpu"):
        self.checkpoint, self.name, self.device = checkpoint, name, torch.device(device)
        self.controls, self.z_dim = checkpoint.controls, checkpoint.generator_config.z_dim
        self.encoder = checkpoint.encoder.to(self.device)
        self.generator = checkpoint.generator.to(self.device)

    def check_takes_voices(self) -> None:
        """
        Raises:
            CheckpointError: the checkpoint has no voice encoder.
        """
        check_takes_voices(self.checkpoint.encoder_config, f"The checkpoint '{self.name}'")

    @property
    def zoom(self) -> float:
        """Size of a face in its images, relative to the template of faces/align.py."""
        return self.checkpoint.generator_config.face_scale

    @property
    def image_side(self) -> int:
        """Side of an image in pixels where none is asked for."""
        return self.checkpoint.generator_config.image_side

    @property
    def strength(self) -> float | None:
        """The model's own strength; None for models whose embeddings are of unit norm."""
        return None if self.controls.normalise_embedding else self.controls.strength

    @torch.inference_mode()
    def generator_input(self, voice: Tensor, strength: float | None = None) -> Tensor:
        """Input of the generator, (embedding,): `condition(predict(voice), strength)`.

        Args:
            voice: (64, frames) or (samples,), as `audio.encoder_input` makes it for `encoder.takes`.
            strength: as in `GenerateOptions`.
        """
        return self.condition(self.predict(voice), strength)

    @torch.inference_mode()
    def predict(self, voice: Tensor) -> Tensor:
        """Predicted embedding (embedding,) of a voice as `generator_input` takes it."""
        return normalise_embedding(self.encoder(voice[None].to(self.device)), self.controls)[0].cpu()

    @torch.inference_mode()
    def encode(self, voice: Tensor) -> tuple[Tensor, dict[str, float]]:
        """The result of `predict`, and the probabilities of the checkpoint's probes.

        The probes are "speech" (speech rather than other sound), "child" (a child's voice) and "several"
        (several speakers in turn); {} for a checkpoint without probes.
        """
        output, found = read_voice(self.encoder, self.checkpoint.probes, voice[None].to(self.device))
        return normalise_embedding(output, self.controls)[0].cpu(), {k: float(v[0]) for k, v in found.items()}

    def condition(self, e: Tensor, strength: float | None = None) -> Tensor:
        """Input of the generator (embedding,) from a predicted embedding (embedding,).

        Strength and soft clip are applied, where the model has these.

        Args:
            strength: as in `GenerateOptions`.
        Raises:
            CheckpointError: the model has no strength to set.
        """
        return condition(e[None], self.with_strength(strength))[0]

    def with_strength(self, strength: float | None) -> Controls:
        """The controls with another strength; None for the model's own."""
        if strength is None:
            return self.controls
        if self.strength is None:
            raise CheckpointError(
                f"The checkpoint '{self.name}' has no strength to set: its embeddings are of length 1."
            )
        return replace(self.controls, strength=float(strength))

    @torch.inference_mode()
    def decode(self, e: Tensor, z: Tensor | None = None, noise_scale: float = 1.0) -> Tensor:
        """Faces of conditioned embeddings: (B, embedding) -> uint8 (B, side, side, 3).

        Args:
            z: (B, z_dim), noise of a generator that takes some; default `noise(B, noise_scale=noise_scale)`.
                Others take none, so that their z (B, 0) is passed over.
            noise_scale: standard deviation of the default z.
        """
        z = self.noise(len(e), noise_scale=noise_scale) if z is None else z
        if z is None or not self.z_dim:
            parts = [self.generator(part.to(self.device)) for part in e.split(FACES_PER_BATCH)]
        else:
            pairs = zip(e.split(FACES_PER_BATCH), z.split(FACES_PER_BATCH), strict=True)
            parts = [self.generator(a.to(self.device), b.to(self.device)) for a, b in pairs]
        return to_uint8(torch.cat(parts)).cpu()

    def noise(self, count: int, seed: int = 0, noise_scale: float = 1.0) -> Tensor | None:
        """z (count, z_dim), normal with standard deviation `noise_scale`, decided by the seed.

        None for a generator that takes no noise.
        """
        if not self.z_dim:
            return None
        return noise_scale * torch.randn((count, self.z_dim), generator=torch.Generator().manual_seed(seed))

    def female(self, e: Tensor) -> float | None:
        """Probability of the label "female" for a predicted embedding (embedding,); None without a probe."""
        probe = self.checkpoint.gender_probe
        return None if probe is None else float(torch.sigmoid(e @ probe[:-1] + probe[-1]))

    def variant_embeddings(self, e: Tensor, variants: int, seed: int, noise_scale: float = 1.0) -> Tensor:
        """(variants, embedding) of a conditioned embedding (embedding,): itself, then noisy ones.

        The noise has the standard deviation of the residual, the part of e that a voice leaves open, times
        `VARIANT_RESIDUAL`; without a residual that of training. It depends on the seed alone.
        """
        noise = torch.randn((variants, len(e)), generator=torch.Generator().manual_seed(seed))
        noise[0] = 0
        if self.controls.residual_std:
            return e + noise_scale * VARIANT_RESIDUAL * torch.tensor(self.controls.residual_std) * noise
        scale = noise_scale * (self.controls.embedding_noise_std or VARIANT_NOISE)
        # e has its strength, and is clipped, already.
        plain = replace(self.controls, strength=1.0, soft_clip=())
        return condition(e.expand(variants, -1), plain, noise, scale)
