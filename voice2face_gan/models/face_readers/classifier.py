"""The face classifier: a small fixed network that reads faces, trained apart from every generator.

It gives 64 numbers a face (for the cosine of two faces), and a probability of the label "female" and an
age. `v2f-gan train-face-classifier` trains one. Every result that it is used for has its name and hash.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voice2face_gan.errors import CheckpointError, first_line
from voice2face_gan.files import new_folder
from voice2face_gan.version import __version__

CHANNELS = (32, 64, 128, 256)
BLOCKS = (1, 1, 1, 1)
EMBEDDING = 64
SIDE = 64  # pixels
AGE_MEAN, AGE_STD = 45.0, 15.0  # years; the age head works in these units


class Residual(nn.Module):
    """Two 3x3 convolutions beside a short cut (He et al. 2016, Fig. 2); the first may halve the side.

    forward: (B, before, s, s) -> (B, channels, s / stride, s / stride), not negative.
    """

    def __init__(self, before: int, channels: int, stride: int = 1):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        nn.init.zeros_(self.body[-1].weight)  # each block begins as its short cut
        self.short = nn.Identity()
        if stride > 1 or before != channels:
            self.short = nn.Sequential(
                nn.AvgPool2d(stride), nn.Conv2d(before, channels, 1, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.short(x))


class ClassifierTrunk(nn.Module):
    """A small residual network; from its last 4x4 map an embedding, gender and age, each by one linear map.

    The map is not averaged over its places: faces are aligned, so a place is a part of the face.

    Args:
        channels: of each stage; the first works on 32x32, each further one on half the side.
        blocks: residual blocks of each stage.
        embedding: numbers a face.

    forward: (B, 3, 64, 64) in [-1, 1] -> embedding (B, 64), logit of "female" (B,), standardised age (B,).
    """

    def __init__(
        self,
        channels: Sequence[int] = CHANNELS,
        blocks: Sequence[int] = BLOCKS,
        embedding: int = EMBEDDING,
    ):
        super().__init__()
        self.config = {"channels": list(channels), "blocks": list(blocks), "embedding": embedding}
        before = channels[0]
        layers: list[nn.Module] = [
            nn.Conv2d(3, before, 3, 2, 1, bias=False),
            nn.BatchNorm2d(before),
            nn.ReLU(inplace=True),
        ]
        for stage, (width, count) in enumerate(zip(channels, blocks, strict=True)):
            for block in range(count):
                layers.append(Residual(before, width, 2 if stage and not block else 1))
                before = width
        places = (SIDE >> len(channels)) ** 2
        self.features = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2))
        self.embedding = nn.Linear(before * places, embedding)
        self.attributes = nn.Linear(before * places, 2)

    def forward(self, face: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.features(face)
        gender, age = self.attributes(h).unbind(1)
        return self.embedding(h), gender, age


@dataclass
class FaceClassifier:
    """A face classifier, ready for use.

    Attributes:
        name: as results print it: its folder's name and the first eight digits of its weights' SHA-256.
        net: the trunk, in evaluation mode.
        about: its config.json: what it was trained on and its accuracy on faces it never saw.
    """

    name: str
    net: ClassifierTrunk
    about: dict

    @torch.inference_mode()
    def read(self, faces: Tensor, batch: int = 256) -> tuple[Tensor, Tensor, Tensor]:
        """Faces float32 (N, 3, 64, 64) in [-1, 1] -> embedding (N, 64), P(female) (N,), age in years (N,).

        A face and its mirror image are read, and what is read in them is averaged.
        """
        h, gender, age = (
            torch.cat(parts) for parts in zip(*map(self._read, faces.split(batch)), strict=True)
        )
        return h, torch.sigmoid(gender), age * AGE_STD + AGE_MEAN

    def _read(self, faces: Tensor) -> list[Tensor]:
        return [(a + b) / 2 for a, b in zip(self.net(faces), self.net(faces.flip(-1)), strict=True)]


def save_classifier(folder: Path, net: ClassifierTrunk, about: dict) -> None:
    """Write a face classifier's folder, half precision, whole or not at all; one that is there is replaced.

    Args:
        about: what it was trained on, and its figures on people it never saw.
    """
    from safetensors.torch import save

    with new_folder(folder) as temporary:
        state = {k: v.half() if v.is_floating_point() else v for k, v in net.state_dict().items()}
        content = save({k: v.contiguous() for k, v in state.items()})
        (temporary / "model.safetensors").write_bytes(content)
        text = json.dumps({"voice2face_gan": __version__, "trunk": net.config, **about}, indent=2)
        (temporary / "config.json").write_text(text + "\n", encoding="utf-8")


def load_classifier(folder: str | Path) -> FaceClassifier:
    """Load a face classifier from its folder (config.json, model.safetensors).

    Raises:
        CheckpointError: missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    folder = Path(folder)
    try:
        about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        content = (folder / "model.safetensors").read_bytes()
        state = {k: v.float() if v.is_floating_point() else v for k, v in load(content).items()}
        net = ClassifierTrunk(**about["trunk"])
        net.load_state_dict(state)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder}: the face classifier cannot be read ({first_line(error)}); train one with "
            "v2f-gan train-face-classifier."
        ) from error
    net.eval().requires_grad_(False)
    net.to(memory_format=torch.channels_last)
    return FaceClassifier(f"{folder.name}-{hashlib.sha256(content).hexdigest()[:8]}", net, about)
