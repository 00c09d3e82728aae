"""`v2f-gan reconstruct`: photos in, images out."""

import os
from collections.abc import Iterator

import click

from voice2face_gan.cli._clips import IMAGES, Arguments, ClipsCommand
from voice2face_gan.cli._console import console, json_option, print_json, progress_bar, say
from voice2face_gan.cli._image_files import Names, wanted
from voice2face_gan.cli._image_options import (
    checkpoint_option,
    device_option,
    size_option,
    strength_option,
)
from voice2face_gan.cli._output_paths import STANDARD_OUTPUT
from voice2face_gan.cli._png import refuse_terminal, write_png
from voice2face_gan.cli._tally import Tally
from voice2face_gan.errors import ImageError, OutputError, VoiceToFaceError

_NOTICE = "Synthetic images: what the model makes of the numbers that it reads from a face."


@click.command(cls=ClipsCommand)
@click.argument("images", nargs=-1, required=True, metavar="IMAGE|FOLDER...")
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    help="A .png file for one image, a folder, or - (standard output). [default: .]",
)
@checkpoint_option("; with a face space")
@strength_option("0 the average face, 1 as read, above 1 exaggerated.", default=1.0, show_default=True)
@size_option()
@click.option(
    "--detector",
    type=click.Choice(["hog", "cnn", "none"]),
    default="hog",
    show_default=True,
    help="Finds the face; none: the images are aligned faces already.",
)
@click.option(
    "--reader",
    metavar="FOLDER",
    help="The face reader of a decoder of its features (convert vggface). [default: the recipe's]",
)
@click.option("--force", is_flag=True, help="Replace images that exist.")
@click.option(
    "--skip-existing", is_flag=True, help="Pass over photos whose image exists, to go on with a folder."
)
@device_option
@json_option
def reconstruct(
    images, output, checkpoint, strength, size, detector, reader, force, skip_existing, device, as_json
):
    """Generate a face from the largest face in each photo: what the model's numbers hold of it.

    \b
      v2f-gan reconstruct photo.jpg -o face.png          face to face
      v2f-gan reconstruct photos -o faces                a whole folder; subfolders are kept
      v2f-gan reconstruct photo.jpg --checkpoint RUN     of your own model, such as a face decoder

    The face is found and aligned as `prepare` does (extra `faces`), read into the checkpoint's face space,
    and generated anew from these numbers alone, with z = 0 where the generator takes noise. The exit code is
    2 if any image failed.
    """
    if force and skip_existing:
        raise click.UsageError("--force and --skip-existing contradict each other; give one of them.")
    if output == "-" and as_json:
        raise click.UsageError("-o - and JSON both go to standard output; give one of them.")
    if "-" in images:
        raise ImageError("reconstruct reads no standard input; give the names of images.")
    refuse_terminal(output)
    arguments = Arguments.of(images, IMAGES)
    tally = Tally(keeping=skip_existing)
    names = Names(arguments, output, 1, None)
    entries: list[dict] = []
    result = {"checkpoint": str(checkpoint), "faces": entries, "errors": tally.errors}
    found = _to_do(arguments, names, tally, force)
    first = next(found, None)
    if first is not None:
        from itertools import chain

        from voice2face_gan.device import choose_device
        from voice2face_gan.face_to_face import FaceToFace
        from voice2face_gan.faces.photo import check_search

        check_search(detector)  # one sentence at once where it is missing
        model = FaceToFace.from_pretrained(checkpoint, choose_device(device), reader)
        model.check_strength(strength)
        result["checkpoint"] = model.name
        many = bool(arguments.folders) or len(arguments.given) > 8
        with progress_bar() as bar:
            total = arguments.count(names.folder) if many and console().is_terminal else len(arguments.given)
            task = bar.add_task("images", total=total, visible=many)
            for clip, path in chain([first], found):
                entry = _made(model, clip, path, tally, strength, size, detector)
                bar.update(task, completed=tally.seen)
                if entry is not None:
                    tally.made += 1
                    entries.append(entry)
    tally.refuse_nothing(arguments.folders, "an image")
    if as_json:
        print_json(
            result | {"kept": tally.kept, "skipped": tally.skipped, "seconds": round(tally.seconds, 3)}
        )
    if tally.made:
        say(_NOTICE)
    if len(arguments.given) > 1 or arguments.folders:
        say(tally.summary("images"))
    if tally.errors:
        raise SystemExit(2)


def _to_do(arguments, names, tally, force) -> Iterator[tuple]:
    """(clip, path of its image) of each image to reconstruct; failures are counted and printed."""
    for clip, (path,), _ in wanted(arguments, names, tally, force):
        try:
            if path != STANDARD_OUTPUT and os.path.exists(path) and os.path.samefile(path, clip.name):
                raise OutputError(f"{path}: is the photo itself, which is kept; give -o another name.")
        except VoiceToFaceError as error:
            tally.fail(clip.name, error)
            continue
        except OSError:
            pass  # the photo is missing, which opening it says
        yield clip, path


def _made(model, clip, path, tally, strength, size, detector) -> dict | None:
    """Write one photo's image; its JSON entry, or None where it failed, which is counted and printed."""
    from voice2face_gan.faces.photo import open_photo

    try:
        photo = open_photo(clip.name, detector)
    except VoiceToFaceError as error:
        tally.failed(clip, error)
        return None
    try:
        made = model.reconstruct_face(photo, model.find(photo, detector), strength, size)
        write_png(path, made.image)
    except VoiceToFaceError as error:
        tally.fail(clip.name, error)
        return None
    shown = "standard output" if path == STANDARD_OUTPUT else str(path)
    several = f", the largest of {made.faces_found} faces" if made.faces_found > 1 else ""
    say(f"{clip.name}{several} -> {shown}")
    for note in made.notes:
        say(f"Note: {note}")
    box = None if made.box is None else [round(x, 1) for x in made.box]
    entry = {"image": clip.name, "files": [str(path)], "faces_found": made.faces_found, "box": box}
    return entry | {"strength": strength}
