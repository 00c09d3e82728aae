"""The strength of a checkpoint, chosen on validation people; and what half precision changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from voice2face_gan.data.store import Store
from voice2face_gan.evaluation.eval_set import generate_framed
from voice2face_gan.evaluation.protocol import generate_eval_set, generator_inputs, predicted_embeddings
from voice2face_gan.evaluation.readers import open_reader
from voice2face_gan.evaluation.registry import compute
from voice2face_gan.models.checkpoint import Checkpoint
from voice2face_gan.models.conditioning import condition
from voice2face_gan.pipeline import VoiceToFace

STRENGTHS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
# Points of U + G. What is exaggerated less is preferred (lab book).
_ALIKE = 1.0


def choose_strength(
    folder: str | Path,
    people: Store,
    split: str = "val",
    judge: str = "dlib",
    strengths: Sequence[float] = STRENGTHS,
) -> tuple[float, dict[str, float]]:
    """The strength at which plain answers match their speakers best; the lowest of those within a point.

    Args:
        folder: of the checkpoint.
        people: a store of voices and faces.
        split: of the people who choose; not those who will measure it.
        judge: the face reader that compares faces.
        strengths: which are tried, rising.
    Returns:
        The strength; and U + G (metric `matching`, %, chance 100) by each strength that was tried.
    Raises:
        CheckpointError: the checkpoint has no strength to set.
        DataError: nobody in the split has both a voice and a face.
        MetricError: the face reader is not installed, or the metric cannot be computed.
    """
    model, tried = VoiceToFace.from_pretrained(folder), {}
    reader = open_reader(judge)
    first = generate_eval_set(model, people, split, "all", reader, strengths[0], noise_scale=0.0)
    first.reading("real")  # once for all strengths
    predicted = predicted_embeddings(model, first.voices)
    for strength in strengths:
        # Without e the figures from e, which no strength changes, are left out.
        e = condition(predicted, model.with_strength(strength))
        figures = compute("matching", first.with_generated(generate_framed(model, e, noise_scale=0.0)))
        tried[strength] = round(figures["U"].value + figures["G"].value, 2)
    best = max(tried.values())
    chosen = next(s for s in strengths if tried[s] >= best - _ALIKE)
    return chosen, {str(strength): value for strength, value in tried.items()}


def half_precision_difference(whole: Checkpoint, folder: str | Path, people: Store) -> float:
    """Mean absolute difference, of 255, between faces by full weights and by those saved as float16.

    Args:
        whole: the checkpoint in memory.
        folder: the same, saved with `half`.
        people: a store; faces are generated from all of its voices.
    """
    voices = people.select(people.has_voice)
    faces = [
        model.decode(generator_inputs(model, voices), model.noise(len(voices))).float()
        for model in (VoiceToFace(whole, "whole"), VoiceToFace.from_pretrained(folder))
    ]
    return round(float((faces[0] - faces[1]).abs().mean()), 4)
