"""What `v2f-gan train` shows: a run before it starts, its progress, and how it ended."""

import time

from voice2face_gan.cli._console import console, print_json, progress_bar, say


def describe(run, store, here) -> None:
    """The lines before a run starts: its recipe, what it starts from, its training data."""
    from voice2face_gan.training.engine.warm_start import training_records

    records = training_records(store, run)
    counts = records.summary()
    genders = ", ".join(f"{n} {gender}" for gender, n in counts["identities_by_gender"].items())
    where = f"on {here.device}" + (f", {here.size} processes" if here.size > 1 else "")
    say(f"Run {run.folder}: recipe {run.recipe.name}, seed {run.settings['seed']}, {where}.")
    if run.settings.get("init"):
        say(f"Starts from {run.settings['init']}.")
    if run.recipe.encoder_alone and not run.recipe.pairs:
        say(
            f"Training data: {counts['identities']} speakers ({genders}), {counts['voices']} voices "
            f"({counts['hours']} h)."
        )
        _describe_distortion(run, records)
        return
    if run.settings.get("init") and not run.recipe.pairs:
        _describe_zoom(run, store)
    say(
        f"Training data: {counts['identities']} identities ({genders}), "
        f"{counts['voices']} voices ({counts['hours']} h), {counts['faces']} faces."
    )


def _describe_zoom(run, store) -> None:
    from voice2face_gan.models.checkpoint import load_checkpoint

    made = load_checkpoint(run.settings["init"]).generator_config.face_scale
    if made != store.zoom:
        becomes = "they are enlarged" if made > store.zoom else "it will learn to make them so"
        say(
            f"It makes faces at zoom {made:g}, and these were taken at {store.zoom:g}: {becomes}. "
            f"Faces prepared with --set faces.zoom={made:g} would be as its own are."
        )


def _describe_distortion(run, records) -> None:
    share, speech = run.recipe.encoder.augment, int(records.has_speech.sum())
    if not share:
        return
    if speech == len(records):
        say(f"{100 * share:g} % of the clips are distorted, as speech.")
    else:
        say(
            f"{100 * share:g} % of the clips are distorted, {speech} of {len(records)} as speech, others as "
            "log-mels. Prepare the data with --keep-speech to distort all of them as speech."
        )


def finish(outcome, run, as_json: bool) -> None:
    """The lines, or the JSON document, after a run has ended or stopped."""
    words = {
        "finished": "Finished",
        "interrupted": "Interrupted and saved",
        "minutes": "Time is up; saved",
    }
    alone = run.recipe.encoder_alone and not run.recipe.pairs
    rates = _equal_error_rates(run) if alone else {}
    say(f"{words[outcome.reason]} at iteration {outcome.iteration} of the {outcome.stage} stage.")
    if outcome.checkpoint is not None:
        say(f"Checkpoint: {outcome.checkpoint}")
    if not outcome.finished:
        say(f"Go on with: v2f-gan train --resume {outcome.folder}")
    elif alone:
        say(f"Use it: v2f-gan train --encoder {outcome.folder}")
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
                **({"equal_error_rate": rates} if alone else {}),
                "best": run.best(),
                "recipe": run.recipe.to_dict(),
            }
        )


def _equal_error_rates(run) -> dict[str, dict]:
    """The last ones of a run of a voice encoder, as evaluation.jsonl keeps them; {} where there are none."""
    records = [r for r in run.evaluations() if r.get("stage") == "encoder"]
    rates = records[-1]["metrics"]["equal_error_rate"] if records else {}
    for name, figure in rates.items():
        say(
            f"Equal error rate, {name}: {figure['value']:.1f} % ({figure['low']:.1f} to "
            f"{figure['high']:.1f}; chance 50) at iteration {records[-1]['iteration']}: {figure['protocol']}."
        )
    return rates


class Show:
    """A rich progress bar a stage: losses, speed, time left. Without a terminal, a line now and then."""

    _LINE_SECONDS = 15

    def __enter__(self):
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

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

    def fitted(self, name: str, iterations: int) -> None:
        self.total = iterations
        self.bar.update(self.task, total=iterations)

    def note(self, text: str) -> None:
        say(text)

    def evaluated(self, name: str, iteration: int, figures: dict[str, float], best: bool) -> None:
        rates = {"eer": "equal error rate", "eer_noisy": "with noise"}
        parts = [
            f"{rates[key]} {value:.1f} %" if key in rates else f"{key} {value:.4g}"
            for key, value in figures.items()
        ]
        text = ", ".join(parts) or "none could be computed"
        say(f"{name} {iteration}, validation people: {text}{' (the best so far)' if best else ''}")

    def tick(self, name: str, iteration: int, losses: dict[str, float], per_second: float) -> None:
        text = "  ".join(f"{key} {value:.3f}" for key, value in losses.items())
        self.bar.update(self.task, completed=iteration, losses=f"{per_second:.2f} it/s  {text}")
        now = time.monotonic()
        if self.bar.disable and (now - self._last_line > self._LINE_SECONDS or iteration == self.total):
            self._last_line = now
            left = (self.total - iteration) / max(per_second, 1e-9)
            say(f"{name} {iteration}/{self.total}  {text}  {per_second:.2f} it/s  {left:.0f} s left")
