"""A classifier by angle, with a margin (Deng et al., "ArcFace", CVPR 2019, equation 3)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MarginHead(nn.Module):
    """Logits scale x cos(angle between e and each class). In training the own class's angle counts as
    `margin` larger, so that the others must be further away than is needed to be right.

    Args:
        width: of e.
        classes: how many.
        margin: in radians, 0 or more; 0.2 is usual for speakers.
        scale: above 0; 30 is usual.
    """

    def __init__(self, width: int, classes: int, margin: float, scale: float):
        super().__init__()
        self.margin, self.scale = margin, scale
        # Embeddings start all alike; without their mean the angles between them are wide from the beginning.
        self.norm = nn.BatchNorm1d(width, affine=False)
        self.weight = nn.Parameter(torch.randn(classes, width))

    def forward(self, e: Tensor) -> Tensor:
        """(B, width) -> (B, classes), without the margin."""
        return self.scale * F.linear(F.normalize(self.norm(e)), F.normalize(self.weight))

    def with_margin(self, logits: Tensor, labels: Tensor) -> Tensor:
        """What `forward` gave, with the margin on each row's own class, int64 (B,).

        cos(angle + margin); where that would turn round (angle + margin beyond pi), a line that goes on
        falling: cos(angle) - margin x sin(margin).
        """
        own = labels[:, None]
        cosine = (logits.gather(1, own) / self.scale).clamp(-1 + 1e-6, 1 - 1e-6)
        turned = torch.cos(cosine.acos() + self.margin)
        turns = cosine < -math.cos(self.margin)
        turned = torch.where(turns, cosine - self.margin * math.sin(self.margin), turned)
        return logits.scatter(1, own, self.scale * turned)
