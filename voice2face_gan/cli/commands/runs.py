"""`v2f-gan runs`: what was trained, how far it came, how good it is."""

import click

from voice2face_gan.cli._console import console, json_option, print_json


@click.command()
@click.argument("folder", metavar="[DIR]", default="runs")
@json_option
def runs(folder, as_json):
    """List the runs below a folder (default: runs), newest last.

    \b
      v2f-gan runs
      v2f-gan runs /data/runs --json

    Figures are the best of each kind in a run's evaluation.jsonl; * marks what says which checkpoint is kept
    as RUN/best. A run folder that cannot be read is listed with what is wrong.
    """
    from pathlib import Path

    from voice2face_gan.errors import TrainingError
    from voice2face_gan.training.run.index import list_runs

    if not Path(folder).is_dir():
        raise TrainingError(f"{folder}: there is no such folder of runs.")
    found = list_runs(folder)
    if as_json:
        print_json({"folder": str(folder), "runs": found})
    elif not found:
        console().print(f"There are no runs below {folder}.")
    else:
        _show(found)


def _show(found: list[dict]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for title in ("run", "data", "gender", "stage", "iteration", "state", "figures", "checkpoint", "age"):
        table.add_column(title, justify="right" if title in ("iteration", "age") else "left")
    for run in found:
        if run["error"]:
            table.add_row(run["folder"], Text(run["error"], style="red"))
            continue
        figures = ", ".join(
            f"{name}{'*' if name == run['best_by'] else ''} {value:.4g}"
            for name, value in run["figures"].items()
        )
        row = (
            run["folder"], run["data"], run["gender"], run["stage"] or "",
            f"{run['iteration']}/{run['iterations']}", "finished" if run["finished"] else "unfinished",
            figures, run["checkpoint"] or "", _age(run["seconds_ago"]),
        )  # fmt: skip
        table.add_row(*(Text(str(cell)) for cell in row))
    console().print(table)


def _age(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
