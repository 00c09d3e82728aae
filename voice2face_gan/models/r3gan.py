"""The r3gan networks: what a decade of work on GANs adds to the nets of 2019, behind the same interface.

    generator       (e, z) -> learned 4 x 4 map -> residual blocks, twice the side each -> face
    face trunk      the mirror image: face -> residual blocks, half the side each -> features
    heads           real or generated *of this voice* (projection), whose face, which embedding

No normalisation layers: each residual branch starts at zero (Huang et al., "The GAN is dead; long live the
GAN!", NeurIPS 2024), and its gain may depend on (e, z). The trunk works at half the face's side and below, on
groups of 2 x 2 pixels as channels, which saves half of the arithmetic (Shi et al., CVPR 2016). So may the
generator, but what makes four pixels of one place leaves a grid; `fine` gives it a block at the face's own
side. The discriminator's score is conditional by projection (Miyato and Koyama, ICLR 2018).

Shapes: B clips, N identities, W = width. Faces are float32 (B, 3, side, side), aimed at [-1, 1].
"""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voice2face_gan.errors import CheckpointError
from voice2face_gan.models.wen2019 import voice_checks

_SLOPE = 0.2  # of the leaky rectifiers


@dataclass(frozen=True)
class R3GANConfig:
    """Dimensions of the r3gan networks; kept in a checkpoint's config.json.

    Args:
        mel_bins, embedding, voice_channels, encoder_norm_last: the voice encoder's, as in Wen2019Config.
        voice_pool: how the voice encoder hears time: "mean", Wen's five convolutions and the mean over time;
            or "recurrent", which takes log-mels that are not normalised, and where voice_channels are bands,
            LSTM layers and speaker embedding (models/encoders/lstm.py).
        z_dim: size of the noise z; 0 for a generator that answers a voice with one face.
        width: channels at 32 x 32; there are twice as many at 16 x 16, four times at 8 x 8 and 4 x 4. 32 is
            1.0 M parameters in the generator, 64 is 3.4 M, 126 as many as in Wen's (12.2 M).
        side: of the faces, 64 or 128 pixels.
        fine: the generator ends with blocks at the face's own side, of half as many channels as before;
            else with pixel shuffle from half of it.
        rim: pixels at each edge that repeat the next ones. Faces that lie wholly within their images are
            few, so that a generator hardly learns the outermost pixel, and what is laid on the template goes
            on from there.
        modulate: the gain of each residual branch depends on (e, z).
        projection: the discriminator's score depends on e.
        normalise: the generator takes e / |e|, and e / |e| again after noise is added.
        noise: standard deviation of the Gaussian noise added to each element of e in training.
        strength: what the generator takes is e times this, where it is not normalised; above 1 faces are
            exaggerated, for a predicted e is smaller than people's own (0 is the average face).
        limit: of each element of strength x e, how large it gets: up to 0.6 of it an element is left alone,
            beyond it bends towards it. Else what a voice tells well, such as sex, becomes a caricature at a
            strength that what it tells badly needs. Empty for none.
        residual: of each element of e, the standard deviation that the voice leaves open (people's own is 1);
            empty where that is not known. Variants differ by it.
        zoom: as in Wen2019Config.
    """

    mel_bins: int = 64
    embedding: int = 64
    voice_channels: tuple[int, ...] = (256, 384, 576, 864)
    encoder_norm_last: bool = False
    voice_pool: str = "mean"
    z_dim: int = 64
    width: int = 64
    side: int = 64
    fine: bool = False
    rim: int = 0
    modulate: bool = True
    projection: bool = True
    normalise: bool = True
    noise: float = 0.05
    strength: float = 1.0
    limit: tuple[float, ...] = ()
    residual: tuple[float, ...] = ()
    zoom: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "voice_channels", tuple(self.voice_channels))
        object.__setattr__(self, "limit", tuple(self.limit))
        object.__setattr__(self, "residual", tuple(self.residual))
        checks = {
            "side must be 64 or 128": self.side in (64, 128),
            "width must be 2 or more, and even": self.width >= 2 and self.width % 2 == 0,
            "fine needs a width of which each resolution has a channel": not self.fine
            or self.stages()[-1] >= 2,
            "rim must be 0 to 8": 0 <= self.rim <= 8,
            "z_dim and noise must not be negative": self.z_dim >= 0 and self.noise >= 0,
            **voice_checks(self),
            "zoom must be above 0": self.zoom > 0,
            "strength must not be negative": self.strength >= 0,
            "strength other than 1 needs normalise = false": self.strength == 1 or not self.normalise,
            "limit must be empty or as long as the embedding, each above 0": not self.limit
            or (len(self.limit) == self.embedding and all(x > 0 for x in self.limit)),
            "limit needs normalise = false": not self.limit or not self.normalise,
            "residual must be empty or as long as the embedding, each from 0 to 1": not self.residual
            or (len(self.residual) == self.embedding and all(0 <= r <= 1 for r in self.residual)),
            "mel_bins, embedding and voice_channels must be 1 or more": min(
                self.mel_bins, self.embedding, *self.voice_channels
            )
            >= 1,
        }
        for sentence, holds in checks.items():
            if not holds:
                raise CheckpointError(f"Model settings: {sentence}.")

    @property
    def voice_features(self) -> int:
        """How many numbers the voice encoder's `features` are."""
        return sum(self.voice_channels[1:]) if self.voice_pool == "recurrent" else self.voice_channels[-1]

    def stages(self) -> list[int]:
        """Channels of each resolution, from 4 x 4 to half the face's side."""
        channels = [4 * self.width, 4 * self.width, 2 * self.width, self.width]
        return channels if self.side == 64 else [*channels, self.width // 2]

    def to_dict(self) -> dict:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


class Residual(nn.Module):
    """x + conv(act(gain x conv(act(x)))): two 3 x 3 convolutions, the second zero at the start.

    Args:
        channels: in and out.
        latent: size of the vector that the gain depends on; 0 for none.
    """

    def __init__(self, channels: int, latent: int = 0):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.gain = nn.Linear(latent, channels) if latent else None
        nn.init.kaiming_normal_(self.first.weight, _SLOPE)
        nn.init.zeros_(self.first.bias)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)
        if self.gain is not None:
            nn.init.zeros_(self.gain.weight)
            nn.init.ones_(self.gain.bias)

    def forward(self, x: Tensor, latent: Tensor | None = None) -> Tensor:
        h = self.first(F.leaky_relu(x, _SLOPE))
        if self.gain is not None:
            h = h * self.gain(latent)[:, :, None, None]
        return x + self.second(F.leaky_relu(h, _SLOPE))


