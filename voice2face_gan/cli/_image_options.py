"""Options of the commands that make images: generate, reconstruct, morph, serve."""

import click

from voice2face_gan.cli._console import STRENGTH


def checkpoint_option(more: str = ""):
    """--checkpoint; `more` ends the sentence of its help."""
    told = "'default', a checkpoint or a run folder, or OWNER/NAME on the Hugging Face hub"
    return click.option("--checkpoint", default="default", show_default=True, help=f"{told}{more}.")


def strength_option(help: str, **settings):
    """--strength, with a help of its own: voices and faces have other defaults."""
    return click.option("--strength", type=STRENGTH, metavar="X", help=help, **settings)


def size_option(most: int = 4096):
    """--size, of one image."""
    told = "Side of an image. [default: the model's]"
    return click.option("--size", type=click.IntRange(8, most), metavar="PX", help=told)


gender_option = click.option(
    "--gender",
    type=click.Choice(["auto", "female", "male"]),
    default="auto",
    show_default=True,
    help="Gender of the face; auto: as the model reads the voice.",
)
device_option = click.option("--device", default="cpu", show_default=True, help="cpu, cuda, ...")
