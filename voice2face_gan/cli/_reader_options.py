"""The options of commands that judge: `evaluate` and `report` take the same ones, so their figures agree."""

import contextlib

import click

from voice2face_gan.cli._console import SEED, STRENGTH, progress_bar, say
from voice2face_gan.errors import DownloadError, MetricError

_THROUGH_INCEPTION = ("fid", "kid", "prdc")
_INCEPTION_ALONE = ("fid", "kid")  # what has these names went through Inception


class Seconds(click.ParamType):
    """Lengths with commas between: "1,2,4.5"."""

    name = "lengths"

    def convert(self, value, param, ctx):
        if isinstance(value, tuple):
            return value
        try:
            lengths = tuple(float(part) for part in value.split(","))
        except ValueError:
            lengths = ()
        if not lengths or not all(0 < s < 3600 for s in lengths):
            self.fail(f"'{value}': give seconds above 0 with commas between, like 1,2,4.")
        return lengths


_OPTIONS = (
    click.option(
        "--split",
        type=click.Choice(["test", "val", "train", "all"]),
        default="test",
        show_default=True,
        help="Whose faces.",
    ),
    click.option(
        "--judge",
        "judge_name",
        default="trunk",
        show_default=True,
        metavar="NAME",
        help="Who reads faces: trunk, dlib, a folder that train-face-classifier wrote, or module:callable.",
    ),
    click.option(
        "--feature",
        type=click.Choice(["auto", "inception", "dlib", "trunk"]),
        default="auto",
        show_default=True,
        help="Of fid, kid, prdc. auto: inception where its weights are, else the trunk, a stand-in. "
        "--metric fid, --metric kid and --feature inception download the weights once, about 96 MB; "
        "V2F_OFFLINE=1 forbids it.",
    ),
    click.option(
        "--inception-weights",
        metavar="PATH",
        help="pytorch-fid's weights file, pt_inception-2015-12-05-6726825d.pth. [default: $V2F_INCEPTION, "
        "then torch's hub cache]",
    ),
    click.option(
        "--gallery",
        type=click.IntRange(0),
        default=0,
        metavar="N",
        help="People in a gallery of retrieval. [default: all]",
    ),
    click.option(
        "--seconds",
        type=Seconds(),
        default="1,2,4,8",
        show_default=True,
        help="Lengths of speech for duration.",
    ),
    click.option(
        "--noise-scale",
        type=click.FloatRange(0),
        default=1.0,
        show_default=True,
        help="Of the noise of a generator that takes some: 0 its plain answers, 1 as in training.",
    ),
    click.option(
        "--strength",
        type=STRENGTH,
        metavar="X",
        help="How far a voice leads from the average face: 1 as predicted. [default: the model's]",
    ),
    click.option("--seed", type=SEED, default=0, show_default=True, help="Of resampling."),
    click.option("--device", default="cpu", show_default=True, help="Where generators run."),
)


def reader_options(command):
    """Adds them, given as split, judge_name, feature, inception_weights, gallery, seconds, spread,
    strength, seed and device."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def fetch_inception(metrics, every: bool, options) -> None:
    """Downloads Inception's weights where they are not here and are asked for by name: by --feature
    inception, or by a figure that is Inception's alone. Where that fails, `options` say why, for the note of
    the stand-in.

    Args:
        metrics: names of the figures that are wanted.
        every: all of them are, none is named.
        options: evaluation.registry.Options.
    Raises:
        MetricError: a file that should be the weights holds something else; or --feature inception insists,
            and they cannot be downloaded.
        OutputError: torch's hub cache cannot be written.
    """
    insists = options.feature == "inception"
    wanted = _THROUGH_INCEPTION if insists else _INCEPTION_ALONE
    named = options.feature == "auto" and not every
    if not (insists or named) or not set(metrics) & set(wanted):
        return
    from voice2face_gan.models import inception_weights as weights

    found = weights.find(options.inception_weights)
    if found.damaged:
        raise MetricError(f"{found.why}.")
    if found.path is not None:
        return
    try:
        with _download_bar() as (begin, progress):
            weights.fetch(begin, progress)
    except DownloadError as error:
        why = f"its weights could not be downloaded: {error}"
        if insists:
            raise MetricError(f"Inception is needed, but {why}. {weights.WAYS_OFFLINE}") from error
        options.no_inception = why


@contextlib.contextmanager
def _download_bar():
    """The functions that a download calls: one says what is coming and from where, one moves a bar."""
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn

    from voice2face_gan.models import inception_weights as weights

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with progress_bar(*columns) as bar:
        task = bar.add_task("", total=None, visible=False)

        def begin(host: str, size: int | None) -> None:
            much = weights.SIZE if size is None else f"{size / 1e6:.1f} MB"
            say(f"Downloading Inception's weights from {host}, {much}, once, to {weights.hub_cache()}.")
            bar.update(task, total=size, completed=0, visible=True)

        yield begin, lambda done: bar.update(task, completed=done)
