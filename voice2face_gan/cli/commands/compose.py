"""`v2f-gan compose`: one checkpoint of a voice encoder and a generator that were trained apart."""

import click

from voice2face_gan.cli._console import STRENGTH, NumberRange, json_option, open_data, print_json, say


@click.command()
@click.argument("encoder", metavar="ENCODER")
@click.argument("generator", metavar="GENERATOR")
@click.option("-o", "--out", required=True, metavar="FOLDER", help="The checkpoint's folder.")
@click.option("--data", required=True, help="Stores of voices and faces, with commas between.")
@click.option("--faces", help="Stores of faces alone that the generator was trained on too.")
@click.option("--judge", default="dlib", show_default=True, help="Face reader that chooses the strength.")
@click.option(
    "--trained-on", metavar="NAMES", help="Data sets, with commas: kept in the checkpoint's config."
)
@click.option("--licence", metavar="TEXT", help="Of the weights: kept in the checkpoint's config.")
@click.option(
    "--head-gain",
    type=NumberRange(0, 1),
    help="Of a face decoder with a linear part: factor of what its texture head adds. [default: its own]",
)
@click.option(
    "--strength",
    type=STRENGTH,
    help="What the checkpoint multiplies e by. [default: the lowest within a point of U + G of the best]",
)
@json_option
def compose(encoder, generator, out, data, faces, judge, trained_on, licence, head_gain, strength, as_json):
    """Compose a checkpoint, in half precision, of the voice encoder of one run and the generator of another.

    \b
      v2f-gan compose runs/00000-default-encoder-all-b64 runs/00001-r3gan-face-embedding-all-b32 \\
          --data vox.store --faces utk.store -o mine

    It gets a gender probe (fitted on training people), limits of e (from training faces), and the strength at
    which the faces of validation people match best (or --strength: readers prefer lower ones).
    """
    from dataclasses import replace

    from voice2face_gan.evaluation.readers import open_reader
    from voice2face_gan.evaluation.strength import choose_strength, half_precision_difference
    from voice2face_gan.models.checkpoint import load_checkpoint
    from voice2face_gan.training.compose import compose as compose_checkpoint

    open_reader(judge)  # one sentence at once where it is missing
    paired = open_data(data)
    known = {"trained_on": [n.strip() for n in trained_on.split(",")] if trained_on else None}
    made = compose_checkpoint(
        load_checkpoint(encoder, need_generator=False),
        load_checkpoint(generator),
        paired,
        open_data(f"{faces},{data}") if faces else paired,
        {k: v for k, v in {**known, "licence": licence}.items() if v},
        head_gain,
    )
    made.save(out, half=True)
    pixels = half_precision_difference(made, out, paired.of_split("val"))
    made.info["half_precision"] = {"pixels": pixels}
    chosen, tried = choose_strength(out, paired, "val", judge)
    made.info["strength_chosen_on"] = {"people": "validation", "tried": tried}
    if strength is not None:
        made.info["strength_chosen_on"] |= {"given": strength}
        chosen = strength
    replace(made, controls=replace(made.controls, strength=chosen)).save(out, half=True)
    best = max(tried, key=tried.get)
    say(
        f"{out}: strength {chosen:g}; validation people's U + G is highest, {tried[best]:.1f}, at "
        f"{float(best):g}."
    )
    if as_json:
        print_json({"checkpoint": str(out), "strength": chosen, "tried": tried, "pixels": pixels})
