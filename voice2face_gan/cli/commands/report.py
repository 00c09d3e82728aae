"""`v2f-gan report`: a page of figures and images of one or more runs."""

import os
import shlex
from pathlib import Path

import click

from voice2face_gan.cli._console import json_option, open_data, print_json, say
from voice2face_gan.cli._reader_options import fetch_inception, reader_options
from voice2face_gan.cli.commands.evaluate import METRIC_NAMES


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option(
    "-o",
    "--output",
    default="report.html",
    show_default=True,
    metavar="FILE.html",
    help="The page; its Markdown twin goes beside it.",
)
@click.option(
    "--data",
    help="A store, a raw data set, or synthetic[:SPEAKERS]. [default: each run's training data]",
)
@reader_options
@click.option(
    "--metric", "metrics", multiple=True, metavar="NAMES", help="Metrics, with commas between. [default: all]"
)
@click.option("--fresh", is_flag=True, help="Compute every figure again, even if the run's folder holds it.")
@click.option(
    "--published/--no-published", default=True, show_default=True, help="Published figures beside ours."
)
@click.option(
    "--people",
    type=click.IntRange(1, 200),
    default=12,
    show_default=True,
    help="Number of people whose images are shown.",
)
@click.option("--force", is_flag=True, help="Replace a report that exists.")
@json_option
def report(
    runs,
    output,
    data,
    split,
    metrics,
    reader_name,
    fresh,
    published,
    people,
    feature,
    inception_weights,
    gallery,
    seconds,
    noise_scale,
    strength,
    seed,
    device,
    force,
    as_json,
):
    """Write a page about RUN...: images, figures with protocols, plots, data set card and model card.

    RUN is a checkpoint that ships (default, speech2face, synthetic), another one, or a run folder. Everything
    is in one HTML file; beside it the same is written as Markdown, with its images in a folder. Figures in
    the run's evaluation.jsonl are used again.

    \b
      v2f-gan report default                              report.html, report.md, report_files/
      v2f-gan report runs/00003-* runs/00004-* -o both.html
      v2f-gan report runs/00003-* --metric gender,matching --data STORE
    """
    from voice2face_gan.device import choose_device
    from voice2face_gan.evaluation.readers import open_reader
    from voice2face_gan.evaluation.registry import Options
    from voice2face_gan.evaluation.report import Places, ReportRequest, build, gather_runs, write

    places = Places.of(output, force)  # before minutes are spent on figures
    names = [name.strip() for text in metrics for name in text.split(",") if name.strip()]
    every = not names or "all" in names
    options = Options(
        feature=feature,
        inception_weights=Path(inception_weights) if inception_weights else None,
        gallery=gallery,
        seconds=seconds,
        noise_scale=noise_scale,
        strength=strength,
        seed=seed,
    )
    wanted = ReportRequest(
        runs=runs,
        data=data,
        split=split,
        metrics=METRIC_NAMES if every else tuple(dict.fromkeys(names)),
        options=options,
        fresh=fresh,
        people=people,
        device=choose_device(device),
    )
    fetch_inception(wanted.metrics, every, options)
    if options.no_inception:  # the page holds the rest
        say(f"A stand-in takes the place of Inception ({options.no_inception}).")
    reports = gather_runs(wanted, open_reader(reader_name), open_data, say)
    command = _command(runs, data, click.get_current_context())
    page = build(reports, command, places.images.name, published)
    write(page, places)
    for run in reports:
        for name, reason in run.skipped.items():
            say(f"{run.label}: {name} left out: {reason}")
    for note in page.notes:
        say(note)
    say(f"{places.html}, {places.markdown}, {places.images}{os.sep}: {len(reports)} runs.")
    if page.real_people:
        say("Warning: the report holds photographs of real people: do not publish or commit it.")
    if as_json:
        print_json(_document(reports, page, places))


def _command(runs, data: str | None, context: click.Context) -> str:
    """The command that makes the page again on another machine; paths are relative to the current folder."""
    words = ["v2f-gan", "report", *(_portable(name) for name in runs)]
    if data:
        words += ["--data", ",".join(_portable(name) for name in data.split(","))]
    elsewhere = (
        "runs",
        "data",
        "fresh",
        "device",
        "force",
        "as_json",
    )  # above, or without effect on the page
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name) is click.core.ParameterSource.COMMANDLINE
        if parameter.name in elsewhere or not given:
            continue
        value = context.params[parameter.name]
        option = parameter.opts[0] if value is not False else parameter.secondary_opts[-1]
        if isinstance(value, bool):
            words.append(option)
            continue
        if parameter.name == "seconds":
            value = ",".join(f"{s:g}" for s in value)
        for one in value if isinstance(value, tuple) else (value,):
            words += [option, _portable(str(one))]
    return shlex.join(words)


def _portable(name: str) -> str:
    """A path relative to the current folder if it lies below it, else its last part; other words as is."""
    if os.sep not in name:
        return name
    below = os.path.relpath(os.path.abspath(os.path.expanduser(name)))
    return Path(name).name if below.startswith(os.pardir) else Path(below).as_posix()


def _document(reports, page, places) -> dict:
    return {
        "html": str(places.html),
        "markdown": str(places.markdown),
        "images": str(places.images),
        "real_people": page.real_people,
        "runs": [
            {
                "run": run.label,
                "checkpoint": run.checkpoint,
                "data": run.data.name,
                "split": run.about["split"],
                "gender": run.about["gender"],
                "metrics": list(run.metrics),
                "computed_now": run.fresh,
                "skipped": run.skipped,
                "notes": run.notes,
                "people_shown": len(run.people),
            }
            for run in reports
        ],
        "notes": page.notes,
    }
