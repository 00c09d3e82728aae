"""`v2f-gan export`: checkpoints for other runtimes."""

import click

from voice2face_gan.cli._console import json_option, print_json, say


@click.group()
def export() -> None:
    """Write a checkpoint for use without PyTorch."""


@export.command()
@click.argument("checkpoint", default="default", metavar="[CKPT]")
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="PATH",
    help="A folder (two graphs), or a .onnx file (one graph).",
)
@click.option(
    "--opset", type=click.IntRange(18), default=18, show_default=True, help="Version of ONNX's operators."
)
@click.option("--force", is_flag=True, help="Replace an export that exists.")
@json_option
def onnx(checkpoint, output, opset, force, as_json):
    """Write voice encoder and generator as ONNX, once their outputs agree with PyTorch's.

    \b
      pip install 'voice2face-gan[export]'
      v2f-gan export onnx -o web               web/encoder.onnx, web/generator.onnx, web/config.json
      v2f-gan export onnx RUN/best -o v2f.onnx    one graph, from log-mel to face

    CKPT is 'default', a checkpoint or a run folder. Inputs, outputs, value ranges and log-mel settings are in
    config.json, or in the single file's metadata under voice2face_gan.
    """
    from voice2face_gan.cli._output_paths import new_path
    from voice2face_gan.models.checkpoint import load_checkpoint
    from voice2face_gan.models.exchange.onnx import ENCODER, export_onnx

    path = new_path(output, force, None if output.endswith(".onnx") else ENCODER)
    config = export_onnx(load_checkpoint(checkpoint), path, opset)
    for file, graph in config["graphs"].items():
        inputs, outputs = (_shapes(graph[part]) for part in ("inputs", "outputs"))
        difference = graph["max_abs_difference"]
        compared = "not compared" if difference is None else f"{difference:.1e} from PyTorch at most"
        say(f"{file}: {inputs} -> {outputs}; {compared}")
    if config["compared_with"] is None:
        say("Not compared with PyTorch: onnxruntime is missing (pip install 'voice2face-gan[export]').")
    if as_json:
        print_json({"output": str(path), **config})


def _shapes(parts: dict) -> str:
    return ", ".join(f"{name} ({', '.join(map(str, part['shape']))})" for name, part in parts.items())
