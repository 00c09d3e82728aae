"""The warp between an image and the mean shape, by a polyharmonic spline pinned at the border.

Cole et al., "Synthesizing Normalized Faces from Facial Identity Features", CVPR 2017: texture T
is in the mean shape; landmarks L and their displacements D = L - mean are interpolated by a spline, x and y
apart, with extra points on the image's border that do not move; the image is sampled through the dense flow,
with gradients for texture and landmarks. Two directions, both sampled backwards:

    to_mean    texture(p) = image(p + t(p)),    t through D at the nodes mean: one matrix for all faces
    to_image   image(p) = texture(q), by one of two renderings:
        inverse   q + t(q) = p: the inverse of `to_mean`, found by steps of a fixed point
        spline    q = p - s(p), s through D at the nodes L, as published: a system solved for every face

Textures to learn from come by `to_mean`, so that `inverse` draws them where they came from. Of 98 real faces
at 128 pixels, there and back, a pixel is 0.02 pixels off on average (99th percentile of faces 0.10), by
`spline` 0.95 (6.0) because splines through L and through the mean are no inverses; folded areas are 0.006 and
0.28 % of the image. The price: a landmark of an extreme pose is met less exactly, 0.17 pixels off on average
(2.4), by `spline` 0.09 (0.5).

Points are (x, y) everywhere, in pixels of the image at the interface and in fractions of the side inside;
pixel (0, 0) covers 0 to 1. TensorFlow's `sparse_image_warp`, which other ports of Speech2Face use, has (row,
column).
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voice2face_gan.errors import ImageError
from voice2face_gan.faces.mean_shape import MEAN_SHAPE
from voice2face_gan.models.generators.spline import ANCHORS, kernel, solve

ORDER = 2
BOUNDARY = 2
RENDERINGS = ("inverse", "spline")
_STEPS, _DAMPING = 16, 0.6  # of the fixed point; undamped, steps swing to and fro where a flow is steep
SMOOTHING = 1e-4
"""Added to the diagonal at landmarks, in the spline's units (fractions of the side): where a mouth is shut,
inner lips meet in a point that the mean shape has twice."""


def boundary_points(each: int = BOUNDARY) -> Tensor:
    """Points on the border of the unit square: its corners, and each edge in `each` equal parts.

    Args:
        each: parts of an edge, 1 or more; 2 gives the 8 points of `sparse_image_warp`'s num_boundary_points =
            2 (4 + 4 (each - 1)).
    Returns:
        float64 (4 each, 2), x and y; the three anchors of the spline come first.
    """
    if each < 1:
        raise ImageError("A warp needs its boundary's corners: at least 1 part of an edge.")
    corners = [*ANCHORS, (1.0, 1.0)]
    inner = [i / each for i in range(1, each)]
    edges = [point for t in inner for point in ((t, 0.0), (1.0, t), (t, 1.0), (0.0, t))]
    return torch.tensor(corners + edges, dtype=torch.float64)


class Warp(nn.Module):
    """Both directions of the warp, for images of one side.

    Args:
        side: of images and textures in pixels.
        order: of the spline, 1 (r, as `sparse_image_warp` has it) or 2 (r^2 log r, the thin plate).
        smoothing: added to the diagonal at the landmarks, 0 for a spline that passes through them.
        boundary: parts that each edge of the border is divided into by pinned points.
        rendering: of `to_image`, "inverse" or "spline".
        mean: float (N, 2), the mean shape in fractions of the side.

    Attributes:
        mean: (N, 2), the mean shape in pixels.
    """

    def __init__(
        self,
        side: int,
        order: int = ORDER,
        smoothing: float = SMOOTHING,
        boundary: int = BOUNDARY,
        rendering: str = RENDERINGS[0],
        mean: np.ndarray = MEAN_SHAPE,
    ):
        super().__init__()
        if order not in (1, 2) or smoothing < 0:
            raise ImageError(
                f"A warp of order {order} and smoothing {smoothing} is none; orders are 1 and 2."
            )
        if rendering not in RENDERINGS:
            raise ImageError(f"A warp renders by {' or '.join(RENDERINGS)}, not by '{rendering}'.")
        self.side, self.order, self.smoothing, self.rendering = side, order, smoothing, rendering
        # Computed also where weights are not yet: checkpoints are opened on the device meta, and hold none of
        # these.
        with torch.device("cpu"):
            nodes = torch.as_tensor(np.asarray(mean), dtype=torch.float64)
            pins = boundary_points(boundary)[len(ANCHORS) :]
            centres = (torch.arange(side, dtype=torch.float64) + 0.5) / side
            y, x = torch.meshgrid(centres, centres, indexing="ij")  # rows are y
            grid = torch.stack([x, y], dim=-1).flatten(0, 1)
            diagonal = torch.cat(
                [torch.full((len(nodes),), float(smoothing)), torch.zeros(len(pins))]
            ).double()
            whole = torch.cat([nodes, pins])
            system = kernel(whole, whole, order) + diagonal.diag()
            answers = torch.eye(len(whole), dtype=torch.float64)[:, : len(nodes)]  # pins have value 0
            constant = {
                "mean": nodes * side,
                "pins": pins,
                "grid": grid,
                "diagonal": diagonal,
                "mean_basis": kernel(grid, whole, order) @ torch.linalg.solve(system, answers),  # (side^2, N)
            }
        for name, value in constant.items():
            self.register_buffer(name, value.to(torch.get_default_dtype()), persistent=False)

    def to_image(self, textures: Tensor, landmarks: Tensor) -> Tensor:
        """Textures in the mean shape, drawn in the shape of landmarks.

        Args:
            textures: (B, C, side, side).
            landmarks: (B, N, 2), x and y in pixels of the image.
        Returns:
            (B, C, side, side), with gradients for both arguments; what lies beyond the texture's border
            repeats it.
        """
        if self.rendering == "spline":
            return sample(textures, self.grid - self.image_flow(landmarks))
        return sample(textures, self.inverse(landmarks))

    def to_mean(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """Images of faces, drawn in the mean shape: textures to learn from. Shapes as of `to_image`."""
        return sample(images, self.grid + self.mean_flow(landmarks))

    def inverse(self, landmarks: Tensor) -> Tensor:
        """The places of the mean shape that come to each pixel: (B, N, 2) in pixels -> (B, side^2, 2), x and
        y in fractions of the side; `mean_flow` takes them there."""
        flow = self.mean_flow(landmarks)
        field = flow.transpose(1, 2).unflatten(2, (self.side, self.side))
        places = self.grid - flow
        for _ in range(_STEPS):
            arrived = places + sample(field, places).flatten(2).transpose(1, 2)
            places = places + _DAMPING * (self.grid - arrived)
        return places

    def image_flow(self, landmarks: Tensor) -> Tensor:
        """Displacements through D at the landmarks: (B, N, 2) in pixels -> (B, side^2, 2), x and y in
        fractions of the side, row by row."""
        return self.flow_at(self.grid, landmarks)

    def flow_at(self, points: Tensor, landmarks: Tensor) -> Tensor:
        """`image_flow` at points (M, 2) in fractions of the side: (B, M, 2)."""
        displacement = (landmarks - self.mean) / self.side
        batch = landmarks.shape[0]
        nodes = torch.cat([landmarks / self.side, self.pins.expand(batch, -1, -1)], dim=1)
        values = torch.cat([displacement, torch.zeros_like(self.pins).expand(batch, -1, -1)], dim=1)
        system = kernel(nodes, nodes, self.order) + self.diagonal.diag()
        return kernel(points, nodes, self.order) @ solve(system, values)

    def mean_flow(self, landmarks: Tensor) -> Tensor:
        """Displacements through D at the mean shape; as of `image_flow`."""
        return self.mean_basis @ ((landmarks - self.mean) / self.side)


def sample(images: Tensor, points: Tensor) -> Tensor:
    """Bilinear values of images at points.

    Args:
        images: (B, C, side, side).
        points: (B, side^2, 2) or (side^2, 2), x and y in fractions of the side; beyond the border the nearest
            pixel.
    Returns:
        (B, C, side, side), row by row.
    """
    batch, _, height, width = images.shape
    grid = (2 * points - 1).expand(batch, -1, -1).reshape(batch, height, width, 2)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
