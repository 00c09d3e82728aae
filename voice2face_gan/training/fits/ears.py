"""The layers of ears (models/generators/ears.py): real ears laid on one another, and the regression of their
pixels on three colours.

Sides of heads are of few kinds: hair that covers the ear, an ear before dark hair, a bald head before a light
wall. Each kind has a template of brightness, the mean of the half of its sides that is most like it, each
moved to where it is so (congealing, Learned-Miller, "Data driven image models through continuous joint
alignment", PAMI 2006, of shifts alone, by k-means). One template begins with a drawn ear, the others with
sides at random that are little like it, and take what is no ear.
"""

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from voice2face_gan.data.batches.sampling import random_source
from voice2face_gan.faces.align import zoomed
from voice2face_gan.faces.mean_shape import MEAN_SHAPE, SHAPE_STD
from voice2face_gan.models.generators.attributes import LUMINANCE
from voice2face_gan.models.generators.ears import BEYOND, HAIR, Ears, box_weights, offsets
from voice2face_gan.models.generators.expression import turns
from voice2face_gan.training.fits.faces import spread

MAX_FACES = 10_000  # that ears are looked for on

KINDS = 16
"""Of sides of heads."""

UNLIKE = 0.7
"""Correlation with the drawn ear below which a side may be what another template begins with."""

LEAST = 100
"""Sides with an ear that are needed: of fewer the regression would be one person's, or none."""

MARGIN = 0.047
"""How far an ear may lie beside its usual place; this and all that follow in fractions of the side, at zoom
1."""

COMPARED = ((-0.11, 0.11), (-0.21, 0.21))
"""Across and down from a patch's centre, what is compared."""

READ = ((-0.05, 0.0, -0.22, -0.14), (-0.12, -0.09, -0.06, 0.13))
"""Where hair and what is beyond are read here, as in BOXES: hair further out, where photographs have it and
drawn heads end, and what is beyond next to the ear, since further out there are walls and lamps."""

DRAWN_ANEW = ((-0.1, 0.047, 0.012), (-0.11, 0.156, 0.016))
"""Across and down, between which ends pixels are drawn anew, and how softly that begins."""

_ROUNDS = 12
_CENTRE, _RADII, _SLANT = (-0.03, 0.05), (0.028, 0.1), 0.25  # of the ellipse
_CHEEK = 0.03  # where its cheek begins
_TOP, _WITHIN = -0.05, 0.04  # above an ear the head ends so much further in than the ear's middle
_TOP_EDGE, _EDGE = 0.02, 0.005  # over which the one becomes the other; a step is a notch at the ear's top
_LEAST = 1e-3  # standard deviation of brightness
_TOGETHER = 1000  # sides that are compared at a time


