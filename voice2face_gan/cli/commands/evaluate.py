"""`v2f-gan evaluate`: the figures of a model, or of any folder of faces, each with its protocol."""

import os

import click

from voice2face_gan.cli._console import NumberRange, json_option, open_data, print_json, progress_bar, say
from voice2face_gan.cli._reader_options import fetch_inception, reader_options
from voice2face_gan.errors import MetricError, OutputError

METRIC_NAMES = (
    "fid",
    "kid",
    "prdc",
    "gender",
    "age",
    "matching",
    "retrieval",
    "identity",
    "l1",
    "cosine",
    "craniofacial",
    "detection",
    "diversity",
    "memory",
    "duration",
    "noise",
    "recovery",
)  # in the order in which they are shown; evaluation.METRICS has the same, but importing it takes seconds
_THROUGH_FEATURES = ("fid", "kid", "prdc")


@click.command()
@click.option(
    "--metric",
    "metrics",
    type=click.Choice([*METRIC_NAMES, "all"]),
    multiple=True,
    default=("all",),
    show_default=True,
    help="A metric; may be given several times.",
)
@click.option(
    "--checkpoint",
    help="A checkpoint, a run folder, or a shipped one: 'synthetic' (the default on the synthetic world) or "
    "'default' (elsewhere).",
)
@click.option(
    "--faces",
    "faces_folder",
    metavar="DIR",
    help="Instead of a checkpoint: images by any system, named after the clips of --data.",
)
@click.option("--allow-missing", is_flag=True, help="With --faces: evaluate the clips that have an image.")
@click.option(
    "--zoom",
    type=NumberRange(1, 3),
    metavar="X",
    help="With --faces: size of the faces, relative to the template; for images that generate makes, the "
    "checkpoint's face_scale.",
)
@click.option(
    "--data", default="synthetic", show_default=True, help="A store, a raw data set, or synthetic[:SPEAKERS]."
)
@click.option("--gender", type=click.Choice(["female", "male", "all"]), default="all", show_default=True)
@reader_options
@click.option(
    "-o", "--output", metavar="FILE", help="Also write there, as JSON, the figures and the evaluation set."
)
@click.option("--sheet", metavar="FILE.png", help="Also draw real faces above generated ones.")
@click.option(
    "--save-faces", metavar="DIR", help="Also write the generated faces there, as --faces reads them."
)
@json_option
def evaluate(
    metrics,
    checkpoint,
    faces_folder,
    allow_missing,
    zoom,
    data,
    gender,
    split,
    reader_name,
    feature,
    inception_weights,
    gallery,
    seconds,
    noise_scale,
    strength,
    seed,
    device,
    output,
    sheet,
    save_faces,
    as_json,
):
    """Measure a model, or the faces of any system, on people it was not trained on.

    \b
      v2f-gan evaluate                                    the synthetic world, and the model made for it
      v2f-gan evaluate --metric matching --metric gender --judge dlib --data STORE
      v2f-gan evaluate --metric fid                       FID; downloads Inception's weights once
      v2f-gan evaluate --checkpoint runs/00003-... --data STORE --gender female --json
      v2f-gan evaluate --faces theirs/ --data STORE       an image a clip, made by anything

    --json prints {metric: {figure: {value, low, high, n, counted, chance, unit, protocol}}}.
    """
    from pathlib import Path

    from voice2face_gan.cli._tables import show
    from voice2face_gan.data.synthetic import is_synthetic
    from voice2face_gan.evaluation.faces_folder import refuse_used
    from voice2face_gan.evaluation.features import open_feature
    from voice2face_gan.evaluation.readers import open_reader
    from voice2face_gan.evaluation.registry import Options
    from voice2face_gan.models.checkpoint import takes_speech

    # Errors are raised now, not after minutes.
    if faces_folder is not None:
        _refuse_with_faces()
    elif allow_missing:
        raise MetricError("--allow-missing goes with --faces: a model has a face for every clip.")
    elif zoom is not None:
        raise MetricError("--zoom goes with --faces: a model has a zoom of its own.")
    for path in (output, save_faces):
        if path and not (parent := Path(os.path.abspath(path)).parent).is_dir():
            raise OutputError(f"{path} cannot be written (there is no folder {parent}).")
    if save_faces:
        refuse_used(save_faces)
    options = Options(
        feature=feature,
        inception_weights=Path(inception_weights) if inception_weights else None,
        gallery=gallery,
        seconds=seconds,
        noise_scale=noise_scale,
        strength=strength,
        seed=seed,
    )
    reader = open_reader(reader_name)
    every = "all" in metrics
    names = METRIC_NAMES if every else tuple(dict.fromkeys(metrics))
    fetch_inception(names, every, options)
    if not every and set(names) & set(_THROUGH_FEATURES):
        open_feature(feature, options)
    if faces_folder is None:
        checkpoint = checkpoint or ("synthetic" if is_synthetic(data) else "default")
    store = open_data(data, keep_speech=faces_folder is None and takes_speech(checkpoint))
    if faces_folder is None:
        eval_set = _made_by(checkpoint, store, split, gender, reader, device, options)
    else:
        from voice2face_gan.evaluation.faces_folder import folder_eval_set

        eval_set, notes = folder_eval_set(
            faces_folder, store, split, gender, reader, allow_missing, zoom or 1.0
        )
        for note in notes:
            say(note)
    if save_faces:
        _save(eval_set, save_faces)
    results, skipped, took = _compute(names, eval_set, options, every)
    show(eval_set, results, options)
    for name, reason in skipped.items():
        say(f"{name} left out: {reason}")
    if sheet:
        _draw(eval_set, Path(sheet))
    _keep(eval_set, results, skipped, options, took, output)
    if as_json:
        print_json({n: {k: f.to_dict() for k, f in figures.items()} for n, figures in results.items()})


