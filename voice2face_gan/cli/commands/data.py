"""`v2f-gan data`: content of a prepared store."""

from pathlib import Path

import click

from voice2face_gan.cli._console import json_option, open_data, print_json, say
from voice2face_gan.cli.commands.prepare import describe, document


@click.command()
@click.argument("store")
@click.option(
    "--sheet", metavar="FILE.png", help="Write an image of random faces, each with a voice beside it."
)
@click.option("--rows", type=click.IntRange(1, 200), default=12, show_default=True, help="Rows of the sheet.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the random choice."
)
@click.option("--force", is_flag=True, help="Replace a sheet that exists.")
@json_option
def data(store, sheet, rows, seed, force, as_json):
    """Print the content of STORE: people, clips, faces and hours by split and gender, and dropped records.

    STORE is a prepared store or synthetic[:SPEAKERS].
    """
    opened = open_data(store)
    describe(opened)
    features = opened.about["features"]
    say(
        f"Log-mel: {features['n_mels']} bins, {features['window_ms']:g} ms every {features['hop_ms']:g} ms, "
        f"{features['sample_rate']} Hz; faces: {opened.about['side']} x {opened.about['side']}."
    )
    result = document(opened)
    if sheet is not None:
        result["sheet"] = str(_write_sheet(opened, Path(sheet).expanduser(), rows, seed, force))
        say(f"{sheet}: faces and log-mels of {rows} random rows; those of real people must not be passed on.")
    if as_json:
        print_json(result)


def _write_sheet(store, path: Path, rows: int, seed: int, force: bool) -> Path:
    from io import BytesIO

    from voice2face_gan.data.preview import pair_sheet
    from voice2face_gan.errors import OutputError
    from voice2face_gan.files import write_bytes

    if path.suffix.lower() != ".png":
        raise OutputError(f"--sheet {path}: images are written as PNG; give a name that ends in .png.")
    if path.exists() and not force:
        raise OutputError(f"{path} exists and is kept; add --force to replace it.")
    content = BytesIO()
    pair_sheet(store, rows=rows, seed=seed).save(content, "PNG")
    try:
        write_bytes(path, content.getvalue())
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or error}).") from error
    return path
