"""`v2f-gan bench generate`: speed of a recording's way to a face on this machine."""

import click

from voice2face_gan.cli._console import NumberRange, console, json_option, print_json


@click.command()
@click.option(
    "--checkpoint", default="default", show_default=True, help="'default', a checkpoint or a run folder."
)
@click.option(
    "--seconds", type=NumberRange(1, 600), default=10.0, show_default=True, help="Length of the clip."
)
@click.option("--runs", type=click.IntRange(3), default=30, show_default=True, help="Runs of each step.")
@click.option("--device", default="cpu", show_default=True)
@json_option
def bench_generate(checkpoint, seconds, runs, device, as_json):
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