def _refuse_with_faces() -> None:
    """Refuse --faces together with a checkpoint or one of its options."""
    context = click.get_current_context()
    for name in ("checkpoint", "save_faces", "device", "noise_scale", "strength"):
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise MetricError(f"--{name.replace('_', '-')} and --faces exclude each other; leave one out.")


def _made_by(checkpoint, store, split, gender, reader, device, options):
    """The evaluation set of a model: a face for every clip."""
    from voice2face_gan.device import choose_device
    from voice2face_gan.evaluation.protocol import generate_eval_set
    from voice2face_gan.pipeline import VoiceToFace

    model = VoiceToFace.from_pretrained(checkpoint, choose_device(device))
    model.check_options(strength=options.strength, noise_scale=options.noise_scale)
    strength = model.strength if options.strength is None else options.strength
    if strength not in (None, 1.0):
        options.note(f"the faces were generated with strength {strength:g}; 1 is as predicted.")
    if model.noise(1) is not None:
        options.note(f"the faces were generated with noise z of standard deviation {options.noise_scale:g}.")
    elif options.noise_scale != 1:
        raise MetricError(f"--noise-scale: the generator of {model.name} takes no noise.")
    return generate_eval_set(model, store, split, gender, reader, options.strength, options.noise_scale)


def _compute(names, eval_set, options, every: bool) -> tuple[dict, dict, dict]:
    """(figures, reasons why others are missing, seconds that each metric took).

    Raises:
        MetricError: a metric that was given by name cannot be computed; of all metrics, none can.
    """
    import time

    from voice2face_gan.evaluation import compute

    results, skipped, took = {}, {}, {}
    with progress_bar() as bar:
        task = bar.add_task("", total=len(names))
        for name in names:
            bar.update(task, description=name)
            start = time.perf_counter()
            try:
                results[name] = compute(name, eval_set, options)
                took[name] = round(time.perf_counter() - start, 3)
            except MetricError as error:
                if not every:
                    raise
                skipped[name] = str(error)
            bar.advance(task)
    if not results:
        raise MetricError(f"No metric can be computed here. {next(iter(skipped.values()))}")
    return results, skipped, took


def _save(eval_set, folder: str) -> None:
    from voice2face_gan.evaluation.faces_folder import save_faces
    from voice2face_gan.faces.png import synthetic_metadata

    info = synthetic_metadata(eval_set.about["checkpoint"])
    save_faces(folder, eval_set.generated, eval_set.voices.source.tolist(), info)
    say(f"{len(eval_set.generated)} faces are in {folder}.")


def _draw(eval_set, path) -> None:
    """Write an image of the first identities: real faces above, faces from their first clips below."""
    from voice2face_gan.evaluation.eval_set import sheet

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet(eval_set).save(path, "PNG")
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or error}).") from error


def _keep(eval_set, results, skipped, options, took, output: str | None) -> None:
    """Write the whole record to the file of -o, and append it to evaluation.jsonl of the checkpoint's run."""
    import json
    from datetime import UTC, datetime
    from pathlib import Path

    from voice2face_gan.evaluation.readers import describe
    from voice2face_gan.evaluation.record import append_record, build_record
    from voice2face_gan.files import write_bytes
    from voice2face_gan.models.checkpoint import run_of
    from voice2face_gan.version import __version__

    record = {
        **build_record(eval_set, results, skipped, options),
        "judge_description": describe(eval_set.reader),
        "source": {} if eval_set.store is None else eval_set.store.about["source"],
        "seed": options.seed,
        "seconds": took,
        "voice2face_gan": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        if output:
            write_bytes(Path(output), (json.dumps(record, indent=2) + "\n").encode())
        run = None if eval_set.model is None else run_of(eval_set.model.checkpoint.folder)
        if run is not None:
            append_record(run, record)
    except OSError as error:
        name = error.filename2 or error.filename or output
        raise OutputError(f"{name} cannot be written ({error.strerror or error}).") from error
