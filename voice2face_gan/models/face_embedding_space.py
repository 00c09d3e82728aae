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

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from voice2face_gan.errors import CheckpointError, first_line
from voice2face_gan.files import write_bytes
from voice2face_gan.models.face_readers.dlib_resnet import (
    DIMENSIONS,
    FEATURES,
    SIDE,
    DlibResnet,
    weights_file,
)
from voice2face_gan.models.face_space_base import AGE, COMPONENTS, SEX, SIZE, BaseFaceSpace

__all__ = ["AGE", "COMPONENTS", "SEX", "SIZE", "FaceSpace", "chip_place"]

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
_EPSILON = 1e-4  # keeps the root's slope finite


class FaceSpace(BaseFaceSpace):
    """Reads e from aligned faces by dlib's network.

    Attributes:
        chip: (3,), where a chip's pixels lie in the aligned face, see `chip_place`.
        centre (128,), basis (128, 62), scale (62,): embedding = centre + basis @ (scale * e[:62]).
        feature_mean, feature_std (2 x FEATURES,): of the features and their roots.
        head (2, 2 x FEATURES), head_bias (2,): sex and age, standardised, from them.
        name: of the space, with a hash of its numbers.
    """

    map_shapes = MAP_SHAPES
    prefix, naming = "face-space", ("basis", "head")
    chip_side = SIDE

    def __init__(self):
        super().__init__(DlibResnet())

    def chips(self, faces: Tensor, disturbed: Tensor | None = None) -> Tensor:
        """float (B, 3, side, side) in [-1, 1] -> (B, 3, 150, 150) in 0-255, as dlib wants them; arguments as
        in `BaseFaceSpace.chips`."""
        chips = super().chips(faces, disturbed)
        return (chips * 127.5 + 127.5).contiguous(memory_format=torch.channels_last)

    def read(self, faces: Tensor, disturbed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """dlib's embedding (B, 128) of aligned faces, and their sex and age (B, 2) as e spells them;
        arguments as in `chips`."""
        embedding, features = self.net(self.chips(faces.float(), disturbed))
        return embedding, self.attributes(features)

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

    @classmethod
    def of_map(
        cls, tensors: dict[str, Tensor], about: dict | None = None, reader: str | Path | None = None
    ) -> "FaceSpace":
        """A space of what `map_tensors` gave and of dlib's network as the extra `faces` has it, without
        gradients for its own numbers.

        Raises:
            CheckpointError: the extra `faces` is not installed.
        """
        space = cls()
        space.net.load_dat(weights_file())
        return space.with_map(tensors, about)

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
