"""`v2f-gan convert`: checkpoints and face readers from weights of other code."""

import click

from voice2face_gan.cli._console import json_option, print_json, say


@click.group()
def convert() -> None:
    """Make a checkpoint, or a face reader, from weights that other code trained."""


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


@convert.command()
@click.argument("weights", metavar="WEIGHTS")
@click.option("-o", "--output", required=True, metavar="READER", help="The folder of the reader to write.")
@click.option(
    "--preset",
    type=click.Choice(("keras-vggface", "deepface", "matconvnet", "rgb-unit")),
    help="Preprocessing of images. [default: that which the file's layout was trained for]",
)
@click.option("--force", is_flag=True, help="Replace a reader that exists.")
@json_option
def vggface(weights, output, preset, force, as_json):
    """Import VGG-Face, the face network of Speech2Face, from a public weight file.

    Three layouts are recognised by what they hold: keras-vggface's rcmalli_vggface_tf_vgg16.h5, deepface's
    vgg_face_weights.h5 (both need h5py, of the extra speech2face) and MatConvNet's port vgg_face_dag.pth.
    Only tensors are read; a file that could run code is refused.

    \b
      v2f-gan convert vggface vgg_face_weights.h5 -o vggface

    The licence of the file is that of the reader too.
    """
    from voice2face_gan.cli._output_paths import new_path
    from voice2face_gan.models.checkpoint import CONFIG
    from voice2face_gan.models.exchange.vggface_weights import import_vggface

    folder = new_path(output, force, CONFIG)
    reader = import_vggface(weights, preset)
    reader.save(folder)
    say(f"{reader.about['converted_from']['layout']}: fc7 {reader.size}, fc8 {reader.classes} identities.")
    say(f"Preprocessing {reader.preset}. Reader {folder}; the licence of the file holds for it too.")
    if as_json:
        told = {"preset": reader.preset, "size": reader.size, "classes": reader.classes}
        print_json({"reader": str(folder), **told, **reader.about})
