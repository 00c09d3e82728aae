"""`v2f-gan train`: from a data set to a checkpoint."""

import click

from voice2face_gan.cli.console import SEED, console, json_option, open_data, print_json, say
from voice2face_gan.errors import TrainingError

LAPTOP = "laptop"


@click.command()
@click.option(
    "--data",
    default="builtin",
    show_default=True,
    help="A store, a raw data set, several with commas, or builtin[:SPEAKERS].",
)
@click.option(
    "--gender", type=click.Choice(["female", "male", "all"]), help="Train on these only. [default: all]"
)
@click.option(
    "--recipe",
    help="Recipe name or TOML file. [default: wen2019; on the built-in world without a GPU laptop]",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key: gan.batch=64.")
@click.option("--iterations", type=click.IntRange(1), metavar="N", help="At most N iterations of each stage.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="Stop and save after so long.")
@click.option("-o", "--out", "root", default="runs", show_default=True, help="Folder of run folders.")
@click.option("--embedder", metavar="CKPT", help="A trained voice embedder, instead of training one.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, ...")
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option(
    "--resume",
    is_flag=False,
    flag_value="newest",
    metavar="[RUN]",
    help="Go on with a run: its folder, or alone for the newest below --out.",
)
@json_option
def train(
    data, gender, recipe, overrides, iterations, minutes, root, embedder, device, seed, resume, as_json
):
    """Train a voice embedder, then a generator on it.

    \b
      v2f-gan train                                     the built-in world, offline
      v2f-gan train --gender female --iterations 200
      v2f-gan train --data STORE --recipe wen2019       your own data
      v2f-gan train --resume                            go on with the newest run

    Ctrl-C saves; --resume goes on where it stopped.
    """
    from voice2face_gan.device import choose_device
    from voice2face_gan.training.loop import train as train_run
    from voice2face_gan.training.loop import training_records
    from voice2face_gan.training.run import Run

    chosen = choose_device(device)
    if resume is not None:
        context = click.get_current_context()
        fixed = [
            name
            for name in ("data", "gender", "recipe", "overrides", "embedder", "seed")
            if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        ]
        if fixed:
            option = "set" if fixed[0] == "overrides" else fixed[0]
            raise TrainingError(
                f"--{option} cannot be changed with --resume: a run keeps what it was started with."
            )
        run = Run.newest(root) if resume == "newest" else Run.open(resume)
        store = open_data(run.settings["data"])
    else:
        run, store = _new_run(data, gender, recipe, overrides, iterations, root, embedder, seed, chosen)
    records = training_records(store, run)
    _describe(run, records, chosen)
    with Show() as reporter:
        outcome = train_run(run, store, chosen, reporter, minutes, iterations if resume is not None else None)
    _finish(outcome, run, as_json)


def _new_run(data, gender, recipe, overrides, iterations, root, embedder, seed, device):
    """The run folder and its store, made only once everything given has been found good."""
    from pathlib import Path

    from voice2face_gan.data.builtin import is_builtin
    from voice2face_gan.data.sources import source_names
    from voice2face_gan.models.checkpoint import find_checkpoint
    from voice2face_gan.training.loop import given_embedder, training_records
    from voice2face_gan.training.recipe import load_recipe
    from voice2face_gan.training.run import Run

    if recipe is None:
        recipe = LAPTOP if is_builtin(data) and device.type == "cpu" else "wen2019"
    override = (*overrides, *([f'data.gender="{gender}"'] if gender else ()))
    resolved = load_recipe(recipe, override)
    settings = {
        "data": ",".join(
            n if is_builtin(n) else str(Path(n).expanduser().resolve()) for n in source_names(data)
        ),
        "gender": resolved.data.gender,
        "seed": seed,
        "iterations": iterations,
        "embedder": None if embedder is None else str(find_checkpoint(embedder).resolve()),
    }
    store = open_data(data)
    draft = Run(None, resolved, settings)
    given_embedder(draft, training_records(store, draft))
    return Run.create(root, resolved, settings), store


def _describe(run, records, device) -> None:
    counts = records.summary()
    people = ", ".join(f"{n} {gender}" for gender, n in counts["identities_by_gender"].items())
    say(f"Run {run.folder}: recipe {run.recipe.name}, seed {run.settings['seed']}, on {device}.")
    say(
        f"Training data: {counts['identities']} identities ({people}), "
        f"{counts['voices']} voices ({counts['hours']} h), {counts['faces']} faces."
    )


def _finish(outcome, run, as_json: bool) -> None:
    words = {
        "finished": "Finished",
        "interrupted": "Interrupted and saved",
        "minutes": "Time is up; saved",
    }
    say(f"{words[outcome.reason]} at iteration {outcome.iteration} of the {outcome.stage} stage.")
    if outcome.checkpoint is not None:
        say(f"Checkpoint: {outcome.checkpoint}")
    if not outcome.finished:
        say(f"Go on with: v2f-gan train --resume {outcome.folder}")
    else:
        say(f"Try it: v2f-gan generate CLIP --checkpoint {outcome.folder}")
    if as_json:
        print_json(
            {
                "run": str(outcome.folder),
                "checkpoint": str(outcome.checkpoint) if outcome.checkpoint else None,
                "stage": outcome.stage,
                "iteration": outcome.iteration,
                "finished": outcome.finished,
                "reason": outcome.reason,
                "losses": outcome.losses,
                "recipe": run.recipe.to_dict(),
            }
        )
    if outcome.reason == "interrupted":
        raise SystemExit(130)


class Show:
    """A rich progress bar a stage: losses, speed, time left. Without a terminal, a line now and then."""

    _LINE_SECONDS = 15

    def __enter__(self):
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

        from voice2face_gan.cli.console import progress_bar

        self.bar = progress_bar(
            TextColumn("{task.description}"),
            BarColumn(20),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}"),
        )
        self.bar.start()
        self._last_line = 0.0
        return self

    def __exit__(self, *_):
        self.bar.stop()

    def stage(self, name: str, iteration: int, iterations: int) -> None:
        start = f"goes on at iteration {iteration}" if iteration else "starts"
        console().print(f"The {name} stage {start}, {iterations} iterations in all.")
        self.total = iterations
        self.task = self.bar.add_task(name, total=iterations, completed=iteration, losses="")

    def tick(self, name: str, iteration: int, losses: dict[str, float], per_second: float) -> None:
        import time

        text = "  ".join(f"{key} {value:.3f}" for key, value in losses.items())
        self.bar.update(self.task, completed=iteration, losses=f"{per_second:.2f} it/s  {text}")
        now = time.monotonic()
        if self.bar.disable and (now - self._last_line > self._LINE_SECONDS or iteration == self.total):
            self._last_line = now
            left = (self.total - iteration) / max(per_second, 1e-9)
            say(f"{name} {iteration}/{self.total}  {text}  {per_second:.2f} it/s  {left:.0f} s left")
