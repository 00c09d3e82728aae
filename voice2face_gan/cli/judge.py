"""`v2f-gan train-judge`: the fixed network that metrics look through."""

import click

from voice2face_gan.cli.console import SEED, json_option, print_json, say


@click.command("train-judge")
@click.option("-o", "--output", required=True, metavar="FOLDER", help="Where the judge goes.")
@click.option(
    "--speakers", type=click.IntRange(50), default=1500, show_default=True, help="Size of its world."
)
@click.option("--iterations", type=click.IntRange(10), default=1500, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--force", is_flag=True, help="Replace a judge that exists.")
@json_option
def train_judge(output, speakers, iterations, device, seed, force, as_json):
    """Train a judge on rendered faces: sex, age and identity, in a built-in world of its own.

    Its people are not those of `--data builtin`, so it judges generators that it shares nothing with.
    """
    from pathlib import Path

    from voice2face_gan.cli.console import builtin
    from voice2face_gan.cli.train import Show
    from voice2face_gan.data.builtin import JUDGE_SEED
    from voice2face_gan.device import choose_device
    from voice2face_gan.errors import OutputError
    from voice2face_gan.models.judge import save_judge
    from voice2face_gan.training import judge as training

    folder = Path(output).expanduser()
    if folder.exists() and not force:
        raise OutputError(f"{folder} exists and is kept; add --force to replace it.")
    chosen = choose_device(device)
    store = builtin(f"builtin:{speakers}", seed=JUDGE_SEED, clips=0)
    with Show() as reporter:
        net, figures = training.train_judge(store, iterations, seed, chosen, reporter)
    about = {
        "trained_on": f"rendered faces of {speakers} speakers of built-in world {JUDGE_SEED}, training split",
        "command": f"v2f-gan train-judge --speakers {speakers} --iterations {iterations} --seed {seed}",
        "held_out": figures,
    }
    save_judge(folder, net, about)
    say(f"Judge {folder}; on faces of people it never saw:")
    for name, value in figures.items():
        say(f"  {name.replace('_', ' ')}: {value}")
    if as_json:
        print_json({"judge": str(folder), **about})