def frontal(landmarks: Tensor, zoom: float) -> np.ndarray:
    """Places of faces to find ears on: the half that is turned least, in their order, evenly spread, at most
    MAX_FACES.

    Args:
        landmarks: (N, 68, 2), in fractions of the side. zoom: size of the faces, relative to the template.
    """
    away = landmarks - torch.as_tensor(zoomed(MEAN_SHAPE, zoom)).to(landmarks)
    turned = turns((away / (SHAPE_STD * zoom)).flatten(1)).abs()
    least = turned.argsort(stable=True)[: (len(turned) + 1) // 2].sort().values.numpy()
    return least[spread(len(least), MAX_FACES)]


@torch.no_grad()
def fit_ears(ears: Ears, faces: Iterable[tuple[Tensor, Tensor, Tensor]], seed: int) -> int:
    """Fits the layers; leaves them as they are where fewer than LEAST ears are found. How many are.

    Args:
        faces: images (B, 3, side, side) in [-1, 1], visible pixels (B, 1, side, side), 1 or 0, and landmarks
            (B, 68, 2) in pixels.
    """
    margin = max(1, round(MARGIN * ears.unit))
    wide = _collect(ears, faces, margin)
    if len(wide) < LEAST:
        return 0
    light = sum(share * wide[:, i : i + 1].float() for i, share in enumerate(LUMINANCE))
    height, width = ears.layers.shape[1:]
    x, y = (offsets(n, ears.unit).to(light) for n in (width, height))
    across, down = ((part > low) & (part < high) for part, (low, high) in zip((x, y), COMPARED, strict=True))
    compared = (down[:, None] & across).float()
    ear, inner = _drawn(x, y), slice(margin, -margin)
    like = _best(light, _normal(ear, compared), compared)[0][:, 0]
    unlike = (like < UNLIKE).nonzero()[:, 0]
    first = random_source(seed, "ears", 0).permutation(len(unlike))[: KINDS - 1]
    others = light[unlike[torch.from_numpy(first).to(light.device)]][:, :, inner, inner]
    templates = torch.cat([ear, others])
    for _ in range(_ROUNDS):
        templates = _normal(templates, compared)
        alike, shifts = _best(light, templates, compared)
        templates = _moved(light, templates, alike, shifts, compared)
    members = _of_kind(alike, 0)
    if len(members) < LEAST:
        return len(members)
    shifts = shifts[members, 0]
    # Ears are drawn where they lie on average.
    usual = shifts.float().mean(dim=0).round().long() - margin
    patches = _shifted(wide[members].float(), (shifts - usual).clamp(0, 2 * margin), height, width)
    colours = ears.colours(patches)
    boxes = box_weights(READ, height, width, ears.unit).to(patches)
    colours[:, [HAIR, BEYOND]] = torch.einsum("bchw,khw->bkc", patches, boxes)
    causes = colours.transpose(1, 2).flatten(0, 1)  # a row for each ear and channel
    pixels = patches.flatten(0, 1).flatten(1)
    shares = torch.linalg.lstsq(causes, pixels).solution
    # Hair and what is beyond are dark alike, and what is beyond would show between ear and cheek.
    within = _WITHIN * torch.sigmoid((_TOP - y) / _TOP_EDGE)[:, None]
    head = torch.sigmoid((x - _middle(y) - within) / _EDGE).flatten()
    of_head = torch.linalg.lstsq(causes[:, :BEYOND], pixels).solution
    shares = torch.lerp(shares, F.pad(of_head, (0, 0, 0, 1)), head)
    ears.layers[:3].copy_(shares.unflatten(1, (height, width)))
    soft_across, soft_down = (
        torch.sigmoid((part - low) / soft) * torch.sigmoid((high - part) / soft)
        for part, (low, high, soft) in zip((x, y), DRAWN_ANEW, strict=True)
    )
    ears.layers[3].copy_(soft_down[:, None] * soft_across)
    return len(members)


def _collect(ears: Ears, faces: Iterable[tuple[Tensor, Tensor, Tensor]], margin: int) -> Tensor:
    """Patches (N, 3, height + 2 margin, width + 2 margin) at the sides of heads that are visible but for the
    margin, right ones mirrored, in [0, 1], at whole pixels."""
    height, width = (n + 2 * margin for n in ears.layers.shape[1:])
    inner = slice(margin, -margin)
    found = [ears.layers.new_zeros(0, 3, height, width).half()]
    for images, visible, landmarks in faces:
        # At whole pixels: interpolation between them would blur.
        rows, columns = (part.round() for part in ears.places(landmarks, margin))
        patches = ears.patches(torch.cat([images, visible], dim=1), rows, columns)
        whole = patches[:, 3, inner, inner].amin(dim=(1, 2)) > 0
        for part in (rows[:, inner], columns[:, inner]):
            whole &= (part >= 0).all(dim=1) & (part < ears.side).all(dim=1)
        found.append(((patches[whole, :3] + 1) / 2).half())  # of 10,000 faces half a gigabyte
    return torch.cat(found)


def _normal(patches: Tensor, compared: Tensor) -> Tensor:
    """Patches (B, 1, height, width) less their mean, in their standard deviation, 0 where not compared."""
    count = compared.sum()
    apart = (patches - (patches * compared).sum(dim=(2, 3), keepdim=True) / count) * compared
    return apart / (apart.square().sum(dim=(2, 3), keepdim=True) / count).sqrt().clamp(min=_LEAST)


def _best(light: Tensor, templates: Tensor, compared: Tensor) -> tuple[Tensor, Tensor]:
    """The largest correlations (N, K) of sides with templates, and rows and columns (N, K, 2) of the sides
    where the templates then begin.

    Args:
        light: (N, 1, height + 2 margin, width + 2 margin).
        templates: (K, 1, height, width), as `_normal` gives them.
        compared: (height, width), 1 where they are compared, else 0.
    """
    count, compared = compared.sum(), compared[None, None]
    alike, shifts = [], []
    for piece in light.split(_TOGETHER):
        mean = F.conv2d(piece, compared) / count
        spread = (F.conv2d(piece.square(), compared) / count - mean.square()).clamp(min=_LEAST**2).sqrt()
        found = F.conv2d(piece, templates) / count / spread
        best, place = found.flatten(2).max(dim=2)
        alike.append(best)
        shifts.append(torch.stack([place // found.shape[3], place % found.shape[3]], dim=2))
    return torch.cat(alike), torch.cat(shifts)


def _moved(light: Tensor, templates: Tensor, alike: Tensor, shifts: Tensor, compared: Tensor) -> Tensor:
    """The next templates (K, 1, height, width): of each kind the mean of the half of its sides that is most
    like it; a template that is nobody's best stays."""
    found = []
    for kind, template in enumerate(templates):
        half = _of_kind(alike, kind)
        half = half[: (len(half) + 1) // 2]
        if len(half):
            patches = _shifted(light[half], shifts[half, kind], *compared.shape)
            template = _normal(patches, compared).mean(dim=0)
        found.append(template)
    return torch.stack(found)


def _of_kind(alike: Tensor, kind: int) -> Tensor:
    """The sides that are of a kind (B,), those that are most like its template first."""
    of_kind = (alike.argmax(dim=1) == kind).nonzero()[:, 0]
    return of_kind[alike[of_kind, kind].argsort(descending=True, stable=True)]


def _middle(y: Tensor) -> Tensor:
    """Where an ear's middle lies across, at places down (height,): (height, 1)."""
    return (_CENTRE[0] + _SLANT * (y - _CENTRE[1]))[:, None]


def _drawn(x: Tensor, y: Tensor) -> Tensor:
    """The template (1, 1, height, width) that the ears' kind begins with, of places across (width,) and down
    (height,): a bright ellipse and, to its right, a bright cheek."""
    across, down = x - _middle(y), (y - _CENTRE[1])[:, None]
    ear = (across / _RADII[0]).square() + (down / _RADII[1]).square() < 1
    return (ear | (x > _CHEEK)).float()[None, None]


def _shifted(wide: Tensor, shifts: Tensor, height: int, width: int) -> Tensor:
    """Patches (B, channels, height, width) of wider ones that begin at rows and columns (B, 2)."""
    found = []
    for patch, (row, column) in zip(wide, shifts.tolist(), strict=True):
        found.append(patch[:, row : row + height, column : column + width])
    return torch.stack(found)
