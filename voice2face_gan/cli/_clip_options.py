"""Options of commands that take recordings: the sound track, and the part of it."""

import re

import click

_TIME = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?|\.\d+)")


class Seconds(click.ParamType):
    """A time: seconds, m:ss or h:mm:ss, with fractions; gives seconds as a float."""

    name = "time"

    def convert(self, value, param, ctx) -> float:
        if isinstance(value, (int, float)):
            return float(value)
        match = _TIME.fullmatch(value.strip())
        hours, minutes, seconds = match.groups() if match else (None, None, None)
        wrong = match is None or (minutes and float(seconds) >= 60) or (hours and int(minutes) >= 60)
        if wrong:
            self.fail(f"'{value}' is no time; give seconds (80 or 80.5), 1:20 or 1:02:03.", param, ctx)
        return 3600 * int(hours or 0) + 60 * int(minutes or 0) + float(seconds)


def clip_options(command):
    """Add --audio-track, --start and --end.

    The command gets `audio_track` (int from 1, or None), `start` and `end` (seconds, or None)."""
    for option in (
        click.option("--end", type=Seconds(), metavar="TIME", help="Take each clip up to here, as 1:50."),
        click.option("--start", type=Seconds(), metavar="TIME", help="Take each clip from here, as 1:20."),
        click.option(
            "--audio-track",
            type=click.IntRange(min=1),
            metavar="N",
            help="Sound track of a film, from 1. [default: the best that is not silent]",
        ),
    ):
        command = option(command)
    return command
