"""Which people and clips are judged: everybody of a split who has a voice and a face."""

import numpy as np
import torch
from torch import Tensor

from voice2face_gan.data.batches.sampling import VoiceBank
from voice2face_gan.data.store import Store
from voice2face_gan.errors import DataError
from voice2face_gan.evaluation.eval_set import EvalSet, kept_faces, painted
from voice2face_gan.evaluation.readers import FaceReader, open_reader
from voice2face_gan.pipeline import VoiceToFace


def identities_with_voice_and_face(
    store: Store, split: str = "test", gender: str = "all"
) -> tuple[Store, Store]:
    """Voices and faces of the people of a split who have both.

    Args:
        split: "test", "val", "train" or "all".
        gender: "female", "male" or "all".
    Raises:
        DataError: nobody in that part of the data has both.
    """
    part = store.of_gender(gender).of_split(split)
    both = np.intersect1d(part.identity[part.has_voice], part.identity[part.has_face])
    part = part.select(np.isin(part.identity, both))
    if not len(part):
        raise DataError(f"{store.folder}: nobody in the split '{split}' has both a voice and a face.")
    return part.select(part.has_voice), part.select(part.has_face)


def generate_eval_set(
    model: VoiceToFace,
    store: Store,
    split: str = "test",
    gender: str = "all",
    judge: FaceReader | None = None,
) -> EvalSet:
    """Faces for every voice of the people of a split who have voices and faces.

    Args:
        model: what is judged; its plain answer, without noise.
        store: prepared with the model's log-mel settings.
        split: "test", "val", "train" or "all".
        gender: "female", "male" or "all".
        judge: default: the trunk that ships with the package.
    Raises:
        DataError: nobody in that part of the data has both, or the log-mel settings differ.
    """
    if model.checkpoint.features != store.about["features"]:
        raise DataError(
            f"{store.folder}: prepared with other log-mel settings than the checkpoint's; prepare it again."
        )
    voices, faces = identities_with_voice_and_face(store, split, gender)
    about = {"checkpoint": model.name, "trained_on": _trained_on(model, split)}
    generated = painted(model, embed_all(model, voices))
    return make_eval_set(generated, voices, faces, store, split, gender, judge, about, model)


def make_eval_set(
    generated, voices, faces, store, split, gender, judge=None, about=None, model=None
) -> EvalSet:
    """A case of faces that are there already, uint8 (clips, side, side, 3), in the order of `voices` and
    framed as the template."""
    return EvalSet(
        generated=generated,
        generated_identity=voices.identity,
        generated_gender=voices.gender,
        real=kept_faces(store, faces.face_index),
        real_identity=faces.identity,
        real_age=faces.age if np.isfinite(faces.age).any() else None,
        judge=judge or open_reader(),
        about={
            **(about or {}),
            "data": str(store.about["source"].get("layout", "")) or str(store.folder),
            "split": split,
            "gender": gender,
            "identities": len(np.unique(voices.identity)),
            "clips": len(voices),
            "faces": len(faces),
        },
        model=model,
        voices=voices,
        store=store,
    )


def embed_all(model: VoiceToFace, voices: Store, frames: int = 0) -> Tensor:
    """Embeddings float32 (clips, embedding) of every voice of a store.

    Args:
        frames: use only the first so many frames of each voice; 0 for all of them. Either way a short voice
            is repeated to the length that the features ask for.
    """
    if frames:
        voices = voices.select(np.ones(len(voices), dtype=bool))
        voices.voice_frames = np.minimum(voices.voice_frames, frames)
    bank = VoiceBank.unlabelled(voices, model.encoder.raw_log_mel)
    return torch.stack([model.embed(bank.whole(i)) for i in range(len(bank))])


def _trained_on(model: VoiceToFace, split: str) -> bool:
    """Whether the people judged may have been trained on."""
    recipe = model.checkpoint.info.get("recipe", {})
    return split in ("train", "all") or recipe.get("data", {}).get("split") == "all"
