"""What all commands share: where words go, how errors end, --json."""

import functools
import json
import os
import sys

import click

from voice2face_gan.errors import VoiceToFaceError


class Group(click.Group):
    """Turns our errors into one sentence on standard error and exit code 2; Ctrl-C into exit code 130."""

    def invoke(self, ctx: click.Context):
        try:
            return super().invoke(ctx)
        except VoiceToFaceError as error:
            fail(str(error))
        except KeyboardInterrupt:
            fail("Interrupted.", 130)
        except BrokenPipeError:  # the reader of our output has gone (`| head`); say nothing more
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)


def say(text: str = "") -> None:
    """A line for people, on standard error, so that standard output holds results alone."""
    click.echo(text, err=True)


def fail(sentence: str, code: int = 2) -> None:
    """Print the sentence and leave."""
    say(f"Error: {sentence}")
    sys.exit(code)


def json_option(command):
    """Adds --json, given to the command as `as_json`."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print the result as JSON on standard output."
    )(command)


def print_json(document: dict) -> None:
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


@functools.cache
def console():
    """The rich console for people (standard error)."""
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


def open_data(data: str):
    """The store that --data names: "builtin[:SPEAKERS]", made at first use, or a prepared store's folder."""
    from voice2face_gan.data.builtin import is_builtin
    from voice2face_gan.data.store import Store

    return builtin(data) if is_builtin(data) else Store(data)


def builtin(data: str, **options):
    """A built-in world as a store, with a progress bar if it has to be made; see `builtin_store`."""
    from voice2face_gan.data.builtin import builtin_size, builtin_store

    with progress_bar() as bar:
        title = f"making the built-in world of {builtin_size(data)} speakers"
        task = bar.add_task(title, total=builtin_size(data), visible=False)
        return builtin_store(
            data, lambda done, total: bar.update(task, completed=done, visible=True), **options
        )
