"""One space for both senses: what a face shows, as 64 numbers that a voice encoder can be asked for.

    face (aligned) -> chip -> dlib's network -> embedding (128), sex, age -> e (64)

e holds the leading principal components of the embedding, each of variance 1 over many faces, and in its last
two elements the sex and the age that are read from the same network's features. Reading is differentiable: a
generated face can be asked for the e it was made from, and `target` says which embedding an e calls for.

A space is a folder, made by `v2f-gan face-space` from prepared faces: `space.json` and `space.safetensors`.
It holds dlib's network, so that training needs no dlib. A checkpoint keeps the space that its networks were
trained on without that network, whose weights are not ours to ship; `of_map` takes them from the extra
`faces`.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from voice2face_gan.errors import CheckpointError, first_line
from voice2face_gan.faces.pixels import to_unit
from voice2face_gan.files import write_bytes
from voice2face_gan.models.face_readers.dlib_resnet import (
    DIMENSIONS,
    FEATURES,
    SIDE,
    DlibResnet,
    weights_file,
)

SIZE = 64
COMPONENTS = SIZE - 2
SEX, AGE = COMPONENTS, COMPONENTS + 1  # places in e
ABOUT, WEIGHTS = "space.json", "space.safetensors"

# Everything of a space but the network: name -> shape. What a checkpoint keeps of it.
MAP_SHAPES = {
    "chip": (3,),
    "centre": (DIMENSIONS,),
    "basis": (DIMENSIONS, COMPONENTS),
    "scale": (COMPONENTS,),
    "feature_mean": (2 * FEATURES,),
    "feature_std": (2 * FEATURES,),
    "head": (2, 2 * FEATURES),
    "head_bias": (2,),
    "age_mean": (),
    "age_std": (),
}

# Where dlib lays the five landmarks of a face in a chip without margin, as parts of its side; the chips that
# its encoder was trained on have a margin of a quarter.
CHIP_POINTS = (
    (0.8595674595992, 0.2134981538014),
    (0.6460604764104, 0.2289674387677),
    (0.1205750620789, 0.2137274526848),
    (0.3340850613712, 0.2290642403242),
    (0.4901123135679, 0.6277975316475),
)
_MARGIN = 0.25
_PIECE = 128  # faces read together
_EPSILON = 1e-4  # keeps the root's slope finite


class FaceSpace(nn.Module):
    """Reads e from aligned faces.

    Attributes:
        chip: (3,), where a chip's pixels lie in the aligned face, see `chip_place`.
        centre (128,), basis (128, 62), scale (62,): embedding = centre + basis @ (scale * e[:62]).
        feature_mean, feature_std (2 x FEATURES,): of the features and their roots.
        head (2, 2 x FEATURES), head_bias (2,): sex and age, standardised, from them.
        name: of the space, with a hash of its numbers.
    """

    def __init__(self):
        super().__init__()
        self.net = DlibResnet()
        for name, shape in MAP_SHAPES.items():
            self.register_buffer(name, torch.zeros(shape))
        self.about: dict = {}

    @property
    def name(self) -> str:
        digest = hashlib.sha256(self.basis.cpu().numpy().tobytes() + self.head.cpu().numpy().tobytes())
        return f"face-space-{digest.hexdigest()[:8]}"

    @property
    def network(self) -> str:
        """A hash of the network's weights."""
        parts = (part.cpu().numpy().tobytes() for part in self.net.state_dict().values())
        return hashlib.sha256(b"".join(parts)).hexdigest()[:8]

    def chips(self, faces: Tensor, disturbed: Tensor | None = None) -> Tensor:
        """float (B, 3, side, side) in [-1, 1] -> (B, 3, 150, 150) in 0-255, as dlib wants them.

        Aligned faces are upright, and so is a chip: rows and columns are resampled (bicubic) one after the
        other, by matrix products, which are much faster backwards than a grid.

        Args:
            disturbed: (B, 3) further zoom of the places that a chip shows, and their shift right and down, in
                half sides of the face; None for none.
        """
        zoom, right, down = self.chip
        place = torch.arange(SIDE, device=faces.device, dtype=torch.float32)
        across, along = (zoom * place + right)[None], (zoom * place + down)[None]  # (1, 150) in [-1, 1]
        if disturbed is not None:
            more, to_right, to_below = disturbed.split(1, dim=1)
            across, along = more * across + to_right, more * along + to_below
        side = faces.shape[-1]
        chips = _cubic(along, side)[:, None] @ faces @ _cubic(across, side)[:, None].transpose(2, 3)
        return (chips * 127.5 + 127.5).contiguous(memory_format=torch.channels_last)

    def read(self, faces: Tensor, disturbed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """dlib's embedding (B, 128) of aligned faces, and their sex and age (B, 2) as e spells them;
        arguments as in `chips`."""
        embedding, features = self.net(self.chips(faces.float(), disturbed))
        return embedding, self.attributes(features)

    def forward(self, faces: Tensor) -> Tensor:
        """float (B, 3, side, side) in [-1, 1] -> e (B, 64)."""
        return self.encode(*self.read(faces))

    def encode(self, embedding: Tensor, attributes: Tensor) -> Tensor:
        components = (embedding - self.centre) @ self.basis / self.scale
        return torch.cat([components, attributes], dim=1)

    def target(self, e: Tensor) -> tuple[Tensor, Tensor]:
        """The embedding (B, 128) and the sex and age (B, 2) that e (B, 64) calls for."""
        return self.centre + (e[:, :COMPONENTS] * self.scale) @ self.basis.t(), e[:, COMPONENTS:]

    def years(self, e: Tensor) -> Tensor:
        """Age in years of e (B, 64)."""
        return e[:, AGE] * self.age_std + self.age_mean

    def attributes(self, features: Tensor) -> Tensor:
        standard = (self.shaped(features) - self.feature_mean) / self.feature_std
        return standard @ self.head.t() + self.head_bias

    @staticmethod
    def shaped(features: Tensor) -> Tensor:
        return torch.cat([features, (features + _EPSILON).sqrt()], dim=1)

    def save(self, folder: str | Path) -> None:
        from safetensors.torch import save

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / WEIGHTS, save({k: v.contiguous() for k, v in self.state_dict().items()}))
        write_bytes(folder / ABOUT, (json.dumps({"name": self.name, **self.about}, indent=2) + "\n").encode())

    def summary(self) -> dict:
        """Name, and how it was fitted, without the paths of the machine that fitted it."""
        about = {k: v for k, v in self.about.items() if k != "trained_on"}
        return {**about, "name": self.name}

    def map_tensors(self) -> dict[str, Tensor]:
        """Everything but the network, by name: what a checkpoint keeps."""
        return {name: getattr(self, name).detach().cpu().clone() for name in MAP_SHAPES}

    @classmethod
    def of_map(cls, tensors: dict[str, Tensor], about: dict | None = None) -> "FaceSpace":
        """A space of what `map_tensors` gave and of dlib's network as the extra `faces` has it, without
        gradients for its own numbers.

        Raises:
            CheckpointError: the extra `faces` is not installed.
        """
        space = cls()
        space.load_state_dict(tensors, strict=False)
        space.net.load_dat(weights_file())
        space.about = about or {}
        return space.eval().requires_grad_(False)

    @torch.no_grad()
    def encode_faces(self, faces: Tensor, progress=None) -> Tensor:
        """e (N, 64) of faces as stores hold them, on the space's device, a piece at a time.

        Args:
            faces: uint8 (N, side, side, 3), framed as those that the space was fitted on.
            progress: called with (done, total) after each piece.
        """
        parts = []
        for start in range(0, len(faces), _PIECE):
            piece = to_unit(faces[start : start + _PIECE].to(self.chip.device))
            parts.append(self(piece).cpu())
            if progress:
                progress(min(start + _PIECE, len(faces)), len(faces))
        return torch.cat(parts) if parts else torch.zeros(0, SIZE)

    @classmethod
    def load(cls, folder: str | Path) -> "FaceSpace":
        """A space from its folder, without gradients for its own numbers.

        Raises:
            CheckpointError: it is missing or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        folder = Path(folder)
        try:
            space = cls()
            space.load_state_dict(load_file(folder / WEIGHTS))
            space.about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(
                f"{folder} is no usable face space ({first_line(error)}); make one with v2f-gan face-space."
            ) from error
        return space.eval().requires_grad_(False)


def _cubic(place: Tensor, side: int) -> Tensor:
    """(B, N) places in [-1, 1] -> (B, N, side) weights of the pixels there by cubic convolution (Keys 1981,
    a = -1/2); beyond the border the nearest pixels count."""
    at = ((place + 1) * side - 1) / 2
    away = (at.clamp(0, side - 1)[..., None] - torch.arange(side, device=place.device)).abs()
    near = (1.5 * away - 2.5) * away * away + 1
    far = ((-0.5 * away + 2.5) * away - 4) * away + 2
    weights = torch.where(away <= 1, near, torch.where(away < 2, far, torch.zeros_like(far)))
    return weights / weights.sum(dim=-1, keepdim=True)


def chip_place(points: np.ndarray, side: float) -> Tensor:
    """Where the pixels of a chip lie in an aligned face.

    Args:
        points: (5, 2) dlib's landmarks x, y of the average aligned face, in pixels.
        side: of the image they are in, in pixels.
    Returns:
        float32 (3,), zoom, right and down: a chip's pixel (x, y) lies at (zoom x + right, zoom y + down) of
        the aligned face, in [-1, 1]; least squares.
    """
    chip = (np.array(CHIP_POINTS) + _MARGIN) / (1 + 2 * _MARGIN) * SIDE
    rows, values = [], []
    for (x, y), (u, v) in zip(chip, points, strict=True):
        rows += [[x, 1, 0], [y, 0, 1]]
        values += [u, v]
    zoom, right, down = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    # Pixel i's middle is at i + 1/2.
    place = np.array([zoom, right + 0.5, down + 0.5]) * 2 / side
    return torch.from_numpy(place - [0, 1, 1]).float()
