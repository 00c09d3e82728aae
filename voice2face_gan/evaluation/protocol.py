"""The protocol of an evaluation: every identity of a split with a voice and a face, and all of its clips."""

import numpy as np
import torch
from torch import Tensor

from voice2face_gan.audio.log_mel import FeatureSettings
from voice2face_gan.data.batches.sampling import VoiceBank
from voice2face_gan.data.store import Store
from voice2face_gan.errors import DataError
from voice2face_gan.evaluation.eval_set import EvalSet, framed_faces, generate_framed
from voice2face_gan.evaluation.readers import FaceReader, open_reader
from voice2face_gan.pipeline import VoiceToFace


def identities_with_voice_and_face(
    store: Store, split: str = "test", gender: str = "all"
) -> tuple[Store, Store]:
    """Voices and faces of the identities of a split that have both.

    Args:
        split: "test", "val", "train" or "all".
        gender: "female", "male" or "all".
    Raises:
        DataError: no identity in that part of the data has both.
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
    reader: FaceReader | None = None,
    strength: float | None = None,
    noise_scale: float = 1.0,
) -> EvalSet:
    """A face for every clip of the identities of a split that have voices and faces.

    Args:
        model: the model to evaluate.
        store: prepared with the model's log-mel settings.
        split: "test", "val", "train" or "all".
        gender: "female", "male" or "all".
        reader: default: the face classifier that ships with the package.
        strength, noise_scale: see `GenerateOptions`.
    Raises:
        DataError: no identity in that part of the data has both, or the log-mel settings differ.
        CheckpointError: the model has no strength to set.
    """
    if model.checkpoint.features != store.about["features"]:
        raise DataError(
            f"{store.folder}: prepared with other log-mel settings than the checkpoint's; prepare it again."
        )
    voices, faces = identities_with_voice_and_face(store, split, gender)
    about = {"checkpoint": model.name, "trained_on": _trained_on(model, split)}
    e = generator_inputs(model, voices, strength=strength)
    generated = generate_framed(model, e, noise_scale=noise_scale)
    made = make_eval_set(generated, voices, faces, store, split, gender, reader, about, model)
    made.strength, made.noise_scale, made.e = strength, noise_scale, e.cpu()
    return made


def make_eval_set(
    generated, voices, faces, store, split, gender, reader=None, about=None, model=None
) -> EvalSet:
    """An evaluation set of given faces, uint8 (clips, side, side, 3).

    They are in the order of `voices` and framed as the template."""
    return EvalSet(
        generated=generated,
        generated_identity=voices.identity,
        generated_gender=voices.gender,
        real=framed_faces(store, faces.face_index),
        real_identity=faces.identity,
        real_age=faces.age if np.isfinite(faces.age).any() else None,
        reader=reader or open_reader(),
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


def generator_inputs(
    model: VoiceToFace, voices: Store, frames: int = 0, strength: float | None = None
) -> Tensor:
    """Inputs of the generator, float32 (clips, embedding), for every voice of a store.

    Args:
        frames: number of first frames of each voice that are used; 0 for all of them. Either way a short
            voice is repeated to the length that the features ask for.
        strength: see `GenerateOptions`.
    """
    if frames:
        voices = voices.select(np.ones(len(voices), dtype=bool))
        voices.voice_frames = np.minimum(voices.voice_frames, frames)
        features = FeatureSettings.from_dict(voices.about["features"])
        voices.speech_samples = np.minimum(
            voices.speech_samples, (frames - 1) * features.hop + features.window
        )
    bank = VoiceBank.unlabelled(voices, model.encoder.takes)
    return torch.stack([model.generator_input(bank.whole(i), strength) for i in range(len(bank))])


def predicted_embeddings(model: VoiceToFace, voices: Store) -> Tensor:
    """e that the voice encoder predicts, float32 (clips, embedding), for every voice of a store."""
    bank = VoiceBank.unlabelled(voices, model.encoder.takes)
    return torch.stack([model.predict(bank.whole(i)) for i in range(len(bank))])


def _trained_on(model: VoiceToFace, split: str) -> bool:
    """True where the model may have been trained on the evaluated identities."""
    recipe = model.checkpoint.info.get("recipe", {})
    return split in ("train", "all") or recipe.get("data", {}).get("split") == "all"
