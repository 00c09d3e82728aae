"""`v2f-gan bench prepare`: speed of preparing data sets on this machine."""

import click

from voice2face_gan.cli._console import console, json_option, print_json, say


@click.command()
@click.argument("layout", required=False)
@click.argument("sources", nargs=-1, metavar="[SRC...]")
@click.option(
    "--limit", type=click.IntRange(24), default=400, show_default=True, help="Records: voices and images."
)
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Processes, after one.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="As for prepare.")
@click.option(
    "--format",
    type=click.Choice(["wav", "mp3", "m4a", "opus"]),
    default="wav",
    show_default=True,
    help="Format of the synthetic world's recordings.",
)
@json_option
def bench_prepare(layout, sources, limit, workers, overrides, format, as_json):
    """Print records a second, hours of audio a minute, peak memory, and time by step.

    Measured on LAYOUT SRC..., or on a synthetic world of recordings and images. The baseline is decoding and
    VAD alone: the rest of a voice's preparation should cost little beside them.
    """
    from voice2face_gan.bench.prepare import STEPS, measure
    from voice2face_gan.data.prepare.settings import PrepareSettings
    from voice2face_gan.errors import DataError

    if layout is not None and not sources:
        raise DataError(f"bench prepare {layout}: give the data set's folder too, or neither.")
    result = measure(layout, sources, limit, workers, PrepareSettings.of(overrides), format, say)
    _print(result, STEPS)
    if as_json:
        print_json(result)


def _print(result: dict, steps: tuple[str, ...]) -> None:
    from rich.table import Table

    table = Table(title=f"{result['records']} records, {result['hours'] * 60:.1f} min of audio")
    table.add_column("")
    for count in result["runs"]:
        table.add_column(f"{count} process{'es' if count > 1 else ''}", justify="right")
    runs = list(result["runs"].values())
    table.add_row("records a second", *(f"{run['records_per_second']:.1f}" for run in runs))
    table.add_row(
        "hours of audio a minute, per process",
        *(f"{run['audio_hours_per_minute_per_process']:.2f}" for run in runs),
    )
    table.add_row("processor time a record", *(f"{run['processor_ms_per_record']:.2f} ms" for run in runs))
    for step in steps:
        table.add_row(f"share of {step}", *(f"{run['share'][step]:.1%}" for run in runs))
    table.add_row(
        "peak memory",
        *(", ".join(f"{mib} MiB {who}" for who, mib in run["peak_mib"].items()) for run in runs),
    )
    console().print(table)
    if "audio" in result:
        audio = result["audio"]
        say(
            f"Voices, processor time: decode + VAD alone {audio['decode_vad_seconds']:.2f} s, the whole "
            f"preparation {audio['prepare_seconds']:.2f} s: {audio['share']:.0%} of that speed."
        )
    if result["workers"] > 1:
        say(
            f"{result['workers']} processes are {result['speedup']:.2f} times as fast as one by the clock, "
            f"{result['speedup_on_free_processors']:.2f} times by the processor time they take."
        )
