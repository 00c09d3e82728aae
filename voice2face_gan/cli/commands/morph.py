"""`v2f-gan morph`: from one voice to another, as a strip of images."""

import click

from voice2face_gan.cli._clip_options import clip_options
from voice2face_gan.cli._console import json_option, print_json, say
from voice2face_gan.cli._image_options import (
    checkpoint_option,
    device_option,
    gender_option,
    size_option,
    strength_option,
)
from voice2face_gan.cli._output_paths import STANDARD_OUTPUT, image_names
from voice2face_gan.cli._png import refuse_terminal, write_png
from voice2face_gan.errors import OutputError


@click.command()
@click.argument("clips", nargs=2, metavar="FROM TO")
@click.option("-o", "--output", metavar="PATH", default="morph.png", show_default=True, help="A .png, or -.")
@click.option("--steps", type=click.IntRange(2, 64), default=7, show_default=True, help="Images.")
@checkpoint_option()
@gender_option
@strength_option("As for generate. [default: the model's own]")
@size_option(most=1024)
@clip_options
@click.option("--force", is_flag=True, help="Replace an image that exists.")
@device_option
@json_option
def morph(
    clips, output, steps, checkpoint, gender, strength, size, audio_track, start, end, force, device, as_json
):
    """Draw the faces on the straight way from the embedding of one voice to that of another.

    \b
      v2f-gan morph a.wav b.wav -o strip.png --steps 9

    The first and the last image are the plain answers of `generate`.
    """
    if output == "-" and as_json:
        raise click.UsageError("-o - and JSON both go to standard output; give one of them.")
    refuse_terminal(output)
    (path,) = image_names(["morph"], output, 1)["morph"]
    if path != STANDARD_OUTPUT and path.exists() and not force:
        raise OutputError(f"{path} exists and is kept; add --force to replace it.")
    from voice2face_gan.device import choose_device
    from voice2face_gan.faces.pixels import to_row
    from voice2face_gan.pipeline import VoiceToFace

    model = VoiceToFace.from_pretrained(checkpoint, choose_device(device))
    part = {"track": audio_track, "start": start, "end": end}
    images = model.interpolate(*clips, steps, gender=gender, size=size, strength=strength, **part)
    strip = to_row(images)
    strip.info = {**images[0].info, "Morph": f"1 to {steps}"}
    write_png(path, strip)
    if path != STANDARD_OUTPUT:
        say(f"{steps} images -> {path}")
    if as_json:
        print_json({"checkpoint": model.name, "file": str(path), "steps": steps, "clips": list(clips)})
