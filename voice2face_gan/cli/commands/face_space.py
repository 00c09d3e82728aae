"""`v2f-gan face-space`: the space that voices and faces share, fitted on prepared faces."""

import click

from voice2face_gan.cli._console import json_option, open_data, print_json, progress_bar, say
from voice2face_gan.errors import CheckpointError


@click.command("face-space")
@click.argument("stores", nargs=-1, required=True, metavar="STORE...")
@click.option("-o", "--out", required=True, metavar="FOLDER", help="Where the space goes.")
@click.option(
    "--for",
    "checkpoint",
    metavar="CKPT",
    help="A checkpoint that keeps no space: fit one to its generator, and write OUT/checkpoint with it.",
)
@json_option
def face_space(stores, out, checkpoint, as_json):
    """Fit the space of 64 numbers that faces are read into and voice encoders predict.

    \b
      v2f-gan face-space utk.store vox.store -o space
      v2f-gan train --recipe default-encoder --data vox.store,voices.store --set encoder.space=space
      v2f-gan train --data vox.store,utk.store --encoder RUN

    Faces of test people are read, but nothing is fitted on them. The space's centre is the average face of
    the people who have a voice. It holds dlib's encoder (extra `faces`): evaluate what it trained with
    another.
    """
    from voice2face_gan.models.face_space_base import SIZE
    from voice2face_gan.pipeline import VoiceToFace
    from voice2face_gan.training.face_space import fit_face_space, with_space

    opened = [open_data(name) for name in stores]
    model = VoiceToFace.from_pretrained(checkpoint) if checkpoint is not None else None
    given = {}
    if model is not None:
        size = model.checkpoint.generator_config.embedding
        if size != SIZE:
            raise CheckpointError(
                f"The checkpoint '{model.name}': its generator takes {size} numbers, a face space has {SIZE}."
            )
        given = {"decode": model.decode, "z_dim": model.z_dim, "zoom": model.zoom}
    with progress_bar() as bar:
        tasks = {}

        def progress(title, done, total):
            if title not in tasks:
                tasks[title] = bar.add_task(title)
            bar.update(tasks[title], completed=done, total=total)

        found = fit_face_space(opened, progress, **given)
    found.save(out)
    if model is not None:
        with_space(model.checkpoint, found.space).save(f"{out}/checkpoint", half=True)
    fitted = found.fitted
    say(
        f"{out}: fitted on {found.faces} faces; 62 components keep {100 * fitted['variance']:.1f} % of the "
        f"embedding; sex r {fitted['sex']:.3f}, age r {fitted['age']:.3f} on the faces fitted on."
    )
    if as_json:
        print_json({"space": str(out), "name": found.space.name, "faces": found.faces, **fitted})
