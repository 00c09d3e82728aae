"""`v2f-gan train-encoder`: a voice encoder, measured on held-out speakers."""

import click

from voice2face_gan.cli._console import json_option, open_data, print_json, say
from voice2face_gan.cli._run_options import running_options
from voice2face_gan.cli.commands.train import Show as ShowTraining
from voice2face_gan.errors import TrainingError

_FIXED = ("data", "gender", "recipe", "overrides", "init", "seed")


@click.command("train-encoder")
@click.option(
    "--data",
    default="synthetic",
    show_default=True,
    help="A store, a raw data set, several with commas, or synthetic[:SPEAKERS].",
)
@click.option(
    "--gender", type=click.Choice(["female", "male", "all"]), help="Train on these only. [default: all]"
)
@click.option("--recipe", default="speaker-encoder", show_default=True, help="Recipe name or TOML file.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key: encoder.augment=0.5."
)
@click.option("--iterations", type=click.IntRange(1), metavar="N", help="At most N iterations.")
@click.option("--init", metavar="CKPT", help="Go on from a trained voice encoder: a run, or 'default'.")
@running_options
@json_option
def train_encoder(
    data, gender, recipe, overrides, iterations, init, minutes, root, device, seed, resume, as_json
):
    """Train a voice encoder to tell speakers apart, with noise, rooms and codecs.

    \b
      v2f-gan prepare voices RECORDINGS -o my.store --keep-speech
      v2f-gan train-encoder --data my.store
      v2f-gan train-encoder --data my.store --init runs/00000-encoder-all-b64
      v2f-gan train --data STORE --encoder runs/00000-encoder-all-b64

    Speech of the store is distorted as it trains; of a store of log-mels alone, the log-mels. Every
    run.evaluate_every iterations it is asked of two clips of validation speakers whether one person speaks:
    the equal error rate, as the clips are and distorted. Ctrl-C saves; --resume goes on.
    """
    import contextlib

    from voice2face_gan.training.engine.distributed import started_processes
    from voice2face_gan.training.engine.train_encoder import train_encoder as train_run

    here = started_processes(device)
    with here.error_boundary():
        if resume is not None:
            run, store = _earlier_run(resume, root, here)
            limit = iterations
        else:
            run, store = _new_run(data, gender, recipe, overrides, iterations, init, root, seed, here)
            limit = None
        clips = _held_out(store, run, here)
        if here.is_main:
            _describe(run, store, clips, here)
        with Show() if here.is_main else contextlib.nullcontext() as reporter:
            measure = _measure(run, clips, here.device)
            outcome = train_run(run, store, here.device, reporter, minutes, limit, measure, here)
        if here.is_main:
            _finish(outcome, run, as_json)
    if outcome.reason == "interrupted":
        raise SystemExit(130)


def _earlier_run(resume, root, here):
    """The run to go on with, and its store."""
    from voice2face_gan.training.run.folder import EMBEDDER_RUN, Run

    context = click.get_current_context()
    for name in _FIXED:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            option = "set" if name == "overrides" else name
            raise TrainingError(
                f"--{option} cannot be changed with --resume: a run keeps what it was started with."
            )
    run = Run.newest(root, EMBEDDER_RUN) if resume == "newest" else Run.open(resume)
    if run.settings.get("command") != EMBEDDER_RUN:
        raise TrainingError(
            f"{run.folder} is no run of {EMBEDDER_RUN}; go on by v2f-gan train --resume {run.folder}."
        )
    return run, _open_once(run.settings["data"], run.recipe, here)


def _new_run(data, gender, recipe, overrides, iterations, init, root, seed, here):
    """The run folder and its store, made only once everything given has been found good."""
    from pathlib import Path

    from voice2face_gan.data.open import source_names
    from voice2face_gan.data.synthetic import is_synthetic
    from voice2face_gan.models.checkpoint import find_checkpoint
    from voice2face_gan.training.engine.train import check_shares
    from voice2face_gan.training.engine.train_encoder import encoder_records, new_settings
    from voice2face_gan.training.engine.warm_start import given_start
    from voice2face_gan.training.recipe.keys import check_command
    from voice2face_gan.training.recipe.recipe import load_recipe, override_keys
    from voice2face_gan.training.run.folder import EMBEDDER_RUN, Run

    override = (*overrides, *([f'data.gender="{gender}"'] if gender else ()))
    keys = override_keys(override)
    # Other recipes do not say how often an encoder is measured, nor by which figure.
    first = load_recipe(recipe, [text for text in override if override_keys([text]) != ["run.best"]]).run
    more = []
    if not first.evaluate_every and "run.evaluate_every" not in keys:
        more.append(f"run.evaluate_every={first.checkpoint_every}")
    if (first.evaluate_every or more) and not first.best.startswith("eer"):
        more.append('run.best="eer_noisy"')
    resolved = load_recipe(recipe, (*more, *override))
    check_command(resolved, EMBEDDER_RUN, keys)
    names = [n if is_synthetic(n) else str(Path(n).expanduser().resolve()) for n in source_names(data)]
    init = str(find_checkpoint(init).resolve()) if init is not None else None
    settings = new_settings(",".join(names), resolved.data.gender, seed, iterations, init)
    check_shares(resolved, here)
    store = _open_once(data, resolved, here)
    draft = Run(None, resolved, settings)
    given_start(draft, encoder_records(store, draft))
    folder = here.on_main(lambda: Run.create(root, resolved, settings).folder)
    return Run(folder, resolved, settings), store


