"""What is judged: a generated face for every held-out clip, beside the real faces of its speaker."""

from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from voice2face_gan.data.sampling import VoiceBank
from voice2face_gan.data.store import Store
from voice2face_gan.errors import DataError
from voice2face_gan.faces.pixels import to_grid
from voice2face_gan.models.judge import Judge, load_judge
from voice2face_gan.pipeline import VoiceToFace
from voice2face_gan.resources import resource

JUDGE = "judge-builtin"


@dataclass
class Case:
    """Generated and real faces of the same people.

    Attributes:
        generated: uint8 (clips, 64, 64, 3), one a clip.
        generated_identity: (clips,) whose voice it was.
        generated_gender: (clips,) "female", "male" or "".
        real: uint8 (faces, 64, 64, 3).
        real_identity: (faces,).
        judge: the fixed trunk that judges.
        about: checkpoint, data, split, gender, counts.
    """

    generated: Tensor
    generated_identity: np.ndarray
    generated_gender: np.ndarray
    real: Tensor
    real_identity: np.ndarray
    judge: Judge
    about: dict = field(default_factory=dict)

    def own_faces(self) -> list[np.ndarray]:
        """For each clip, the indices of its speaker's real faces."""
        order = {name: np.flatnonzero(self.real_identity == name) for name in np.unique(self.real_identity)}
        return [order[name] for name in self.generated_identity]


def default_judge() -> Judge:
    """The judge that ships with the package: sex, age and identity of rendered faces."""
    return load_judge(resource("assets", JUDGE))


def generate_case(model: VoiceToFace, store: Store, split: str = "test", gender: str = "all") -> Case:
    """Faces for every voice of the people of a split who have voices and faces.

    Args:
        model: what is judged; its plain answer, without noise.
        store: prepared with the model's log-mel settings.
        split: "test", "val", "train" or "all".
        gender: "female", "male" or "all".
    Raises:
        DataError: nobody in that part of the data has both, or the log-mel settings differ.
    """
    if model.checkpoint.features != store.about["features"]:
        raise DataError(
            f"{store.folder}: prepared with other log-mel settings than the checkpoint's; prepare it again."
        )
    part = store.of_gender(gender).of_split(split)
    both = np.intersect1d(part.identity[part.has_voice], part.identity[part.has_face])
    part = part.select(np.isin(part.identity, both))
    if not len(part):
        raise DataError(f"{store.folder}: nobody in the split '{split}' has both a voice and a face.")
    voices, faces = part.select(part.has_voice), part.select(part.has_face)
    bank = VoiceBank(voices, np.zeros(len(voices), dtype=np.int64), store.about["features"]["min_frames"])
    e = torch.stack([model.embed(bank.whole(i)) for i in range(len(bank))])
    about = {
        "checkpoint": model.name,
        "data": str(store.about["source"].get("layout", "")) or str(store.folder),
        "split": split,
        "gender": gender,
        "identities": len(both),
        "clips": len(voices),
        "faces": len(faces),
        "trained_on": _trained_on(model, split),
    }
    return Case(
        generated=model.decode(e),
        generated_identity=voices.identity,
        generated_gender=voices.gender,
        real=torch.from_numpy(store.faces[faces.face_index]),
        real_identity=faces.identity,
        judge=default_judge(),
        about=about,
    )


def sheet(case: Case, people: int = 12, scale: int = 2) -> Image.Image:
    """The first people of a case in the data's order: above a real face of each, below the face generated
    from the person's first voice."""
    names = list(dict.fromkeys(case.generated_identity.tolist()))[:people]
    real = torch.stack([case.real[np.flatnonzero(case.real_identity == name)[0]] for name in names])
    made = torch.stack([case.generated[np.flatnonzero(case.generated_identity == name)[0]] for name in names])
    grid = to_grid(torch.cat([real, made]), columns=len(names))
    return grid.resize((grid.width * scale, grid.height * scale), Image.Resampling.LANCZOS)


def _trained_on(model: VoiceToFace, split: str) -> bool:
    """Whether the people judged may have been trained on."""
    recipe = model.checkpoint.info.get("recipe", {})
    return split in ("train", "all") or recipe.get("data", {}).get("split") == "all"
