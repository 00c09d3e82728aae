"""`v2f-gan convert`: checkpoints from weights of other code."""

import click

from voice2face_gan.cli._console import json_option, print_json, say


@click.group()
def convert() -> None:
    """Make a checkpoint from weights that other code trained."""


@convert.command()
@click.argument("voice_embedding", metavar="VOICE_EMBEDDING.pth")
@click.argument("generator", metavar="GENERATOR.pth")
@click.option("-o", "--output", required=True, metavar="CKPT", help="The checkpoint folder to write.")
@click.option(
    "--tanh/--linear",
    default=None,
    help="The generator's last layer, which its tensors do not show. [default: tanh if it has BatchNorm2d]",
)
@click.option(
    "--raw", is_flag=True, help="The generator takes e as it is (the paper), not e / |e| (its code)."
)
@click.option("--force", is_flag=True, help="Replace a checkpoint that exists.")
@json_option
def wen(voice_embedding, generator, output, tanh, raw, force, as_json):
    """Convert the released pair of Wen et al. 2019, or one that was trained with their code.

    Variants are recognised by the tensors' shapes: widths, 4 x 4 or 3 x 3 kernels, BatchNorm2d in the
    generator. Only tensors are read; a file that could run code is refused.

    \b
      v2f-gan convert wen voice_embedding.pth generator.pth -o wen
      v2f-gan generate clip.wav --checkpoint wen

    The licence of the files is that of the checkpoint too.
    """
    from voice2face_gan.cli._output_paths import new_path
    from voice2face_gan.models.checkpoint import CONFIG
    from voice2face_gan.models.exchange.wen2019_weights import convert_wen

    folder = new_path(output, force, CONFIG)
    checkpoint = convert_wen(voice_embedding, generator, tanh, normalise=not raw)
    checkpoint.save(folder)
    for name, what in checkpoint.info["recognised"].items():
        say(f"{name.replace('_', ' ')}: {what}")
    say(f"Checkpoint {folder}; the licence of the two files holds for it too.")
    if as_json:
        print_json({"checkpoint": str(folder), **checkpoint.tables(), **checkpoint.info})
