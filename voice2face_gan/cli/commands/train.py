"""`v2f-gan train`: from a data set to a checkpoint."""

import contextlib

import click

from voice2face_gan.cli._console import console, json_option, open_data, print_json, say
from voice2face_gan.cli._run_options import running_options
from voice2face_gan.errors import TrainingError

DEFAULT, SMALL = "r3gan", "r3gan-small"


@click.command()
@click.option(
    "--data",
    default="synthetic",
    show_default=True,
    help="A store, a raw data set, several with commas, or synthetic[:SPEAKERS].",
)
@click.option(
    "--gender", type=click.Choice(["female", "male", "all"]), help="Train on these only. [default: all]"
)
@click.option(
    "--recipe",
    help="Recipe name or TOML file. [default: r3gan; on the synthetic world without a GPU r3gan-small]",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key: gan.batch=64.")
@click.option("--iterations", type=click.IntRange(1), metavar="N", help="At most N iterations of each stage.")
@click.option("--encoder", metavar="CKPT", help="A trained voice encoder, instead of training one.")
@click.option(
    "--init",
    metavar="CKPT",
    help="Fine-tune the nets of a checkpoint, a run or 'default', with its recipe unless --recipe is given.",
)
@running_options
@json_option
def train(
    data, gender, recipe, overrides, iterations, minutes, root, encoder, init, device, seed, resume, as_json
):
    """Train a voice encoder, then a generator on it.

    \b
      v2f-gan train                                     the synthetic world, offline
      v2f-gan train --gender female --iterations 200
      v2f-gan train --data STORE --recipe wen2019       your own data
      v2f-gan train --data STORE --init default         your own data, from the default model
      v2f-gan train --resume                            go on with the newest run
      torchrun --nproc_per_node=2 -m voice2face_gan train --data STORE     on two GPUs

    Ctrl-C saves; --resume goes on where it stopped.
    """
    from voice2face_gan.training.engine.distributed import started_processes
    from voice2face_gan.training.engine.train import train as train_run

    here = started_processes(device)
    with here.error_boundary():
        if resume is not None:
            _check_fixed()
            run, store = _earlier_run(resume, root, here)
            limit = iterations
        else:
            settings = {"gender": gender, "seed": seed, "iterations": iterations}
            run, store = _new_run(data, recipe, overrides, root, encoder, init, settings, here)
            limit = None
        evaluate = _evaluation(run, store, here)
        if here.is_main:
            _describe(run, store, here)
        with Show() if here.is_main else contextlib.nullcontext() as reporter:
            outcome = train_run(run, store, here.device, reporter, minutes, limit, evaluate, here)
        if here.is_main:
            _finish(outcome, run, as_json)
    if outcome.reason == "interrupted":
        raise SystemExit(130)


def _check_fixed() -> None:
    """Refuses, beside --resume, what a run keeps as it was started with."""
    context = click.get_current_context()
    for name in ("data", "gender", "recipe", "overrides", "encoder", "init", "seed"):
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            option = "set" if name == "overrides" else name
            raise TrainingError(
                f"--{option} cannot be changed with --resume: a run keeps what it was started with."
            )


def _earlier_run(resume, root, here):
    from voice2face_gan.training.engine.warm_start import refuse_encoder_run
    from voice2face_gan.training.run.folder import Run

    folder = here.on_main(lambda: (Run.newest(root) if resume == "newest" else Run.open(resume)).folder)
    run = here.on_all_ranks(lambda: Run.open(folder))
    refuse_encoder_run(run)
    return run, _open_once(run.settings["data"], here)


def _new_run(data, recipe, overrides, root, encoder, init, settings, here):
    """The run folder and its store, made only once everything given has been found good."""
    from pathlib import Path

    from voice2face_gan.data.open import source_names
    from voice2face_gan.data.synthetic import is_synthetic
    from voice2face_gan.models.checkpoint import find_checkpoint
    from voice2face_gan.training.engine.train import check_shares
    from voice2face_gan.training.engine.warm_start import given_encoder, given_nets, training_records
    from voice2face_gan.training.recipe.keys import check_command
    from voice2face_gan.training.recipe.recipe import load_recipe
    from voice2face_gan.training.run.folder import Run

    if init is not None and encoder is not None:
        raise TrainingError("--init brings a voice encoder of its own; give either --init or --encoder.")
    gender = settings["gender"]
    override = (*overrides, *([f'data.gender="{gender}"'] if gender else ()))
    if init is not None and recipe is None:
        resolved = _recipe_of(init, override)
    else:
        small = is_synthetic(data) and here.device.type == "cpu"
        resolved = load_recipe(recipe or (SMALL if small else DEFAULT), override)
    check_command(resolved, "train", encoder=bool(encoder or init))
    given = {"encoder": encoder, "init": init}
    settings = {
        "data": ",".join(
            n if is_synthetic(n) else str(Path(n).expanduser().resolve()) for n in source_names(data)
        ),
        **settings,
        "gender": resolved.data.gender,
        **{k: None if v is None else str(find_checkpoint(v).resolve()) for k, v in given.items()},
    }
    check_shares(resolved, here)
    store = _open_once(data, here)
    draft = Run(None, resolved, settings)
    given_encoder(draft, training_records(store, draft))
    given_nets(draft)
    folder = here.on_main(lambda: Run.create(root, resolved, settings).folder)
    return Run(folder, resolved, settings), store


def _recipe_of(name: str, overrides):
    """The recipe that a checkpoint was trained with."""
    from voice2face_gan.models.checkpoint import load_checkpoint
    from voice2face_gan.training.recipe.recipe import kept_recipe
    from voice2face_gan.training.stages.face_embedding import KEPT

    checkpoint = load_checkpoint(name)
    about = checkpoint.info.get("recipe")
    if not isinstance(about, dict):
        raise TrainingError(f"{checkpoint.folder} does not say its recipe; give one with --recipe.")
    # Its networks are what they are, whatever became of them since that recipe was read.
    now, model = checkpoint.tables(), about.get("model", {})
    model = {name: {k: now[name].get(k, v) for k, v in table.items()} for name, table in model.items()}
    about = {**about, "model": model}
    if checkpoint.face_space and about.get("face_embedding", {}).get("space"):
        about["face_embedding"] = {**about["face_embedding"], "space": KEPT}
    return kept_recipe(about, overrides)


def _open_once(data: str, here):
    """The store; of several processes one makes what is not there yet, then the others open it."""
    if here.size > 1:
        here.on_main(lambda: (open_data(data), None)[1])
    return here.on_all_ranks(lambda: open_data(data))


def _evaluation(run, store, here):
    """What computes figures while training, or None; called in the main process alone."""
    from voice2face_gan.cli._validation import validation

    made = []
    here.on_main(lambda: made.append(validation(run, store, here.device, say)))
    wanted = here.max(int(bool(made and made[0])))
    return (made[0] if made else lambda folder: {}) if wanted else None


def _describe(run, store, here) -> None:
    from voice2face_gan.models.checkpoint import load_checkpoint
    from voice2face_gan.training.engine.warm_start import training_records

    counts = training_records(store, run).summary()
    people = ", ".join(f"{n} {gender}" for gender, n in counts["identities_by_gender"].items())
    where = f"on {here.device}" + (f", {here.size} processes" if here.size > 1 else "")
    say(f"Run {run.folder}: recipe {run.recipe.name}, seed {run.settings['seed']}, {where}.")
    if run.settings.get("init"):
        say(f"Starts from {run.settings['init']}.")
        painted = load_checkpoint(run.settings["init"]).generator_config.face_scale
        if painted != store.zoom:
            becomes = "they are enlarged" if painted > store.zoom else "it will learn to make them so"
            say(
                f"It makes faces at zoom {painted:g}, and these were taken at {store.zoom:g}: {becomes}. "
                f"Faces prepared with --set faces.zoom={painted:g} would be as its own are."
            )
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


class Show:
    """A rich progress bar a stage: losses, speed, time left. Without a terminal, a line now and then."""

    _LINE_SECONDS = 15

    def __enter__(self):
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

        from voice2face_gan.cli._console import progress_bar

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

    def note(self, text: str) -> None:
        say(text)

    def evaluated(self, name: str, iteration: int, figures: dict[str, float], best: bool) -> None:
        text = ", ".join(f"{key} {value:.4g}" for key, value in figures.items()) or "none could be computed"
        say(f"{name} {iteration}, validation people: {text}{' (the best so far)' if best else ''}")

    def tick(self, name: str, iteration: int, losses: dict[str, float], per_second: float) -> None:
        import time

        text = "  ".join(f"{key} {value:.3f}" for key, value in losses.items())
        self.bar.update(self.task, completed=iteration, losses=f"{per_second:.2f} it/s  {text}")
        now = time.monotonic()
        if self.bar.disable and (now - self._last_line > self._LINE_SECONDS or iteration == self.total):
            self._last_line = now
            left = (self.total - iteration) / max(per_second, 1e-9)
            say(f"{name} {iteration}/{self.total}  {text}  {per_second:.2f} it/s  {left:.0f} s left")
