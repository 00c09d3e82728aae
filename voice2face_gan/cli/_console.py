"""Helpers of all commands: messages, progress bars, errors, --json."""

import contextlib
import functools
import json
import math
import os
import sys

import click

from voice2face_gan.errors import VoiceToFaceError


class NumberRange(click.FloatRange):
    """A range of numbers; nan, which compares with nothing, is in none."""

    def convert(self, value, param, ctx):
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


SEED = click.IntRange(0, 2**63 - 2)  # the seeds of torch, less one for a second stream
STRENGTH = NumberRange(0, 10)  # as generate_options.MAX_STRENGTH


class Group(click.Group):
    """Turn our errors into one sentence on standard error and exit code 2; Ctrl-C into exit code 130."""

    def invoke(self, ctx: click.Context):
        try:
            return super().invoke(ctx)
        except VoiceToFaceError as error:
            fail(str(error))
        except KeyboardInterrupt:
            fail("Interrupted.", 130)
        except BrokenPipeError:  # the reader of our output has closed it (`| head`)
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)
        except OSError as error:  # a full disk, no permission, where no sentence of our own is raised
            fail(f"{error.filename + ': ' if error.filename else ''}{error.strerror or error}.")


def say(text: str = "") -> None:
    """Print a line for the user on standard error; standard output holds results alone."""
    click.echo(text, err=True)


def fail(sentence: str, code: int = 2) -> None:
    """Print an error and exit."""
    say(f"Error: {sentence}")
    sys.exit(code)


def json_option(command):
    """Add --json, given to the command as `as_json`."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print the result as JSON on standard output."
    )(command)


def print_json(document: dict) -> None:
    text = json.dumps(document, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # a terminal without these letters, a file name that is no text
        text = json.dumps(document, indent=2)
    click.echo(text)


@functools.cache
def console():
    """The rich console of standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def progress_bar(*columns):
    """A rich progress bar on standard error; without a terminal it draws nothing."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    shown = columns or (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeRemainingColumn(),
    )
    return Progress(*shown, console=console(), disable=not console().is_terminal)


def open_data(data: str, keep_speech: bool = False):
    """The store that --data names, made first where it does not exist (data/open.py).

    --data names the synthetic world, prepared stores, raw folders that are recognised, or several of them
    with
    commas between."""
    from voice2face_gan.data.open import open_source
    from voice2face_gan.data.synthetic import is_synthetic, synthetic_size

    title = (
        f"making the synthetic world of {synthetic_size(data)} speakers"
        if is_synthetic(data)
        else "preparing"
    )
    with _making(title) as progress:
        return open_source(data, progress, say, keep_speech)


def synthetic(data: str, **options):
    """A synthetic world as a store, with a progress bar if it has to be made; see `synthetic_store`."""
    from voice2face_gan.data.synthetic import synthetic_size, synthetic_store

    with _making(f"making the synthetic world of {synthetic_size(data)} speakers") as progress:
        return synthetic_store(data, progress, **options)


@contextlib.contextmanager
def _making(title: str):
    """Progress bar that appears with the first progress(done, total), which it yields."""
    with progress_bar() as bar:
        task = bar.add_task(title, total=1, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)
