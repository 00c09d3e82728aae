"""Options of commands that evaluate. `evaluate` and `report` share them, so that their figures agree."""

import contextlib

import click

from voice2face_gan.cli._console import SEED, STRENGTH, NumberRange, progress_bar, say
from voice2face_gan.errors import DownloadError, MetricError

_THROUGH_INCEPTION = ("fid", "kid", "prdc")
_INCEPTION_ALONE = ("fid", "kid")  # figures of these names are Inception's alone


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
        help="Split of the evaluated identities.",
    ),
    click.option(
        "--judge",
        "reader_name",
        default="trunk",
        show_default=True,
        metavar="NAME",
        help="Face reader: trunk, dlib, a folder that train-face-classifier wrote, or module:callable.",
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
        help="Identities in a gallery of retrieval. [default: all]",
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
        type=NumberRange(0),
        default=1.0,
        show_default=True,
        help="Standard deviation of a generator's noise z: 0 its plain answers, 1 as in training.",
    ),
    click.option(
        "--strength",
        type=STRENGTH,
        metavar="X",
        help="Distance from the average face: 0 that face, 1 as predicted. [default: the model's own]",
    ),
    click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of resampling."),
    click.option("--device", default="cpu", show_default=True, help="Device of generators."),
)


def reader_options(command):
    """Add them to a command, which gets split, reader_name, feature, inception_weights, gallery, seconds,
    noise_scale, strength, seed and device."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def fetch_inception(metrics, every: bool, options) -> None:
    """Download Inception's weights where they are missing and are asked for by name.

    They are asked for by --feature inception, or by a figure that is Inception's alone. A failure is recorded
    in `options`, for the note of the stand-in.

    Args:
        metrics: names of the figures that are wanted.
        every: True where all figures are wanted and none is named.
        options: evaluation.registry.Options.
    Raises:
        MetricError: a file that should be the weights holds something else; or --feature inception is given,
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
    """Yield the functions that a download calls: the first announces the file, the second moves a bar."""
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
