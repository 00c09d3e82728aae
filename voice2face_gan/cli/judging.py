"""The options of commands that judge: `evaluate` and `report` take the same ones, so their figures agree."""

import click

from voice2face_gan.cli.console import SEED, STRENGTH


class Seconds(click.ParamType):
    """Lengths with commas between: "1,2,4.5"."""

    name = "lengths"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        try:
            lengths = tuple(float(part) for part in value.split(","))
        except ValueError:
            lengths = ()
        if not lengths or not all(0 < s < 3600 for s in lengths):
            self.fail(f"'{value}': give seconds above 0 with commas between, like 1,2,4.")
        return lengths


_OPTIONS = (
    click.option(
        "--split",
        type=click.Choice(["test", "val", "train", "all"]),
        default="test",
        show_default=True,
        help="Whose faces.",
    ),
    click.option(
        "--judge",
        "judge_name",
        default="trunk",
        show_default=True,
        metavar="NAME",
        help="Who reads faces: trunk, dlib, a folder that train-judge wrote, or module:callable.",
    ),
    click.option(
        "--feature",
        type=click.Choice(["auto", "inception", "dlib", "trunk"]),
        default="auto",
        show_default=True,
        help="Of fid, kid, prdc. auto: inception where its weights are, else the trunk.",
    ),
    click.option("--inception-weights", metavar="PATH", help="pytorch-fid's weights file."),
    click.option(
        "--gallery",
        type=click.IntRange(0),
        default=0,
        metavar="N",
        help="People in a gallery of retrieval. [default: all]",
    ),
    click.option(
        "--seconds",
        type=Seconds(),
        default="1,2,4,8",
        show_default=True,
        help="Lengths of speech for duration.",
    ),
    click.option(
        "--spread",
        type=click.FloatRange(0),
        default=1.0,
        show_default=True,
        help="Of the noise of a generator that takes some: 0 its plain answers, 1 as in training.",
    ),
    click.option(
        "--strength",
        type=STRENGTH,
        metavar="X",
        help="How far a voice leads from the average face: 1 as predicted. [default: the model's]",
    ),
    click.option("--seed", type=SEED, default=0, show_default=True, help="Of resampling."),
    click.option("--device", default="cpu", show_default=True, help="Where generators run."),
)


def judging_options(command):
    """Adds them, given as split, judge_name, feature, inception_weights, gallery, seconds, spread,
    strength, seed and device."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
