"""Options of commands that train a run; `train` and `train-encoder` share them."""

import click

from voice2face_gan.cli._console import SEED

_OPTIONS = (
    click.option("--minutes", type=click.FloatRange(0, min_open=True), help="Stop and save after so long."),
    click.option("-o", "--out", "root", default="runs", show_default=True, help="Folder of run folders."),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, ..."),
    click.option("--seed", type=SEED, default=0, show_default=True),
    click.option(
        "--resume",
        is_flag=False,
        flag_value="newest",
        metavar="[RUN]",
        help="Go on with a run: its folder, or alone for the newest below --out.",
    ),
)


def running_options(command):
    """Adds them, given as minutes, root, device, seed and resume."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
