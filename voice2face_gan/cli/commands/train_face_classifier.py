"""`v2f-gan train-face-classifier`: the face reader of the metrics."""

import click

from voice2face_gan.cli._console import SEED, json_option, print_json, say


@click.command("train-face-classifier")
@click.option("-o", "--output", required=True, metavar="FOLDER", help="Folder of the face classifier.")
@click.option(
    "--data",
    multiple=True,
    default=["synthetic"],
    show_default=True,
    metavar="SOURCE",
    help="A store, a raw data set, or synthetic[:SPEAKERS], which here is a world of its own; may be given "
    "several times.",
)
@click.option(
    "--unseen",
    multiple=True,
    metavar="SOURCE",
    help="Further data to be measured on as a whole and not trained on; may be given several times.",
)
@click.option("--iterations", type=click.IntRange(10), default=2000, show_default=True)
@click.option(
    "--licence", default="", metavar="TEXT", help="What the data's terms allow; kept in config.json."
)
@click.option("--device", default="auto", show_default=True)
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--force", is_flag=True, help="Replace a face classifier that exists.")
@json_option
def train_face_classifier(output, data, unseen, iterations, licence, device, seed, force, as_json):
    """Train a face classifier (sex, age, identity) on people whom no generator learns from.

    The rendered people are not those of other commands' `--data synthetic`. Of every data set the training
    people are trained on, and the test people are measured on. `evaluate --judge FOLDER` uses the result.

    \b
      v2f-gan train-face-classifier -o classifier
      v2f-gan train-face-classifier --data synthetic --data UTKFACE.store --unseen VOX.store -o classifier
    """
    import shlex
    from pathlib import Path

    from voice2face_gan.cli._console import open_data, synthetic
    from voice2face_gan.cli.commands.train import Show
    from voice2face_gan.data.synthetic import JUDGE_SEED, is_synthetic
    from voice2face_gan.device import choose_device
    from voice2face_gan.errors import OutputError
    from voice2face_gan.models.face_readers.classifier import save_classifier
    from voice2face_gan.training import face_classifier as training

    folder = Path(output).expanduser()
    if folder.exists() and not force:
        raise OutputError(f"{folder} exists and is kept; add --force to replace it.")
    chosen = choose_device(device)
    stores, others = (
        [synthetic(s, seed=JUDGE_SEED, clips=0) if is_synthetic(s) else open_data(s) for s in sources]
        for sources in (data, unseen)
    )
    with Show() as reporter:
        net, figures = training.train_face_classifier(stores, iterations, seed, chosen, reporter, others)
    options = [("--data", s) for s in data] + [("--unseen", s) for s in unseen]
    options += [("--iterations", iterations), ("--seed", seed)]
    about = {
        "trained_on": " and ".join(training.trained_on(store) for store in stores),
        "command": shlex.join(
            ["v2f-gan", "train-face-classifier", *(str(word) for pair in options for word in pair)]
        ),
        **({"licence": licence} if licence else {}),
        "held_out": figures,
    }
    save_classifier(folder, net, about)
    say(f"Face classifier {folder}; on faces of people it never saw:")
    for name, values in figures.items():
        say(f"  {name}: " + ", ".join(f"{key.replace('_', ' ')} {v}" for key, v in values.items()))
    if as_json:
        print_json({"face_classifier": str(folder), **about})
