"""The judge trunk: a small fixed network that reads faces, trained apart from every generator.

It gives 64 numbers a face (for the cosine of two faces), and a probability of the label "female" and an
age. Judges are trained by `v2f-gan train-judge` and named and hashed in every result they judge.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from voice2face_gan import __version__
from voice2face_gan.errors import CheckpointError, first_line
from voice2face_gan.files import replace_folder, temporary_beside

CHANNELS = (16, 32, 64, 128, 256)
EMBEDDING = 64
AGE_MEAN, AGE_STD = 45.0, 15.0  # years; the age head works in these units


class JudgeTrunk(nn.Module):
    """Five stride-2 convolutions with batch normalisation, then two heads on a 64-d embedding.

    forward: (B, 3, 64, 64) in [-1, 1] -> embedding (B, 64), logit of "female" (B,), standardised age (B,).
    """

    def __init__(self):
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for channels in CHANNELS:  # 64 -> 32 -> 16 -> 8 -> 4 -> 2
            layers += [
                nn.Conv2d(before, channels, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            ]
            before = channels
        self.features = nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * 4, EMBEDDING))
        self.gender = nn.Linear(EMBEDDING, 1)
        self.age = nn.Linear(EMBEDDING, 1)

    def forward(self, face: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.features(face)
        return h, self.gender(h).squeeze(1), self.age(h).squeeze(1)


@dataclass
class Judge:
    """A judge trunk, ready for use.

    Attributes:
        name: as results print it: its folder's name and the first eight digits of its weights' SHA-256.
        net: the trunk, in evaluation mode.
        about: its config.json: what it was trained on and its accuracy on faces it never saw.
    """

    name: str
    net: JudgeTrunk
    about: dict

    @torch.inference_mode()
    def read(self, faces: Tensor, batch: int = 256) -> tuple[Tensor, Tensor, Tensor]:
        """Faces float32 (N, 3, 64, 64) in [-1, 1] -> embedding (N, 64), P(female) (N,), age in years (N,)."""
        h, gender, age = (torch.cat(p) for p in zip(*(self.net(f) for f in faces.split(batch)), strict=True))
        return h, torch.sigmoid(gender), age * AGE_STD + AGE_MEAN


def save_judge(folder: Path, net: JudgeTrunk, about: dict) -> None:
    """Write a judge's folder, half precision, whole or not at all; one that is there is replaced.

    Args:
        about: what it was trained on, and its figures on people it never saw.
    """
    from safetensors.torch import save

    temporary = temporary_beside(folder)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        state = {k: v.half() if v.is_floating_point() else v for k, v in net.state_dict().items()}
        content = save({k: v.contiguous() for k, v in state.items()})
        (temporary / "model.safetensors").write_bytes(content)
        text = json.dumps({"voice2face_gan": __version__, **about}, indent=2)
        (temporary / "config.json").write_text(text + "\n", encoding="utf-8")
        replace_folder(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load_judge(folder: str | Path) -> Judge:
    """Load a judge from its folder (config.json, model.safetensors).

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
        net = JudgeTrunk()
        net.load_state_dict(state)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder}: the judge cannot be read ({first_line(error)}); train one with train-judge."
        ) from error
    net.eval().requires_grad_(False)
    return Judge(f"{folder.name}-{hashlib.sha256(content).hexdigest()[:8]}", net, about)
