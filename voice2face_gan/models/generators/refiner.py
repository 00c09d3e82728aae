"""A small U-Net that gives a coarse image of a face its hair, skin and background.

    coarse image -> groups of 2 x 2 pixels -> three resolutions down, blocks, up again with skips -> + coarse
    image

It works at half the image's side and below, but for two convolutions at the end. Blocks are those of the
R3GAN networks. Their gains may be linear in a short code of what the face was made from (FiLM, Perez et al.,
AAAI 2018), which longer training turns into halos on some faces and softness on others. It begins as the
identity. Layout of Ronneberger et al., "U-Net", MICCAI 2015.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voice2face_gan.models.residual import SLOPE, Residual, one_by_one

_CODE = 64  # numbers that the gains depend on
_GROUP = 2  # side of a group of pixels
_WHOLE = 12  # channels at the image's own side


class Refiner(nn.Module):
    """forward: a coarse image (B, 3, side, side) in [-1, 1] and what it was made from (B, inputs) -> an image
    (B, 3, side, side), aimed at [-1, 1].

    Args:
        channels: at 1/2, 1/4 and 1/8 of the side.
        inputs: numbers that the image was made from; 0 for gains that do not depend on them.
    """

    def __init__(self, channels: tuple[int, int, int], inputs: int):
        super().__init__()
        fine, middle, coarse = channels
        self.code, size = None, 0
        if inputs:
            self.code, size = nn.Sequential(nn.Linear(inputs, _CODE), nn.LeakyReLU(SLOPE)), _CODE
        self.from_rgb = nn.Conv2d(3 * _GROUP**2, fine, 3, padding=1)
        self.down = nn.ModuleList([Residual(fine, size), Residual(middle, size)])
        self.widen = nn.ModuleList([one_by_one(fine, middle), one_by_one(middle, coarse)])
        self.deep = nn.ModuleList(Residual(coarse, size) for _ in range(3))
        self.narrow = nn.ModuleList([one_by_one(coarse, middle), one_by_one(middle, fine)])
        self.up = nn.ModuleList(
            nn.ModuleList([Residual(width, size), Residual(width, size)]) for width in (middle, fine)
        )
        # Pixel shuffle would leave a grid of groups in flat skin.
        self.whole = nn.Conv2d(fine, _WHOLE, 1)
        self.smooth = nn.Conv2d(_WHOLE, _WHOLE, 3, padding=1)
        self.to_rgb = nn.Conv2d(_WHOLE, 3, 3, padding=1)
        nn.init.zeros_(self.to_rgb.weight)
        nn.init.zeros_(self.to_rgb.bias)

    def forward(self, coarse: Tensor, condition: Tensor) -> Tensor:
        code = None if self.code is None else self.code(condition)
        # The convolutions then run channels last, on a CPU a fifth faster.
        coarse = coarse.contiguous(memory_format=torch.channels_last)
        x, skips = self.from_rgb(F.pixel_unshuffle(coarse, _GROUP)), []
        for block, widen in zip(self.down, self.widen, strict=True):
            x = block(x, code)
            skips.append(x)
            x = widen(F.avg_pool2d(x, 2))
        for block in self.deep:
            x = block(x, code)
        for narrow, blocks in zip(self.narrow, self.up, strict=True):
            x = skips.pop() + F.interpolate(narrow(x), scale_factor=2.0, mode="bilinear", align_corners=False)
            for block in blocks:
                x = block(x, code)
        size = coarse.shape[-2:]
        x = F.interpolate(self.whole(F.leaky_relu(x, SLOPE)), size, mode="bilinear", align_corners=False)
        x = self.smooth(x)
        return coarse + self.to_rgb(F.leaky_relu(x, SLOPE))
