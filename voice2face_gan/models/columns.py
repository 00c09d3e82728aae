"""4 x 4 windows at stride 2, padding 1, laid out as the rows of a matrix, and the way back (im2col, col2im).

With them a strided convolution and its transpose are matrix products over channels. Everything is channels
last: pictures (B, 2H, 2W, C), and windows (B x H x W, 16 C), the columns in the order row, column, channel.
"""

import torch.nn.functional as F
from torch import Tensor

# Which kernel rows reach the even and the odd rows of the picture: row 2i lies in window i at its row 1 and
# in window i - 1 at its row 3; row 2i + 1 in window i at its row 2 and in window i + 1 at its row 0. (parity,
# row, row of the neighbour, where the neighbour's share goes, where it comes from.)
_ROWS = (
    (0, 1, 3, slice(1, None), slice(None, -1)),
    (1, 2, 0, slice(None, -1), slice(1, None)),
)


def windows(picture: Tensor) -> Tensor:
    """Each window of the picture: (B, 2H, 2W, C) -> (B x H x W, 16 C)."""
    batch, height, width, channels = picture.shape
    padded = F.pad(picture, (0, 0, 1, 1, 1, 1)).contiguous()
    b, i, j, c = padded.stride()
    shape = (batch, height // 2, width // 2, 4, 4, channels)
    return padded.as_strided(shape, (b, 2 * i, 2 * j, i, j, c)).reshape(-1, 16 * channels)


def add_windows(values: Tensor, batch: int, height: int, width: int) -> Tensor:
    """The sum of what each window holds for a place: (B x H x W, 16 C) -> (B, 2H, 2W, C)."""
    values = values.view(batch, height, width, 4, 4, -1)
    picture = values.new_empty(batch, height, 2, width, 2, values.shape[-1])
    for row, k, k_next, to_y, from_y in _ROWS:
        for column, n, n_next, to_x, from_x in _ROWS:
            part = picture[:, :, row, :, column]
            part.copy_(values[:, :, :, k, n])
            part[:, to_y] += values[:, from_y, :, k_next, n]
            part[:, :, to_x] += values[:, :, from_x, k, n_next]
            part[:, to_y, to_x] += values[:, from_y, from_x, k_next, n_next]
    return picture.view(batch, 2 * height, 2 * width, -1)
