"""The R3GAN generator: what a decade of work on GANs adds to the generator of 2019.

    (e, z) -> learned 4 x 4 map -> residual blocks, twice the side each -> face

No normalisation layers: each residual branch starts at zero (Huang et al., "The GAN is dead; long live the
GAN!", NeurIPS 2024), and its gain may depend on (e, z), as in FiLM (Perez et al., AAAI 2018). Pixel shuffle
(Shi et al., CVPR 2016) at the end saves arithmetic but leaves a grid; `full_res_block` gives the generator a
block at the face's own side instead.

With `linear_side` the network adds to a linear image of (e, z), as active appearance models make faces
(Cootes et al., PAMI 2001): the image that linear regression predicts from e, and the principal components of
what it leaves open, which training fits in closed form (training/fits/linear_image.py).

Shapes: B clips. Faces are float32 (B, 3, side, side), aimed at [-1, 1].
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voice2face_gan.models.residual import SLOPE, Residual, one_by_one
from voice2face_gan.models.settings import GeneratorSettings

FURTHEST_Z = 3.0  # standard deviations


@dataclass(frozen=True)
class R3GANGeneratorConfig(GeneratorSettings):
    """Dimensions of the generator and its discriminator; the table `generator` of a checkpoint's config.json.

    Args:
        embedding: size of the voice embedding e.
        z_dim: size of the noise z; 0 for a generator that answers a voice with one face.
        width: channels at 32 x 32; there are twice as many at 16 x 16, four times at 8 x 8 and 4 x 4. 32 is
            1.0 M parameters in the generator, 64 is 3.4 M, 126 as many as in Wen's (12.2 M).
        side: of the faces, 64 or 128 pixels.
        full_res_block: the generator ends with blocks at the face's own side, of half as many channels as
            before; else with pixel shuffle from half of it.
        replicate_border: pixels at each edge that repeat the next ones. Faces that lie wholly within their
            images are few, so that a generator hardly learns the outermost pixel, and what is laid on the
            template goes on from there.
        linear_side: side of a linear image of (e, z), enlarged to the face's, to which the network adds; 0
            for none.
        film: the gain of each residual branch depends on (e, z).
        projection: the discriminator's score depends on e.
        face_scale: how much larger its faces are than the template of faces/align.py lays them, as those were
            that it learned from.
    """

    type: ClassVar[str] = "r3gan"
    outside_weights: ClassVar[tuple[str, ...]] = ("replicate_border", "face_scale")
    """Settings that make no difference to the generator's weights."""

    embedding: int = 64
    z_dim: int = 64
    width: int = 64
    side: int = 64
    full_res_block: bool = False
    replicate_border: int = 0
    linear_side: int = 0
    film: bool = True
    projection: bool = True
    face_scale: float = 1.0

    def __post_init__(self) -> None:
        self.check(
            {
                "side must be 64 or 128": self.side in (64, 128),
                "width must be 2 or more, and even": self.width >= 2 and self.width % 2 == 0,
                "full_res_block needs a width of which each resolution has a channel": (
                    not self.full_res_block or self.channels()[-1] >= 2
                ),
                "replicate_border must be 0 to 8": 0 <= self.replicate_border <= 8,
                "linear_side must be 0 to side": 0 <= self.linear_side <= self.side,
                "z_dim must not be negative": self.z_dim >= 0,
                "face_scale must be above 0": self.face_scale > 0,
                "embedding must be 1 or more": self.embedding >= 1,
            }
        )

    def channels(self) -> list[int]:
        """Channels of each resolution, from 4 x 4 to half the face's side."""
        channels = [4 * self.width, 4 * self.width, 2 * self.width, self.width]
        return channels if self.side == 64 else [*channels, self.width // 2]


class R3GANGenerator(nn.Module):
    """(e, z) to face.

    forward: e (B, embedding), z (B, z_dim) or None for zeros -> (B, 3, side, side), aimed at [-1, 1]; values
        may lie outside.
    """

    def __init__(self, config: R3GANGeneratorConfig):
        super().__init__()
        self.z_dim, self.border = config.z_dim, config.replicate_border
        latent = config.embedding + config.z_dim
        channels = config.channels()
        if config.full_res_block:
            channels = [*channels, channels[-1] // 2]
        self.basis = nn.Linear(latent, channels[0] * 16)
        self.blocks = nn.ModuleList()
        self.widen = nn.ModuleList()  # 1 x 1 before each doubling of the side
        for before, after in zip(channels, [*channels[1:], 0], strict=True):
            gain = latent if config.film else 0
            # A list of one, as the names of weights in checkpoints have it.
            self.blocks.append(nn.ModuleList([Residual(before, gain)]))
            if after:
                self.widen.append(one_by_one(before, after))
        self.fold = 1 if config.full_res_block else 2  # a position becomes a square of so many pixels
        self.to_rgb = nn.Conv2d(channels[-1], 3 * self.fold**2, 3, padding=1)
        # The pixels that one position becomes begin alike, or the image begins as a checkerboard (Aitken
        # et al. 2017).
        with torch.no_grad():
            many = self.fold**2
            self.to_rgb.weight.copy_(self.to_rgb.weight[::many].repeat_interleave(many, 0))
            self.to_rgb.bias.zero_()
        self.side, self.linear_side, self.linear = config.side, config.linear_side, None
        if self.linear_side:
            self.linear = nn.Linear(latent, 3 * self.linear_side**2)
            nn.init.zeros_(self.linear.weight)
            nn.init.zeros_(self.linear.bias)
            nn.init.zeros_(self.to_rgb.weight)  # the face begins as the linear image
            # Every resolution sees it: to correct an image is easier than to draw one onto it.
            self.from_image = nn.ModuleList(nn.Conv2d(3, n, 3, padding=1) for n in channels)

    def forward(self, e: Tensor, z: Tensor | None = None) -> Tensor:
        if self.z_dim:
            z = e.new_zeros(len(e), self.z_dim) if z is None else z
            # e as Wen's nets take it is of length 1; here each of its elements counts like one of z.
            e = torch.cat([e, z], dim=1)
        x = self.basis(e).unflatten(1, (-1, 4, 4)).contiguous(memory_format=torch.channels_last)
        image = None if self.linear is None else self.linear_image(e)
        for i, (block,) in enumerate(self.blocks):
            if image is not None:
                x = x + self.from_image[i](F.adaptive_avg_pool2d(image, x.shape[-2:]))
            x = block(x, e)
            if i < len(self.widen):
                x = F.interpolate(self.widen[i](x), scale_factor=2, mode="bilinear", align_corners=False)
        face = self.to_rgb(F.leaky_relu(x, SLOPE))
        if self.fold > 1:
            face = F.pixel_shuffle(face, self.fold)
        if image is not None:
            face = face + image
        if self.border:
            inner = face[..., self.border : -self.border, self.border : -self.border]
            face = F.pad(inner, (self.border,) * 4, mode="replicate")
        return face

    def own_z(self, faces: Tensor, e: Tensor, visible: Tensor) -> Tensor:
        """The z (B, z_dim) whose linear image is nearest to faces (B, 3, side, side) of e (B, embedding);
        `visible` (B, 1, side, side) is 1 for pixels that count. No element is further than FURTHEST_Z from 0.
        """
        size = (self.linear_side, self.linear_side)
        weight = self.linear.weight[:, e.shape[1] :]  # orthogonal columns
        rest = F.interpolate(faces, size, mode="area").flatten(1) - self.linear(
            torch.cat([e, e.new_zeros(len(e), self.z_dim)], dim=1)
        )
        seen = F.interpolate(visible, size, mode="area").expand(-1, 3, -1, -1).flatten(1)
        z = (rest * seen) @ weight / weight.square().sum(dim=0).clamp(min=1e-12)
        return z.clamp(-FURTHEST_Z, FURTHEST_Z)

    def linear_image(self, latent: Tensor) -> Tensor:
        """The linear image of (e, z) joined, (B, embedding + z_dim), at the face's side."""
        image = self.linear(latent).unflatten(1, (3, self.linear_side, self.linear_side))
        return F.interpolate(image, (self.side, self.side), mode="bilinear", align_corners=False)
