"""`v2f-gan generate`: recordings in, pictures out."""

import os
from pathlib import Path

import click

from voice2face_gan.cli.console import SEED, STRENGTH, json_option, print_json, progress_bar, say
from voice2face_gan.cli.naming import grid_name, picture_names
from voice2face_gan.errors import OutputError, VoiceToFaceError

_NOTICE = "Synthetic pictures: what the training data associate with a voice, not the speaker's face."


class ClipsCommand(click.Command):
    """Takes an argument that begins with "-" as a clip where a file of that name lies in the current folder,
    as video ids do; otherwise it would be read as options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {name for option in self.params for name in option.opts}
        args = [f"./{a}" if a.startswith("-") and a not in own and Path(a).is_file() else a for a in args]
        return super().parse_args(ctx, args)


@click.command(cls=ClipsCommand)
@click.argument("clips", nargs=-1, required=True, metavar="CLIP...")
@click.option("-o", "--output", metavar="PATH", help="A .png file for one clip, or a folder. [default: .]")
@click.option(
    "--checkpoint",
    default="default",
    show_default=True,
    help="'default', a checkpoint or a run folder, or OWNER/NAME on the Hugging Face hub.",
)
@click.option(
    "--gender",
    type=click.Choice(["auto", "female", "male"]),
    default="auto",
    show_default=True,
    help="Whose face: as heard, or as told.",
)
@click.option(
    "--variants", type=click.IntRange(1, 1000), default=1, show_default=True, help="Faces for each clip."
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the variants' noise.")
@click.option(
    "--strength",
    type=STRENGTH,
    metavar="X",
    help="0 the average face, 1 as predicted, above 1 exaggerated. [default: the model's]",
)
@click.option(
    "--size", type=click.IntRange(8, 4096), metavar="PX", help="Side of a picture. [default: the model's]"
)
@click.option(
    "--grid", is_flag=True, help="One picture of all faces, a row a clip, instead of one file each."
)
@click.option("--force", is_flag=True, help="Replace pictures that exist.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, ...")
@json_option
def generate(clips, output, checkpoint, gender, variants, seed, strength, size, grid, force, device, as_json):
    """A face for each recording: any format, the speech in it is found by itself.

    \b
      v2f-gan generate clip.wav                          clip.png
      v2f-gan generate memo.m4a -o face.png --size 256   face.png, enlarged
      v2f-gan generate *.mp3 -o faces --variants 4       faces/NAME-1.png ... faces/NAME-4.png
    """
    # A file given twice, in whatever spelling (a.wav, ./a.wav), is one clip.
    clips = list({os.path.abspath(clip): clip for clip in reversed(clips)}.values())[::-1]
    result = {"checkpoint": str(checkpoint), "faces": [], "errors": []}

    def report(clip: str, error: VoiceToFaceError) -> None:
        result["errors"].append({"clip": clip, "error": str(error)})
        say(f"Error: {error}")

    if grid:
        sheet = grid_name(output)
        _refuse_existing(sheet, force)
        names = dict.fromkeys(clips, [sheet])
    else:
        names = picture_names(clips, output, variants)
    wanted = []
    for clip in clips:
        try:
            for path in names[clip]:
                _refuse_existing(path, force or grid)
            wanted.append(clip)
        except OutputError as error:
            report(clip, error)
    if wanted:
        rows = _generate(
            wanted, names, checkpoint, gender, variants, seed, strength, size, device, result, report, grid
        )
        if grid and rows:
            _write_grid(rows, sheet, result)
    if as_json:
        print_json(result)
    if result["faces"]:
        say(_NOTICE)
    if len(clips) > 1:
        say(f"{len(result['faces'])} of {len(clips)} clips done.")
    if result["errors"]:
        raise SystemExit(2)


def _generate(
    clips, names, checkpoint, gender, variants, seed, strength, size, device, result, report, grid
) -> list:
    """Write each clip's pictures, or collect them for a grid; fills `result`."""
    from voice2face_gan.device import choose_device
    from voice2face_gan.pipeline import VoiceToFace

    model = VoiceToFace.from_pretrained(checkpoint, choose_device(device), strength)
    result["checkpoint"] = model.name
    rows = []
    with progress_bar() as bar:
        task = bar.add_task("clips", total=len(clips), visible=len(clips) > 8)
        heard_all = model.listen_all(clips, variants, seed, gender, size)
        for clip, heard in zip(clips, heard_all, strict=True):
            bar.advance(task)
            if isinstance(heard, VoiceToFaceError):
                report(clip, heard)
                continue
            try:
                if grid:
                    rows.append(heard.faces)
                else:
                    for path, face in zip(names[clip], heard.faces, strict=True):
                        _write(path, face)
            except OutputError as error:
                report(clip, error)
                continue
            result["faces"].append(_entry(clip, heard, names[clip]))
            shown = ", ".join(str(path) for path in names[clip][:3]) + (
                ", ..." if len(names[clip]) > 3 else ""
            )
            level = "" if heard.speech_level_db is None else f", at {heard.speech_level_db:.0f} dB"
            say(f"{clip}: {heard.speech_seconds:.1f} s of speech in {heard.seconds:.1f} s{level} -> {shown}")
            if heard.warning:
                say(f"Warning: {clip}: {heard.warning}.")
    return rows


def _entry(clip: str, heard, files: list[Path]) -> dict:
    return {
        "clip": clip,
        "files": [str(path) for path in files],
        "seconds": round(heard.seconds, 3),
        "speech_seconds": round(heard.speech_seconds, 3),
        "speech_level_db": None if heard.speech_level_db is None else round(heard.speech_level_db, 1),
        "female_probability": _rounded(heard.female),
        "speech_probability": _rounded(heard.speech),
        "child_probability": _rounded(heard.child),
        "several_voices_probability": _rounded(heard.several),
        "warning": heard.warning,
    }


def _rounded(probability: float | None) -> float | None:
    return None if probability is None else round(probability, 4)


def _refuse_existing(path: Path, force: bool) -> None:
    if os.path.exists(path) and not force:  # unlike Path.exists false where the name is too long
        raise OutputError(f"{path} exists and is kept; add --force to replace it.")


def _write(path: Path, picture) -> None:
    """The PNG with its metadata, whole or not at all."""
    from io import BytesIO

    from PIL.PngImagePlugin import PngInfo

    from voice2face_gan.files import write_bytes

    text = PngInfo()
    for key, value in picture.info.items():
        text.add_text(key, value)
    content = BytesIO()
    picture.save(content, "PNG", pnginfo=text)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content.getvalue())
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or error}).") from error


def _write_grid(rows: list, sheet: Path, result: dict) -> None:
    import numpy as np
    import torch

    from voice2face_gan.faces.pixels import to_grid

    faces = torch.from_numpy(np.stack([np.asarray(face) for row in rows for face in row]))
    picture = to_grid(faces, columns=len(rows[0]))
    picture.info = {**rows[0][0].info, "Variant": f"1 to {len(rows[0])}, a row for each of {len(rows)} clips"}
    _write(sheet, picture)
    result["grid"] = str(sheet)
