"""Figures as a table for the terminal, a row a figure, with the protocols below it."""

from voice2face_gan.cli._console import console, say

_TABLE_CHARACTERS = 160  # width of a table
_MIN_READER_ACCURACY = 90.0  # percent of real faces read right; with fewer a warning is due


def show(eval_set, results: dict, options) -> None:
    """Print the evaluation set and its face reader, the figures, their protocols, and notes.

    Args:
        eval_set: evaluation.eval_set.EvalSet.
        results: metric -> figure's name -> Figure.
        options: options of the metrics, with their notes.
    """
    from rich.console import Console

    from voice2face_gan.evaluation.readers import describe

    about = eval_set.about
    made_by = (
        f"Checkpoint {about['checkpoint']}" if about["checkpoint"] else f"Faces in {about['faces_from']}"
    )
    console().print(
        f"{made_by}, {about['data']} data, split {about['split']}, gender {about['gender']}: "
        f"{about['identities']} people, {about['clips']} clips, {about['faces']} real faces.",
        markup=False,
    )
    if about["trained_on"]:
        console().print("These people may have been trained on: the figures do not hold for new voices.")
    console().print(describe(eval_set.reader), markup=False)
    # Wide enough for every number, whatever the window's width.
    Console(stderr=True, highlight=False, width=max(console().width, _TABLE_CHARACTERS)).print(table(results))
    for sentence in protocols(results):
        console().print(sentence, markup=False)
    for note in dict.fromkeys(options.notes):
        say(note)
    warning = misread(eval_set, results, options)
    if warning:
        console().print(warning)


def table(results: dict):
    """A rich table: a row a figure."""
    from rich.table import Table

    drawn = Table()
    for title, side in (
        ("metric", "left"),
        ("figure", "left"),
        ("value", "right"),
        ("95 % interval", "right"),
        ("chance", "right"),
        ("n", "right"),
    ):
        drawn.add_column(title, justify=side, no_wrap=True)
    for name, figures in results.items():
        for which, f in figures.items():
            interval = "" if f.low is None else f"{f.low:.3f} to {f.high:.3f}"
            chance = "" if f.chance is None else f"{f.chance:.3g}"
            drawn.add_row(
                name, which, f"{f.value:.3f} {f.unit}".strip(), interval, chance, f"{f.n} {f.counted}"
            )
        drawn.add_section()
    return drawn


def protocols(results: dict) -> list[str]:
    """A line for each protocol of a metric, with the figures that share it.

    The figures of either gender share the protocol of the whole."""
    lines = []
    for name, figures in results.items():
        sharing: dict[str, list[str]] = {}
        for which, figure in figures.items():
            if which.split(", ")[0] == which or which.split(", ")[0] not in figures:
                sharing.setdefault(figure.protocol, []).append(which)
        lines += [f"{name}, {', '.join(which)}: {protocol}." for protocol, which in sharing.items()]
    return lines


def misread(eval_set, results: dict, options) -> str:
    """A warning where the face reader misreads the gender of the real faces, else ""."""
    from voice2face_gan.errors import MetricError
    from voice2face_gan.evaluation import compute

    figures = results.get("gender", {})
    if not figures and eval_set.was_read:
        try:
            figures = compute("gender", eval_set, options)
        except MetricError:  # a reader without gender, or data without labels
            return ""
    real = figures.get("real")
    if real is None or real.value >= _MIN_READER_ACCURACY:
        return ""
    return (
        f"Warning: the face reader reads the gender of these people's real faces right in only "
        f"{real.value:.1f} %, so its figures mean little on these data: it was trained on other faces."
    )
