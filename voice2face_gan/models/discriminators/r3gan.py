"""The discriminator of the R3GAN recipe: the generator's mirror image, and heads on it.

    face trunk      face -> residual blocks, half the side each -> features
    heads           real or generated *of this voice* (projection), whose face, which embedding

The trunk works at half the face's side and below, on groups of 2 x 2 pixels as channels, which saves half of
the arithmetic (Shi et al., CVPR 2016). The score is conditional by projection (Miyato and Koyama, ICLR 2018).

Shapes: B faces, N identities, W = width. Faces are float32 (B, 3, side, side), in [-1, 1].
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voice2face_gan.models.generators.r3gan import R3GANGeneratorConfig
from voice2face_gan.models.residual import SLOPE, Residual, one_by_one


class FaceTrunk(nn.Module):
    """Face to features, shared by the heads: the generator's mirror image.

    forward: (B, 3, side, side) in [-1, 1] -> (B, 4 W).
    """

    def __init__(self, config: R3GANGeneratorConfig):
        super().__init__()
        channels = config.channels()[::-1]
        self.from_rgb = nn.Conv2d(12, channels[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        self.widen = nn.ModuleList()
        for before, after in zip(channels, [*channels[1:], 0], strict=True):
            self.blocks.append(nn.ModuleList([Residual(before)]))
            if after:
                self.widen.append(one_by_one(before, after))
        # Each channel's 4 x 4 map against a learned pattern of its own, the mirror of the 4 x 4 start.
        self.pattern = nn.Parameter(torch.randn(channels[-1], 4, 4) / 4)

    def forward(self, face: Tensor) -> Tensor:
        x = self.from_rgb(F.pixel_unshuffle(face, 2))
        for i, (block,) in enumerate(self.blocks):
            x = block(x)
            if i < len(self.widen):
                x = self.widen[i](F.avg_pool2d(x, 2))
        return (F.leaky_relu(x, SLOPE) * self.pattern.to(x.dtype)).sum(dim=(2, 3))


class Heads(nn.Module):
    """What is read from the trunk's features h (B, 4 W).

    score(h, e): (B,), high for real faces of this voice.
    identity(h): (B, N) logits.
    read(h): (B, embedding), the embedding that the face shows.
    """

    def __init__(self, config: R3GANGeneratorConfig, identities: int):
        super().__init__()
        features = config.channels()[0]
        self._real = nn.Linear(features, 1)
        self._condition = nn.Linear(config.embedding, features, bias=False) if config.projection else None
        self.identity = nn.Linear(features, identities)
        self.read = nn.Linear(features, config.embedding)

    def score(self, h: Tensor, e: Tensor) -> Tensor:
        score = self._real(h).squeeze(1)
        if self._condition is not None:
            score = score + (h * self._condition(e)).sum(dim=1) / h.shape[1] ** 0.5
        return score
