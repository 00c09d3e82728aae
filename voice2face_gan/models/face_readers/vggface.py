"""VGG-Face: a face to fc7's 4096 numbers and fc8's 2622 identities, the feature of Speech2Face.

Parkhi, Vedaldi and Zisserman, "Deep Face Recognition", BMVC 2015, Table 3 (configuration A): VGG-16's
thirteen 3 x 3 convolutions in five blocks, each with ReLU and each block with a 2 x 2 pool; then fc6, fc7
(ReLU) and fc8. Its weights are in public files of three layouts (models/exchange/vggface_weights.py); none
ships with this package.

Each public file wants its own preprocessing, and they differ in order of channels, range and means. They are
presets:

    keras-vggface   BGR, 0-255, less (93.5940, 104.7624, 129.1863): blue, green, red
    deepface        BGR, [0, 1], no mean (its default, `base`)
    matconvnet      RGB, 0-255, less (129.1863, 104.7624, 93.5940): red, green, blue
    rgb-unit        RGB, [0, 1], no mean: no source's, but what Kacper-Pietkun/Speech-to-face's voice encoders
                    were trained with

VGGFace2's means (91.4953, 103.8827, 131.0912) belong to other networks.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voice2face_gan.errors import CheckpointError, first_line
from voice2face_gan.files import new_folder
from voice2face_gan.models.face_readers.base import FaceFeatures, FaceReaderNet, resized

SIDE = 224
BLOCKS = (2, 2, 3, 3, 3)  # convolutions of each block
CHANNELS = (64, 128, 256, 512, 512)
HIDDEN, CLASSES = 4096, 2622
GRID = SIDE >> len(BLOCKS)  # 7: side of the last map
CONVOLUTIONS = tuple(f"conv{b + 1}_{i + 1}" for b, count in enumerate(BLOCKS) for i in range(count))
LAYERS = (*CONVOLUTIONS, "fc6", "fc7", "fc8")

_MEAN_RGB = (129.1863, 104.7624, 93.5940)


@dataclass(frozen=True)
class Preprocessing:
    """A network's input.

    Attributes:
        order: "RGB" or "BGR".
        top: value of white, 255 or 1; black is 0 before the mean is taken off.
        mean: of each channel, in that order and range.
    """

    order: str
    top: float
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __call__(self, faces: Tensor) -> Tensor:
        """float (B, 3, s, s) RGB in [-1, 1] -> the network's input, at the same side."""
        x = (faces + 1) * (self.top / 2)
        if self.order == "BGR":
            x = x.flip(1)
        return x - x.new_tensor(self.mean).view(3, 1, 1)


PRESETS = {
    "keras-vggface": Preprocessing("BGR", 255.0, _MEAN_RGB[::-1]),
    "deepface": Preprocessing("BGR", 1.0),
    "matconvnet": Preprocessing("RGB", 255.0, _MEAN_RGB),
    "rgb-unit": Preprocessing("RGB", 1.0),
}


class VggFace(nn.Module):
    """The network.

    Args:
        channels: of the five blocks.
        hidden: numbers of fc6 and fc7.
        classes: identities of fc8.

    forward: (B, 3, 224, 224), preprocessed -> fc7 after its ReLU (B, hidden) and fc8 before softmax
        (B, classes).
    """

    def __init__(self, channels: tuple[int, ...] = CHANNELS, hidden: int = HIDDEN, classes: int = CLASSES):
        super().__init__()
        self.config = {"channels": list(channels), "hidden": hidden, "classes": classes}
        before = 3
        for name in CONVOLUTIONS:
            after = channels[int(name[4]) - 1]
            self.add_module(name, nn.Conv2d(before, after, 3, padding=1))
            before = after
        self.fc6 = nn.Linear(before * GRID**2, hidden)  # of the map flattened by channels, rows, columns
        self.fc7 = nn.Linear(hidden, hidden)
        self.fc8 = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for block, count in enumerate(BLOCKS):
            for i in range(count):
                x = F.relu(getattr(self, f"conv{block + 1}_{i + 1}")(x))
            x = F.max_pool2d(x, 2)
        fc7 = F.relu(self.fc7(F.relu(self.fc6(x.flatten(1)))))
        return fc7, self.fc8(fc7)


class VggFaceReader(FaceReaderNet):
    """VGG-Face as a face reader: aligned faces to fc7 and fc8.

    Args:
        net: with imported weights.
        preset: name of the preprocessing, one of PRESETS.
        about: of where the weights come from, for configurations.
    Raises:
        CheckpointError: no such preset.
    """

    positive = True

    def __init__(self, net: VggFace, preset: str, about: dict | None = None):
        super().__init__()
        if preset not in PRESETS:
            raise CheckpointError(
                f"There is no preprocessing '{preset}' of VGG-Face; take {', '.join(PRESETS)}."
            )
        self.net = net.eval().requires_grad_(False)
        self.preset, self.about = preset, about or {}
        self.name = f"vggface-{preset}"
        self.size, self.classes = net.config["hidden"], net.config["classes"]

    def forward(self, faces: Tensor) -> FaceFeatures:
        return FaceFeatures(*self.net(PRESETS[self.preset](resized(faces.float(), SIDE))))

    def classify(self, feature: Tensor) -> Tensor:
        return self.net.fc8(feature)

    def save(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors, whole or not at all; a folder that is there is
        replaced."""
        from safetensors.torch import save_file

        with new_folder(Path(folder)) as temporary:
            save_file(
                {k: v.contiguous() for k, v in self.net.state_dict().items()}, temporary / "model.safetensors"
            )
            config = {
                "reader": "vggface",
                "preset": self.preset,
                "network": self.net.config,
                "about": self.about,
            }
            (temporary / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> "VggFaceReader":
        """A reader from the folder that `save` wrote.

        Raises:
            CheckpointError: missing, damaged or of another kind.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        folder = Path(folder)
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            sizes = config["network"]
            with torch.device("meta"):  # half a gigabyte need not be drawn at random first
                net = VggFace(tuple(sizes["channels"]), sizes["hidden"], sizes["classes"])
            net.load_state_dict(load_file(folder / "model.safetensors"), assign=True)
            preset, about = config["preset"], config.get("about")
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(
                f"{folder}: not a VGG-Face reader ({first_line(error)}); "
                "import a weight file with convert vggface."
            ) from error
        return cls(net, preset, about)
