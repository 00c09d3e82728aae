"""`v2f-gan evaluate`: a model's figures, each with its protocol."""

import click

from voice2face_gan.cli.console import SEED, console, json_option, open_data, print_json, say

_METRICS = ("fid", "l1", "cosine", "gender")
_JUDGE_READS = 90.0  # percent of real faces; a judge that reads fewer is out of its field


@click.command()
@click.option(
    "--metric", type=click.Choice([*_METRICS, "all"]), default="all", show_default=True, help="Which figures."
)
@click.option(
    "--checkpoint", default="default", show_default=True, help="'default', a checkpoint or a run folder."
)
@click.option(
    "--data", default="builtin", show_default=True, help="A store, a raw data set, or builtin[:SPEAKERS]."
)
@click.option("--gender", type=click.Choice(["female", "male", "all"]), default="all", show_default=True)
@click.option(
    "--split",
    type=click.Choice(["test", "val", "train", "all"]),
    default="test",
    show_default=True,
    help="Whose faces.",
)
@click.option("--inception-weights", metavar="PATH", help="pytorch-fid's weights file, for fid.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of resampling.")
@click.option("--device", default="cpu", show_default=True, help="Where the generator runs.")
@click.option("-o", "--output", metavar="FILE", help="Also write the result there, as JSON.")
@click.option("--sheet", metavar="FILE.png", help="Also draw own faces above generated ones.")
@json_option
def evaluate(
    metric, checkpoint, data, gender, split, inception_weights, seed, device, output, sheet, as_json
):
    """Measure a model on people it was not trained on.

    \b
      v2f-gan evaluate                                    the default model, the built-in world
      v2f-gan evaluate --metric fid --inception-weights pt_inception-2015-12-05-6726825d.pth
      v2f-gan evaluate --checkpoint runs/00003-... --data STORE --gender female --json
    """
    import json
    from pathlib import Path

    from voice2face_gan.device import choose_device
    from voice2face_gan.errors import MetricError, OutputError
    from voice2face_gan.evaluation import compute, protocol
    from voice2face_gan.evaluation.fid import inception
    from voice2face_gan.evaluation.registry import Options
    from voice2face_gan.files import write_bytes
    from voice2face_gan.pipeline import VoiceToFace

    weights = Path(inception_weights) if inception_weights else None
    if metric == "fid":
        inception(weights)  # say at once, not after minutes, that it cannot be computed
    model = VoiceToFace.from_pretrained(checkpoint, choose_device(device))
    case = protocol.generate_case(model, open_data(data), split, gender)
    options = Options(inception_weights=weights, seed=seed)
    results, skipped = {}, {}
    for name in _METRICS if metric == "all" else (metric,):
        try:
            results[name] = compute(name, case, options)
        except MetricError as error:
            if metric != "all":
                raise
            skipped[name] = str(error)
    document = {
        **case.about,
        "judge": {"name": case.judge.name, **case.judge.about},
        "metrics": {n: {k: f.to_dict() for k, f in figures.items()} for n, figures in results.items()},
        "skipped": skipped,
    }
    _show(document, results)
    for name, reason in skipped.items():
        say(f"{name} left out: {reason}")
    if sheet:
        _draw(case, Path(sheet))
    if output:
        try:
            write_bytes(Path(output), (json.dumps(document, indent=2) + "\n").encode())
        except OSError as error:
            raise OutputError(f"{output} cannot be written ({error.strerror or error}).") from error
    _append_to_run(model.checkpoint.folder, document)
    if as_json:
        print_json(document)


def _draw(case, path) -> None:
    """The first people of the case: a face of their own above, the face from their first voice below."""
    from voice2face_gan.errors import OutputError
    from voice2face_gan.evaluation.case import sheet

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet(case).save(path, "PNG")
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or error}).") from error


def _append_to_run(folder, document: dict) -> None:
    """One line in evaluation.jsonl of the run that a checkpoint belongs to, if it belongs to one."""
    import json

    run = folder.resolve().parent.parent
    if folder.resolve().parent.name == "checkpoints" and (run / "run.json").is_file():
        with (run / "evaluation.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(document) + "\n")


def _show(document: dict, results: dict) -> None:
    from rich.table import Table

    console().print(
        f"Checkpoint {document['checkpoint']}, {document['data']} data, split {document['split']}, "
        f"gender {document['gender']}: {document['identities']} people, {document['clips']} clips, "
        f"{document['faces']} real faces."
    )
    if document["trained_on"]:
        console().print("These people may have been trained on: the figures say nothing of new voices.")
    held_out = document["judge"].get("held_out", {})
    known = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in held_out.items())
    trained_on = document["judge"].get("trained_on", "unknown faces")
    console().print(
        f"Judge {document['judge']['name']}, trained on {trained_on}; "
        f"on such faces of people it never saw: {known}."
    )
    table = Table()
    for title, side in (
        ("metric", "left"),
        ("figure", "left"),
        ("value", "right"),
        ("95 % interval", "right"),
    ):
        table.add_column(title, justify=side, no_wrap=True)
    table.add_column("chance", justify="right")
    table.add_column("n", justify="right", no_wrap=True)
    for name, figures in results.items():
        for which, f in figures.items():
            interval = "" if f.low is None else f"{f.low:.3f} to {f.high:.3f}"
            chance = "" if f.chance is None else f"{f.chance:g}"
            value = f"{f.value:.3f} {f.unit}".strip()
            table.add_row(name, which, value, interval, chance, f"{f.n} {f.counted}")
    if results:
        console().print(table)
    for name, figures in results.items():
        for which, f in figures.items():
            console().print(f"{name}, {which}: {f.protocol}.")
    ceiling = results.get("gender", {}).get("real")
    if ceiling is not None and ceiling.value < _JUDGE_READS:
        console().print(
            "Warning: the judge reads the gender of these people's own faces right in "
            f"{ceiling.value:.1f} % only, so its figures say little about these data: "
            "it was trained on other faces."
        )
