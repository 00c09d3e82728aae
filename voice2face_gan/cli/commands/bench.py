"""`v2f-gan bench`: speed on this machine."""

import click

from voice2face_gan.cli._console import console, json_option, open_data, print_json, say


@click.group()
def bench() -> None:
    """Measure speed on this machine, beside a plain implementation of the same work."""


@bench.command()
@click.option(
    "--checkpoint", default="default", show_default=True, help="'default', a checkpoint or a run folder."
)
@click.option(
    "--seconds", type=click.FloatRange(1, 600), default=10.0, show_default=True, help="Length of the clip."
)
@click.option("--runs", type=click.IntRange(3), default=30, show_default=True, help="Runs of each step.")
@click.option("--device", default="cpu", show_default=True)
@json_option
def generate(checkpoint, seconds, runs, device, as_json):
    """Print warm milliseconds a clip: decode, VAD, log-mel, embed, generate, and the whole."""
    from rich.table import Table

    from voice2face_gan.bench.generate import measure
    from voice2face_gan.device import choose_device
    from voice2face_gan.pipeline import VoiceToFace

    result = measure(VoiceToFace.from_pretrained(checkpoint, choose_device(device)), seconds, runs)
    table = Table(title=f"{seconds:g} s clip, {result['threads']} threads, warm, {runs} runs")
    table.add_column("step")
    table.add_column("median ms", justify="right")
    table.add_column("least ms", justify="right")
    for name, times in result["steps"].items():
        table.add_row(name, f"{times['median_ms']:.2f}", f"{times['min_ms']:.2f}")
    console().print(table)
    console().print(f"log-mel is {result['log_mel_ratio']} times as fast as the NumPy frame loop.")
    if as_json:
        print_json(result)


@bench.command("prepare")
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
    _print_preparation(result, STEPS)
    if as_json:
        print_json(result)


def _print_preparation(result: dict, steps: tuple[str, ...]) -> None:
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


@bench.command("train")
@click.option("--recipe", default="wen2019", show_default=True, help="Recipe name or TOML file.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key.")
@click.option("--batch", type=click.IntRange(2), default=64, show_default=True, help="Images in a step.")
@click.option("--steps", type=click.IntRange(1), default=20, show_default=True, help="Counted steps of each.")
@click.option("--data", default="synthetic:64", show_default=True, help="As for train.")
@click.option("--threads", type=click.IntRange(1), help="Processor threads. [default: PyTorch's own choice]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, ...")
@click.option("--memory/--no-memory", default=True, show_default=True, help="Measure peak memory too.")
@json_option
def bench_train(recipe, overrides, batch, steps, data, threads, device, memory, as_json):
    """Print images a second, beside a plain loop of the paper's Algorithm 1.

    Both train the same networks from the same weights on the same batches, a step of each in turn.
    """
    from voice2face_gan.bench.train import check, measure
    from voice2face_gan.device import choose_device
    from voice2face_gan.training.recipe.recipe import load_recipe

    resolved = load_recipe(recipe, (*overrides, f"gan.batch={batch}"))
    chosen = choose_device(device)
    check(resolved)
    open_data(data)  # makes them where there are none yet
    result = measure(resolved, data, steps, chosen, threads, memory, say)
    _print_training(result)
    if as_json:
        print_json(result)


def _print_training(result: dict) -> None:
    from rich.table import Table

    where = f"{result['threads']} threads" if result["device"] == "cpu" else result["device"]
    table = Table(title=f"{result['recipe']}, batch {result['batch']}, {result['steps']} steps, {where}")
    for title in ("loop", "images/s", "ms/step", "ratio", "GFLOP/step", "of matmul", "peak MiB"):
        table.add_column(title, justify="left" if title == "loop" else "right")
    for name, run in result["runs"].items():
        table.add_row(
            name,
            f"{run['images_per_second']:.1f}",
            f"{run['step_ms']:.1f}",
            f"{result['ratio'].get(name, 1):.2f}",
            f"{run['gflop_per_step']:.0f}",
            f"{run['share_of_matmul']:.0%}",
            str(run.get("peak_mib", "")),
        )
    console().print(table)
    rates = ", ".join(f"{rate / 1000:.2f} TFLOP/s in {p}" for p, rate in result["matmul_gflops"].items())
    say(f"Matrix products run at {rates}.")
    say(f"In fp32 the two loops' losses differ by at most {result['loss_difference']:.1e}.")
