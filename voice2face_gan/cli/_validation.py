"""Figures while training: the function that `v2f-gan train` gives to the trainer, which knows no metrics."""

from collections.abc import Callable
from pathlib import Path

CLIPS = 200  # of the validation split; so few cost seconds


def validation(run, store, device, say: Callable[[str], None]) -> Callable[[Path], dict] | None:
    """Function (checkpoint folder) -> record for evaluation.jsonl.

    None where the recipe wants no figures, or where the data have no validation identities with voices and
    faces, or, of a voice encoder alone, no validation speakers; then a sentence is printed.

    Raises:
        MetricError: the figure that `run.best` names cannot be computed here.
    """
    settings, gender = run.recipe.run, run.recipe.data.gender
    if not settings.evaluate_every:
        return None
    if run.recipe.encoder_alone and not run.recipe.pairs:
        return _equal_error_rates(run, store, device, say)
    from voice2face_gan.errors import DataError, MetricError
    from voice2face_gan.evaluation import protocol
    from voice2face_gan.evaluation.record import build_record, compute_all
    from voice2face_gan.evaluation.registry import METRICS, Options
    from voice2face_gan.pipeline import VoiceToFace
    from voice2face_gan.training.run.tracked_metrics import MEASURES

    try:
        voices, faces = protocol.identities_with_voice_and_face(store, "val", gender)
    except DataError as error:
        say(f"No figures while training: {error}")
        return None
    part = validation_part(store, voices, faces)
    wanted = MEASURES[settings.best]
    if wanted.metric not in METRICS:
        raise MetricError(f"run.best is {settings.best}, which is no figure of faces; choose another.")
    # Inception is slow and often not there: used only where the recipe asks for its distance.
    feature = {"fid": "inception", "kid": "inception", "fid_dlib": "dlib"}.get(settings.best, "trunk")
    options = Options(feature=feature)
    if feature != "trunk":
        from voice2face_gan.evaluation.features import open_feature

        open_feature(feature, options)  # fail now, not after hours
    which = ["fid", "gender", "matching", wanted.metric]
    if store.about["source"].get("layout") == "synthetic":
        which.append("recovery")
    metrics = dict.fromkeys(which)

    def evaluate(folder: Path) -> dict:
        model = VoiceToFace.from_pretrained(folder, device)
        eval_set = protocol.generate_eval_set(model, part, "val", gender)
        eval_set.training = store
        return build_record(eval_set, *compute_all(eval_set, metrics, options), options)

    return evaluate


def _equal_error_rates(run, store, device, say: Callable[[str], None]) -> Callable[[Path], dict] | None:
    """The same of a voice encoder alone, on the clips of validation speakers."""
    from voice2face_gan.errors import DataError
    from voice2face_gan.evaluation.verification import verification_clips, verify
    from voice2face_gan.models.checkpoint import load_checkpoint

    gender = run.recipe.data.gender
    try:
        clips = verification_clips(store, "val", gender)
    except DataError as error:
        say(f"No equal error rate: {error}")
        return None
    speakers = clips.summary()["identities"]
    say(f"Held out: {speakers} speakers, {len(clips)} clips.")

    def evaluate(folder: Path) -> dict:
        encoder = load_checkpoint(folder, need_generator=False).encoder.to(device)
        figures = verify(encoder, clips, device, run.settings["seed"])
        return {
            "checkpoint": folder.name,
            "data": str(clips.about["source"].get("layout", "")) or str(clips.folder),
            "split": "val",
            "gender": gender,
            "identities": speakers,
            "clips": len(clips),
            "metrics": {"equal_error_rate": {name: figure.to_dict() for name, figure in figures.items()}},
        }

    return evaluate


def validation_part(store, voices, faces, clips: int = CLIPS):
    """At most `clips` of the voices, evenly from all, and the faces of their identities."""
    import numpy as np

    chosen = np.unique(np.linspace(0, len(voices) - 1, min(clips, len(voices))).round().astype(int))
    chosen_voices = set(voices.voice_offset[chosen].tolist())
    shown = set(faces.face_index[np.isin(faces.identity, voices.identity[chosen])].tolist())
    voice = np.array([i in chosen_voices for i in store.voice_offset.tolist()])
    face = np.array([i in shown for i in store.face_index.tolist()])
    part = store.select(voice | face)
    part.voice_offset = np.where(voice, store.voice_offset, -1)[voice | face]
    part.face_index = np.where(face, store.face_index, -1)[voice | face]
    return part
