"""The face decoder of Speech2Face's family: the feature of a face to landmarks, a texture, and an image.

    feature (B, F)
      stem        linear to 1000 numbers; equation 3 of Speech2Face compares them
      landmarks   ReLU, a shallow MLP with ReLU -> displacements of 68 points from the mean shape
      texture     ReLU, linear to (side / 16)^2 x 256, then four transposed convolutions of kernel 5, stride 2
                  with 128, 64, 32, 32 channels and ReLU between, then 1 x 1 to RGB: a face in the mean shape
      warp        the texture drawn in the shape of the landmarks, with gradients for both

Cole, Belanger, Krishnan, Sarna, Mosseri and Freeman, "Synthesizing Normalized Faces from Facial Identity
Features", CVPR 2017; sizes as there: 14 x 14 x 256 for 224 pixels. The stem of 1000 numbers is
that of Oh et al., CVPR 2019. Cole et al. also have a texture that is linear in the feature, for few faces:
`texture = "linear"`. Ours is `linear`: landmarks and texture begin as a ridge regression on the feature
(training/fits/linear_face.py), to which both heads add.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from voice2face_gan.faces.align import zoomed
from voice2face_gan.faces.mean_shape import MEAN_SHAPE, POINTS, SHAPE_STD
from voice2face_gan.models.generators.warp import BOUNDARY, ORDER, RENDERINGS, SMOOTHING, Warp
from voice2face_gan.models.settings import GeneratorSettings

STEM = 1000
CHANNELS = (256, 128, 64, 32, 32)
"""Channels of the first map and of those that follow it: max(256 / 2^i, 32)."""

LANDMARK_HIDDEN = 256
MAX_LINEAR = 128  # fitting keeps a matrix of this side for each pixel
TEXTURES = ("convolutional", "linear")
_UP = 2 ** (len(CHANNELS) - 1)  # a side of the texture for each one of the first map


class Decoded(NamedTuple):
    """A decoder's answer.

    Attributes:
        landmarks: (B, 68, 2), x and y in pixels of the image.
        texture: (B, 3, side, side), the face in the mean shape; about [-1, 1], not clamped.
        image: (B, 3, side, side), the texture drawn in the shape of the landmarks; of the first ones alone
            where no more are asked for.
    """

    landmarks: Tensor
    texture: Tensor
    image: Tensor


@dataclass(frozen=True)
class FaceDecoderConfig(GeneratorSettings):
    """Dimensions of the decoder; the table `generator` of a checkpoint's config.json.

    Args:
        embedding: numbers of the feature: of e, or of a face reader.
        side: of the image in pixels, a multiple of 16: 64, 112, 128 or 224.
        texture: "convolutional" or "linear".
        narrow: numbers between stem and first map (or, of a linear texture, pixels): 0 for none, as in the
            paper. At 128 pixels that layer has 16.4 M weights without, and 2.2 M with 128.
        linear: numbers between the stem and the linear part that is fitted before training; 0 for no such
            part, as in the paper.
        head_scale: how many times smaller than the texture the texture head's own side is; what it gives is
            enlarged. 1 as in the paper; beside a linear part 2 keeps out specks that fool the reader of the
            embedding loss, and takes a third of the time.
        head_gain: factor of what the texture head gives, beside a linear part; changed after training
            (`v2f-gan compose --head-gain`): below 1 there are fewer fine lines that the reader of the
            embedding loss asked for.
        order, smoothing, boundary, rendering: of the warp.
        face_scale: how much larger its faces are than the template of faces/align.py lays them, as those were
            that it learned from.
    """

    type: ClassVar[str] = "face_decoder"
    outside_weights: ClassVar[tuple[str, ...]] = ("rendering", "face_scale", "head_gain")
    z_dim: ClassVar[int] = 0

    embedding: int = 64
    side: int = 128
    texture: str = "convolutional"
    narrow: int = 0
    linear: int = 0
    head_scale: int = 1
    head_gain: float = 1.0
    order: int = ORDER
    smoothing: float = SMOOTHING
    boundary: int = BOUNDARY
    rendering: str = RENDERINGS[0]
    face_scale: float = 1.0

    def __post_init__(self) -> None:
        self.check(
            {
                f"side must be a multiple of {_UP} pixels, such as 64, 128 or 224": (
                    self.side >= _UP and self.side % _UP == 0
                ),
                f"texture must be {' or '.join(TEXTURES)}": self.texture in TEXTURES,
                "narrow must not be negative": self.narrow >= 0,
                f"side / head_scale must be a multiple of {_UP} pixels": (
                    self.head_scale >= 1 and self.side % (_UP * self.head_scale) == 0
                ),
                f"linear must be between 0 and {MAX_LINEAR}": 0 <= self.linear <= MAX_LINEAR,
                "head_gain must be between 0 and 1, and 1 without a linear part": (
                    0 <= self.head_gain <= 1 and (self.linear > 0 or self.head_gain == 1)
                ),
                "order must be 1 or 2": self.order in (1, 2),
                "smoothing must not be negative": self.smoothing >= 0,
                "boundary must be 1 or more": self.boundary >= 1,
                f"rendering must be {' or '.join(RENDERINGS)}": self.rendering in RENDERINGS,
                "face_scale must be above 0": self.face_scale > 0,
                "embedding must be 1 or more": self.embedding >= 1,
            }
        )


class FaceDecoder(nn.Module):
    """Feature to face.

    forward: (B, embedding) -> the image (B, 3, side, side), aimed at [-1, 1]. `decoded` gives its parts.
    """

    def __init__(self, config: FaceDecoderConfig):
        super().__init__()
        side, narrow = config.side, config.narrow
        self.side, self.head_gain = side, config.head_gain
        self.stem = nn.Linear(config.embedding, STEM)
        self.landmark_head = nn.Sequential(
            nn.ReLU(), nn.Linear(STEM, LANDMARK_HIDDEN), nn.ReLU(), nn.Linear(LANDMARK_HIDDEN, 2 * POINTS)
        )
        nn.init.zeros_(self.landmark_head[-1].weight)  # each decoder begins with the mean shape
        nn.init.zeros_(self.landmark_head[-1].bias)
        head = ConvolutionalTexture if config.texture == "convolutional" else LinearTexture
        self.texture_head = head(side // config.head_scale, narrow)
        self.linear = None
        if config.linear:
            self.linear = LinearFace(side, config.linear)
            self.texture_head.begin_at_zero()
        mean = zoomed(MEAN_SHAPE, config.face_scale)
        self.warp = Warp(side, config.order, config.smoothing, config.boundary, config.rendering, mean)
        self.spread = SHAPE_STD * config.face_scale * side  # of a landmark, in pixels

    def forward(self, feature: Tensor) -> Tensor:
        return self.decoded(feature).image

    def decoded(self, feature: Tensor, images: int | None = None) -> Decoded:
        """Landmarks, texture and image of features (B, embedding).

        Args:
            images: of how many, the first ones, the image is drawn; None for all.
        """
        return self.decode(self.stem(feature), images)

    def decode(self, stem: Tensor, images: int | None = None) -> Decoded:
        """What `decoded` gives, of the stem's numbers (B, 1000)."""
        landmarks, texture = self.landmarks(stem), self.texture(stem)
        return Decoded(landmarks, texture, self.warp.to_image(texture[:images], landmarks[:images]))

    def texture(self, stem: Tensor) -> Tensor:
        """The texture (B, 3, side, side) of the stem's numbers."""
        texture = self.texture_head(stem)
        if texture.shape[-1] != self.side:
            texture = F.interpolate(texture, (self.side, self.side), mode="bilinear", align_corners=False)
        if self.linear is not None:
            texture = self.head_gain * texture + self.linear.texture_of(stem)
        return texture

    def landmarks(self, stem: Tensor) -> Tensor:
        """The landmarks (B, 68, 2) of the stem's numbers, x and y in pixels of the image."""
        return self.warp.mean + self.spread * self.displacement(stem).unflatten(1, (POINTS, 2))

    def displacement(self, stem: Tensor) -> Tensor:
        """Displacements (B, 136) of the landmarks from the mean shape, in their spread."""
        displacement = self.landmark_head(stem)
        if self.linear is not None:
            displacement = displacement + self.linear.displacement_of(stem)
        return displacement


