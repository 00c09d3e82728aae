"""`v2f-gan generate`: recordings in, images out."""

import itertools
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from voice2face_gan.cli._clip_options import clip_options
from voice2face_gan.cli._clips import Arguments, Clip, ClipsCommand
from voice2face_gan.cli._console import SEED, NumberRange, console, json_option, print_json, progress_bar, say
from voice2face_gan.cli._image_files import Names, exists, refuse_existing, wanted
from voice2face_gan.cli._image_options import (
    checkpoint_option,
    device_option,
    gender_option,
    size_option,
    strength_option,
)
from voice2face_gan.cli._output_paths import STANDARD_OUTPUT, grid_name, together_names
from voice2face_gan.cli._png import refuse_terminal, write_grid, write_png
from voice2face_gan.cli._tally import Tally
from voice2face_gan.errors import OutputError, VoiceToFaceError

_NOTICE = "Synthetic images: what the training data associate with a voice, not the speaker's face."


@click.command(cls=ClipsCommand)
@click.argument("clips", nargs=-1, required=True, metavar="CLIP|FOLDER...")
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    help="A .png file for one clip, a folder, or - (standard output). [default: .]",
)
@checkpoint_option()
@gender_option
@click.option(
    "--variants", type=click.IntRange(1, 1000), default=1, show_default=True, help="Faces for each clip."
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of the variants' noise.")
@strength_option(
    "0 the average face, 1 as predicted, above 1 exaggerated; refused by models whose embeddings are of "
    "length 1. [default: the model's own]"
)
@click.option(
    "--noise-scale",
    type=NumberRange(0),
    default=1.0,
    show_default=True,
    metavar="X",
    help="Of the variants' noise: 1 as in training; less makes variants more alike.",
)
@size_option()
@click.option("--grid", is_flag=True, help="One image of all faces, a row a clip, instead of one file each.")
@click.option(
    "--together",
    is_flag=True,
    help="One face from all clips, of one speaker: the mean embedding, weighted by seconds of speech.",
)
@clip_options
@click.option("--force", is_flag=True, help="Replace images that exist.")
@click.option(
    "--skip-existing", is_flag=True, help="Pass over clips whose image exists, to go on with a folder."
)
@device_option
@click.option("--json-lines", is_flag=True, help="Print a JSON line for each clip as soon as it is done.")
@json_option
def generate(
    clips,
    output,
    checkpoint,
    gender,
    variants,
    seed,
    strength,
    noise_scale,
    size,
    grid,
    together,
    audio_track,
    start,
    end,
    force,
    skip_existing,
    device,
    json_lines,
    as_json,
):
    """Generate a face for each recording, in any format, from the speech in it.

    \b
      v2f-gan generate clip.wav                          clip.png
      v2f-gan generate memo.m4a -o face.png --size 256   face.png, enlarged
      v2f-gan generate *.mp3 -o faces --variants 4       faces/NAME-1.png ... faces/NAME-4.png
      v2f-gan generate recordings -o faces               a whole folder; subfolders are kept
      v2f-gan generate a.wav b.wav --together            one face from both, together.png
      v2f-gan generate film.mp4 --start 1:20 --end 1:50  of half a minute of its sound
      ffmpeg ... -f wav - | v2f-gan generate - -o face.png

    In a folder, a file with the ending of a recording is a clip, and so is any other file that opens as one
    with sound. The others are skipped and counted. Hidden files are left out, links are followed once, and
    the output folder is not read. The exit code is 2 if any clip failed.
    """
    if force and skip_existing:
        raise click.UsageError("--force and --skip-existing contradict each other; give one of them.")
    if json_lines and (as_json or grid):
        raise click.UsageError("--json-lines does not go with --json or --grid; give one of them.")
    if output == "-" and (as_json or json_lines):
        raise click.UsageError("-o - and JSON both go to standard output; give one of them.")
    refuse_terminal(output)
    arguments = Arguments.of(clips)
    sheet = _sheet(arguments, output, variants, grid, together)
    names = Names(arguments, output, variants, sheet)
    tally = Tally(json_lines, skip_existing)
    found = wanted(arguments, names, tally, force)
    if sheet and not force and any(exists(path) for path in sheet):
        if not skip_existing:
            refuse_existing(sheet)
        say(f"{sheet[0]} exists and is kept.")
        found = iter(())
    entries, rows, first = [], [], next(found, None)
    result = {"checkpoint": str(checkpoint), "faces": entries, "errors": tally.errors}
    if first is not None:
        from voice2face_gan.device import choose_device
        from voice2face_gan.pipeline import VoiceToFace

        model = VoiceToFace.from_pretrained(checkpoint, choose_device(device))
        result["checkpoint"] = model.name
        options = {"variants": variants, "seed": seed, "gender": gender, "size": size}
        options |= {"strength": strength, "noise_scale": noise_scale}
        model.check_options(**options)  # before minutes are spent on recordings
        part = {"track": audio_track, "start": start, "end": end}
        many = bool(arguments.folders) or len(arguments.given) > 8
        with progress_bar() as bar:
            total = arguments.count(names.folder) if many and console().is_terminal else len(arguments.given)
            task = bar.add_task("clips", total=total, visible=many)
            found = itertools.chain(
                [first], _ticking(found, tally, lambda done: bar.update(task, completed=done))
            )
            if together:
                made = _together(model, found, sheet, grid, tally, part, options)
            else:
                made = _each(model, found, rows if grid else None, tally, json_lines, options | part)
            for entry in made:
                tally.line(entry)
                if as_json:
                    entries.append(entry)
        if rows:
            write_grid(rows, sheet[0])
        if grid and tally.made:
            result["grid"] = str(sheet[0])
    tally.refuse_nothing(arguments.folders, "a recording")
    if as_json:
        print_json(
            result | {"kept": tally.kept, "skipped": tally.skipped, "seconds": round(tally.seconds, 3)}
        )
    if tally.made:
        say(_NOTICE)
    if len(arguments.given) > 1 or arguments.folders:
        say(tally.summary())
    if tally.errors:
        raise SystemExit(2)


def _sheet(arguments, output, variants, grid, together) -> list[Path] | None:
    """The paths that all clips share, or None."""
    if grid:
        return [grid_name(output)]
    if not together:
        return None
    alone = arguments.given[0] if len(arguments.given) == 1 else ""
    stem = os.path.basename(os.path.abspath(alone)) if alone in arguments.folders else "together"
    return together_names(output, stem, variants)


def _ticking(found: Iterator, tally: Tally, tick) -> Iterator:
    for item in found:
        tick(tally.seen - 1)
        yield item
    tick(tally.seen)


def _each(model, found, rows, tally, at_once, options) -> Iterator[dict]:
    """Write the images of each clip, or add them to `rows` for a grid; yields the JSON entry of each."""
    waiting: deque[tuple[Clip, list[Path]]] = deque()

    def sources() -> Iterator[Any]:
        for clip, paths, source in found:
            waiting.append((clip, paths))
            yield source

    if at_once:  # several clips' faces are made together, which is faster, but the first of them would wait
        generations = (made for source in sources() for made in model.generate_many([source], **options))
    else:
        generations = model.generate_many(sources(), **options)
    for generation in generations:
        clip, paths = waiting.popleft()
        if isinstance(generation, VoiceToFaceError):
            tally.failed(clip, generation)
            continue
        try:
            if rows is None:
                _write(paths, generation.faces, tally)
            else:
                rows.append(generation.faces)
        except OutputError as error:
            tally.fail(clip.name, error)
            continue
        tally.made += 1
        _say_made(clip.name, generation, paths)
        yield {"clip": clip.name, **_entry(generation, paths)}


def _together(model, found, paths, grid, tally, part, options) -> Iterator[dict]:
    """Write one face from all clips that can be used; yields its JSON entry."""
    voices, used = [], []
    for clip, _, source in found:
        (item,) = model.embeddings([source], **part)
        if isinstance(item, VoiceToFaceError):
            tally.failed(clip, item)
            continue
        voices.append(item)
        used.append(clip.name)
        say(f"{clip.name}: {item.speech_seconds:.1f} s of speech in {item.seconds:.1f} s")
        if item.warning:
            say(f"Warning: {clip.name}: {item.warning}.")
    if not voices:
        return
    generation = model.generate_together_detailed(voices, **options)
    what = f"{len(voices)} clip{'s' if len(voices) > 1 else ''} together"
    if grid:
        write_grid([generation.faces], paths[0])
    else:
        _write(paths, generation.faces, tally)
    tally.made += len(voices)
    _say_made(what, generation, paths)
    yield {"clips": used, **_entry(generation, paths)}


def _write(paths: list[Path], faces: list, tally: Tally) -> None:
    """Write variants; an image that exists is left as it is where images are kept."""
    for path, face in zip(paths, faces, strict=True):
        if not (tally.keeping and exists(path)):
            write_png(path, face)


def _say_made(name: str, generation, paths: list[Path]) -> None:
    shown = ["standard output" if path == STANDARD_OUTPUT else str(path) for path in paths[:3]]
    shown += ["..."] * (len(paths) > 3)
    level = "" if generation.speech_level_db is None else f", at {generation.speech_level_db:.0f} dB"
    found = f"{generation.speech_seconds:.1f} s of speech in {generation.seconds:.1f} s{level}"
    say(f"{name}: {found} -> {', '.join(shown)}")
    if generation.audio.note:
        say(f"{name}: {generation.audio.note}.")
    if generation.warning:
        say(f"Warning: {name}: {generation.warning}.")


def _entry(generation, files: list[Path]) -> dict:
    return {"files": [str(path) for path in files], **generation.to_dict()}