class Generator(nn.Module):
    """(e, z) to face.

    forward: e (B, embedding), z (B, z_dim) or None for zeros -> (B, 3, side, side), aimed at [-1, 1]; values
        may lie outside.
    """

    def __init__(self, config: R3GANConfig):
        super().__init__()
        self.z_dim, self.rim = config.z_dim, config.rim
        latent = config.embedding + config.z_dim
        channels = config.stages()
        if config.fine:
            channels = [*channels, channels[-1] // 2]
        self.basis = nn.Linear(latent, channels[0] * 16)
        self.blocks = nn.ModuleList()
        self.widen = nn.ModuleList()  # 1 x 1 before each doubling of the side
        for before, after in zip(channels, [*channels[1:], 0], strict=True):
            gain = latent if config.modulate else 0
            # A list of one, as the names of weights in checkpoints have it.
            self.blocks.append(nn.ModuleList([Residual(before, gain)]))
            if after:
                self.widen.append(_one_by_one(before, after))
        self.fold = 1 if config.fine else 2  # a position becomes a square of so many pixels
        self.to_rgb = nn.Conv2d(channels[-1], 3 * self.fold**2, 3, padding=1)
        # The pixels that one position becomes begin alike, or the image begins as a checkerboard (Aitken
        # et al. 2017).
        with torch.no_grad():
            many = self.fold**2
            self.to_rgb.weight.copy_(self.to_rgb.weight[::many].repeat_interleave(many, 0))
            self.to_rgb.bias.zero_()

    def forward(self, e: Tensor, z: Tensor | None = None) -> Tensor:
        if self.z_dim:
            z = e.new_zeros(len(e), self.z_dim) if z is None else z
            # e as Wen's nets take it is of length 1; here each of its elements counts like one of z.
            e = torch.cat([e, z], dim=1)
        x = self.basis(e).unflatten(1, (-1, 4, 4)).contiguous(memory_format=torch.channels_last)
        for i, (block,) in enumerate(self.blocks):
            x = block(x, e)
            if i < len(self.widen):
                x = F.interpolate(self.widen[i](x), scale_factor=2, mode="bilinear", align_corners=False)
        face = self.to_rgb(F.leaky_relu(x, _SLOPE))
        if self.fold > 1:
            face = F.pixel_shuffle(face, self.fold)
        if self.rim:
            inner = face[..., self.rim : -self.rim, self.rim : -self.rim]
            face = F.pad(inner, (self.rim,) * 4, mode="replicate")
        return face


class FaceTrunk(nn.Module):
    """Face to features, shared by the heads: the generator's mirror image.

    forward: (B, 3, side, side) in [-1, 1] -> (B, 4 W).
    """

    def __init__(self, config: R3GANConfig):
        super().__init__()
        channels = config.stages()[::-1]
        self.from_rgb = nn.Conv2d(12, channels[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        self.widen = nn.ModuleList()
        for before, after in zip(channels, [*channels[1:], 0], strict=True):
            self.blocks.append(nn.ModuleList([Residual(before)]))
            if after:
                self.widen.append(_one_by_one(before, after))
        # Each channel's 4 x 4 map against a learned pattern of its own, the mirror of the 4 x 4 start.
        self.pattern = nn.Parameter(torch.randn(channels[-1], 4, 4) / 4)

    def forward(self, face: Tensor) -> Tensor:
        x = self.from_rgb(F.pixel_unshuffle(face, 2))
        for i, (block,) in enumerate(self.blocks):
            x = block(x)
            if i < len(self.widen):
                x = self.widen[i](F.avg_pool2d(x, 2))
        return (F.leaky_relu(x, _SLOPE) * self.pattern.to(x.dtype)).sum(dim=(2, 3))


class Heads(nn.Module):
    """What is read from the trunk's features h (B, 4 W).

    score(h, e): (B,), high for real faces of this voice.
    identity(h): (B, N) logits.
    read(h): (B, embedding), the embedding that the face shows.
    """

    def __init__(self, config: R3GANConfig, identities: int):
        super().__init__()
        features = config.stages()[0]
        self._real = nn.Linear(features, 1)
        self._condition = nn.Linear(config.embedding, features, bias=False) if config.projection else None
        self.identity = nn.Linear(features, identities)
        self.read = nn.Linear(features, config.embedding)

    def score(self, h: Tensor, e: Tensor) -> Tensor:
        score = self._real(h).squeeze(1)
        if self._condition is not None:
            score = score + (h * self._condition(e)).sum(dim=1) / h.shape[1] ** 0.5
        return score


def _one_by_one(before: int, after: int) -> nn.Module:
    if before == after:
        return nn.Identity()
    layer = nn.Conv2d(before, after, 1, bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
    return layer
