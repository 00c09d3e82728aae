"""Windows on heads: the part of its images that an iteration refines, and the part of that which is judged.

A window of half the side costs a quarter of the whole image, so that as much time shows a discriminator four
times the faces. Each lies on the head, which a window of half its height shares with all others about the
nose. What is refined is larger than what is judged, so that a border of the network's padding is judged as
little as it is in a whole image.
"""

from dataclasses import dataclass

import torch

from voice2face_gan.data.batches.sampling import random_source
from voice2face_gan.models.generators.regions import HEAD_CENTRE, HEAD_RADII

MARGIN = 16  # pixels around what is judged that are refined
_GRID = 8  # what is refined begins at multiples of it, as the refiner's coarsest maps do


@dataclass(frozen=True)
class Window:
    """A square part of an image, in pixels.

    Args:
        top, left: of its first pixel.
        side: of the square.
    """

    top: int
    left: int
    side: int

    def of(self, images: torch.Tensor) -> torch.Tensor:
        """The part of images (..., height, width)."""
        return images[..., self.top : self.top + self.side, self.left : self.left + self.side]

    def within(self, outer: "Window") -> "Window":
        """The same part, in pixels of an outer one."""
        return Window(self.top - outer.top, self.left - outer.left, self.side)


def draw_windows(seed: int, iteration: int, side: int, window: int, zoom: float) -> tuple[Window, Window]:
    """What is refined and what is judged in an iteration, the latter within the former; both the whole image
    where the window is as large.

    Args:
        side: of the image, a multiple of 8.
        window: side of what is judged.
        zoom: size of the faces, relative to the template.
    """
    if window >= side:
        return Window(0, 0, side), Window(0, 0, side)
    random, first = random_source(seed, "window", iteration), []
    for centre, radius in zip(reversed(HEAD_CENTRE), reversed(HEAD_RADII), strict=True):
        low, high = ((centre + sign * radius * zoom) * side for sign in (-1, 1))
        low, high = max(int(low), 0), min(int(high), side) - window
        first.append(int(random.integers(low, high + 1)) if high > low else max(min(low, side - window), 0))
    outer = min(-(-(window + 2 * MARGIN) // _GRID) * _GRID, side)
    top, left = (min(max(at - MARGIN, 0) // _GRID * _GRID, side - outer) for at in first)
    return Window(top, left, outer), Window(*first, window)
