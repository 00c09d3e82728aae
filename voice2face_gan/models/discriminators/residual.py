"""A discriminator of residual blocks without normalisation that also judges parts of an image.

    image -> groups of 4 x 4 pixels -> blocks, half the side each, down to 4 x 4 -> score of the whole
                                       after the second block                    -> mean score of the parts

Grouping (Shi et al., CVPR 2016) keeps every pixel at a sixteenth of the places. Scores of parts are those of
PatchGAN (Isola et al., "Image-to-image translation with conditional adversarial networks", CVPR 2017): fine
structure is judged wherever it is.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voice2face_gan.models.residual import SLOPE, Residual, one_by_one

_GROUP = 4  # side of a group of pixels
_LAST = 4  # side of the last map
_WIDTHS = (64, 96, 128)  # of the maps; the last repeats


class ResidualDiscriminator(nn.Module):
    """forward: images (B, 3, side, side) in [-1, 1] -> scores (B,), high for real ones.

    Args:
        side: of the images, a multiple of 32.
    """

    def __init__(self, side: int):
        super().__init__()
        levels, at = 1, side // _GROUP
        while at > _LAST:
            at, levels = at // 2, levels + 1
        widths = [_WIDTHS[min(level, len(_WIDTHS) - 1)] for level in range(levels)]
        self.local_level = min(1, levels - 1)
        self.from_rgb = nn.Conv2d(3 * _GROUP**2, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(Residual(width) for width in widths)
        self.widen = nn.ModuleList(one_by_one(a, b) for a, b in zip(widths, widths[1:], strict=False))
        # Each channel's last map against a learned pattern of its own.
        self.pattern = nn.Parameter(torch.randn(widths[-1], at, at) / _LAST)
        self.whole = nn.Linear(widths[-1], 1)
        self.local = nn.Conv2d(widths[self.local_level], 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.with_maps(images)[0]

    def with_maps(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Scores (B,), and the maps after each block, (B, width, side, side)."""
        x, maps = self.from_rgb(F.pixel_unshuffle(images, _GROUP)), []
        for i, block in enumerate(self.blocks):
            x = block(x)
            maps.append(x)
            if i < len(self.widen):
                x = self.widen[i](F.avg_pool2d(x, 2))
        features = (F.leaky_relu(x, SLOPE) * self.pattern.to(x.dtype)).sum(dim=(2, 3))
        local = self.local(F.leaky_relu(maps[self.local_level], SLOPE)).mean(dim=(1, 2, 3))
        return self.whole(features).squeeze(1) + local, maps