class ConvolutionalTexture(nn.Module):
    """The texture by transposed convolutions; see `FaceDecoder`.

    forward: (B, 1000) -> (B, 3, side, side).
    """

    def __init__(self, side: int, narrow: int = 0):
        super().__init__()
        self.first_side = side // _UP
        self.first = _through(narrow, CHANNELS[0] * self.first_side**2)
        # Padding 2 and one more row at the end: each side is exactly doubled.
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(before, after, 5, stride=2, padding=2, output_padding=1)
            for before, after in zip(CHANNELS, CHANNELS[1:], strict=False)
        )
        self.to_rgb = nn.Conv2d(CHANNELS[-1], 3, 1)
        for layer in self.up:
            # A pixel gets a quarter of the 25 taps of each input channel (He et al. 2015).
            nn.init.normal_(layer.weight, std=(2 / (layer.in_channels * 25 / 4)) ** 0.5)
            nn.init.zeros_(layer.bias)

    def forward(self, stem: Tensor) -> Tensor:
        x = self.first(F.relu(stem)).unflatten(1, (CHANNELS[0], self.first_side, self.first_side))
        for layer in self.up:
            x = layer(F.relu(x))
        return self.to_rgb(F.relu(x))

    def begin_at_zero(self) -> None:
        """Makes the texture 0 until it learns."""
        nn.init.zeros_(self.to_rgb.weight)
        nn.init.zeros_(self.to_rgb.bias)


