"""`v2f-gan fetch`: data sets that are lists of addresses."""

import click

from voice2face_gan.cli._console import NumberRange, json_option, print_json, progress_bar, say
from voice2face_gan.errors import DataError


@click.group()
def fetch() -> None:
    """Fetch a data set that is a list of addresses. Needs the network."""


@fetch.command()
@click.argument("table", metavar="CSV", type=click.Path())
@click.option("-o", "--out", "folder", required=True, metavar="DIR", help="Folder for the clips.")
@click.option("--from", "first", type=click.IntRange(1), default=1, show_default=True, help="First row.")
@click.option("--to", "last", type=click.IntRange(1), metavar="ROW", help="Last row. [default: the last]")
@click.option("--workers", type=click.IntRange(1, 64), default=4, show_default=True, help="Videos at a time.")
@click.option(
    "--rate",
    type=NumberRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Videos asked for in a second, at most, all workers together.",
)
@click.option(
    "--retries", type=click.IntRange(0), default=4, show_default=True, help="Tries after the first."
)
@click.option(
    "--height", type=click.IntRange(64), default=480, show_default=True, help="Images' height, at most."
)
@click.option(
    "--retry-failed", is_flag=True, help="Also try again what failed for good: gone, private, cut short."
)
@click.option("--url", metavar="URL", help="Address of a video, with {id}. [default: YouTube's]")
@json_option
def avspeech(table, folder, first, last, workers, rate, retries, height, retry_failed, url, as_json):
    """Fetch clips of AVSpeech.

    CSV is its list (avspeech_train.csv or avspeech_test.csv): YouTube id, start, end, face centre x, y. Each
    clip becomes an MP4 file of its own. The same command goes on where it was stopped.

    \b
      pip install 'voice2face-gan[avspeech]'
      v2f-gan fetch avspeech avspeech_train.csv -o avspeech --from 1 --to 10000
      v2f-gan prepare avspeech avspeech -o avspeech.store

    clips.csv lists what was fetched, failures.csv what was not and why, bad_rows.csv rows that are no clips.
    """
    from voice2face_gan.data.fetch.avspeech import FetchSettings, fetch_avspeech
    from voice2face_gan.data.fetch.remote import YOUTUBE

    if last is not None and last < first:
        raise DataError(f"--to {last} is before --from {first}.")
    settings = FetchSettings(
        workers=workers,
        rate=rate,
        retries=retries,
        height=height,
        retry_failed=retry_failed,
        url=url or YOUTUBE,
    )
    with _Show() as show:
        result = fetch_avspeech(table, folder, first, last, settings, show)
    _summary(result, folder)
    if as_json:
        print_json({"folder": str(folder)} | vars(result))
    if result.stopped == "interrupted":
        say("Interrupted; the same command goes on.")
        raise SystemExit(130)
    if result.stopped:
        raise DataError(f"{result.stopped}; wait some hours, then give the same command with a lower --rate.")
    if not result.done and not result.there:
        reason = result.reasons.most_common(1)[0][0] if result.reasons else "all failed in earlier runs"
        raise DataError(f"no clip could be fetched ({reason}); see {folder}/failures.csv.")


def _summary(result, folder) -> None:
    hour = 3600 * result.done / result.seconds if result.seconds else 0
    say(
        f"{result.done} clips fetched now ({hour:.0f} an hour, {result.bytes / 1e6:.0f} MB), "
        f"{result.there} were there, {result.failed} failed, {result.given_up} failed before, "
        f"{result.left} left to do."
    )
    for reason, count in result.reasons.most_common(5):
        say(f"  {count} x {reason}")
    if result.bad_rows:
        say(f"Warning: {result.bad_rows} of {result.rows} rows are no clips; see {folder}/bad_rows.csv.")
    if result.failed:
        say(f"Warning: {result.failed} clips failed; see {folder}/failures.csv.")


class _Show:
    """A progress bar with rate and time left; without a terminal, a line every half minute."""

    _LINE_SECONDS = 30

    def __enter__(self):
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

        self.bar = progress_bar(
            TextColumn("fetching"),
            BarColumn(20),
            TextColumn("{task.completed:.0f}/{task.total:.0f} clips"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
        )
        self.bar.start()
        self._task = None
        self._last_line = 0.0
        return self

    def __exit__(self, *_):
        self.bar.stop()

    def __call__(self, result, total: int, paused: float) -> None:
        import time

        finished = result.done + result.failed
        rate = 60 * finished / max(result.seconds, 1e-9)
        text = f"{rate:.0f}/min  {result.failed} failed"
        if paused > 5:
            text += f"  the server asks us to wait {paused:.0f} s"
        if self._task is None:
            self._task = self.bar.add_task("", total=total, text="")
        self.bar.update(self._task, completed=finished, text=text)
        if self.bar.disable and time.monotonic() - self._last_line > self._LINE_SECONDS:
            self._last_line = time.monotonic()
            left = (total - finished) * result.seconds / finished if finished else float("nan")
            say(f"{finished}/{total} clips  {text}" + (f"  {left:.0f} s left" if finished else ""))