class Show(ShowTraining):
    """The progress bar of `train`, and a line with the equal error rates."""

    def evaluated(self, name: str, iteration: int, figures: dict[str, float], best: bool) -> None:
        rates = {"eer": "clean", "eer_noisy": "noisy"}
        text = ", ".join(f"{rates[k]} {v:.1f} %" for k, v in figures.items() if k in rates)
        say(f"{name} {iteration}: equal error rate {text}{' (the best so far)' if best else ''}")


def _open_once(data: str, recipe, here):
    """The store; what has to be made first keeps its speech if the recipe distorts it. Of several processes
    one makes it, then the others open it."""
    speech = recipe.encoder.augment > 0
    if here.size > 1:
        here.on_main(lambda: (open_data(data, speech), None)[1])
    return here.on_all_ranks(lambda: open_data(data, speech))


def _held_out(store, run, here):
    """The clips that measure the encoder, None (and a sentence) where the data have none."""
    from voice2face_gan.errors import DataError
    from voice2face_gan.evaluation.verification import verification_clips

    try:
        return verification_clips(store, "val", run.recipe.data.gender)
    except DataError as error:
        if here.is_main:
            say(f"No equal error rate: {error}")
        return None


def _measure(run, clips, device):
    """Checkpoint folder -> record for evaluation.jsonl; None where there is nothing to measure on."""
    if clips is None:
        return None

    def measure(folder) -> dict:
        from voice2face_gan.evaluation.verification import verify
        from voice2face_gan.models.checkpoint import load_checkpoint

        encoder = load_checkpoint(folder, need_generator=False).encoder.to(device)
        figures = verify(encoder, clips, device, run.settings["seed"])
        return {
            "checkpoint": folder.name,
            "data": str(clips.about["source"].get("layout", "")) or str(clips.folder),
            "split": "val",
            "gender": run.recipe.data.gender,
            "identities": clips.summary()["identities"],
            "clips": len(clips),
            "metrics": {"equal_error_rate": {name: figure.to_dict() for name, figure in figures.items()}},
        }

    return measure


def _describe(run, store, clips, here) -> None:
    from voice2face_gan.training.engine.train_encoder import encoder_records

    records = encoder_records(store, run)
    counts, settings = records.summary(), run.recipe.encoder
    people = ", ".join(f"{n} {gender}" for gender, n in counts["identities_by_gender"].items())
    say(f"Run {run.folder}: recipe {run.recipe.name}, seed {run.settings['seed']}, on {here.device}.")
    if run.settings.get("init"):
        say(f"Starts from {run.settings['init']}.")
    say(
        f"Training data: {counts['identities']} speakers ({people}), {counts['voices']} voices "
        f"({counts['hours']} h)."
    )
    if settings.augment:
        speech = int(records.has_speech.sum())
        where = (
            "as speech"
            if speech == len(records)
            else f"{speech} of {len(records)} as speech, others as log-mels"
        )
        say(f"{100 * settings.augment:g} % of the clips are distorted, {where}.")
        if speech < len(records):
            say("Prepare the data with --keep-speech to distort all of them as speech.")
    if clips is not None:
        say(f"Held out: {clips.summary()['identities']} speakers, {len(clips)} clips.")


def _finish(outcome, run, as_json: bool) -> None:
    words = {"finished": "Finished", "interrupted": "Interrupted and saved", "minutes": "Time is up; saved"}
    say(f"{words[outcome.reason]} at iteration {outcome.iteration}.")
    records = [r for r in run.evaluations() if r.get("stage") == "encoder"]
    rates = records[-1]["metrics"]["equal_error_rate"] if records else {}
    for name, figure in rates.items():
        say(
            f"Equal error rate, {name}: {figure['value']:.1f} % ({figure['low']:.1f} to "
            f"{figure['high']:.1f}; chance 50) at iteration {records[-1]['iteration']}: {figure['protocol']}."
        )
    if not outcome.finished:
        say(f"Go on with: v2f-gan train-encoder --resume {outcome.folder}")
    say(f"Use it: v2f-gan train --encoder {outcome.folder}")
    if as_json:
        print_json(
            {
                "run": str(outcome.folder),
                "checkpoint": str(outcome.checkpoint) if outcome.checkpoint else None,
                "iteration": outcome.iteration,
                "finished": outcome.finished,
                "reason": outcome.reason,
                "losses": outcome.losses,
                "equal_error_rate": rates,
                "best": run.best(),
                "recipe": run.recipe.to_dict(),
            }
        )