class LinearTexture(nn.Module):
    """The texture as a linear map of the stem's numbers, and so of the feature.

    forward: (B, 1000) -> (B, 3, side, side).
    """

    def __init__(self, side: int, narrow: int = 0):
        super().__init__()
        self.side = side
        self.last = _through(narrow, 3 * side**2)

    def forward(self, stem: Tensor) -> Tensor:
        return self.last(stem).unflatten(1, (3, self.side, self.side))

    def begin_at_zero(self) -> None:
        """Makes the texture 0 until it learns."""
        last = self.last[-1] if isinstance(self.last, nn.Sequential) else self.last
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)


class LinearFace(nn.Module):
    """Landmarks and texture that are linear in the stem's numbers, through `numbers` of them."""

    def __init__(self, side: int, numbers: int):
        super().__init__()
        self.side = side
        self.first = nn.Linear(STEM, numbers, bias=False)
        self.displacement = nn.Linear(numbers, 2 * POINTS)
        self.texture = nn.Linear(numbers, 3 * side**2)

    def displacement_of(self, stem: Tensor) -> Tensor:
        """Displacements (B, 136) from the mean shape, in spreads of a landmark."""
        return self.displacement(self.first(stem))

    def texture_of(self, stem: Tensor) -> Tensor:
        """The texture (B, 3, side, side)."""
        return self.texture(self.first(stem)).unflatten(1, (3, self.side, self.side))


def _through(narrow: int, outputs: int) -> nn.Module:
    """A linear layer from the stem, in two factors where `narrow` is not 0."""
    if not narrow:
        return nn.Linear(STEM, outputs)
    return nn.Sequential(nn.Linear(STEM, narrow, bias=False), nn.Linear(narrow, outputs))


def count(decoder: FaceDecoder) -> dict[str, int]:
    """Numbers that a decoder learns, by part: stem, landmark_head, texture_head and, where there is one,
    linear."""
    parts = {name: getattr(decoder, name) for name in ("stem", "landmark_head", "texture_head", "linear")}
    return {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items() if part}
