"""The images of a command's clips or photos: their paths, and which are to be made."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from voice2face_gan.cli._clips import Arguments, Clip
from voice2face_gan.cli._output_paths import (
    STANDARD_OUTPUT,
    folder_names,
    image_names,
    output_folder,
    variant_paths,
)
from voice2face_gan.cli._tally import Tally
from voice2face_gan.errors import OutputError, VoiceToFaceError


class Names:
    """Paths of each clip's images.

    Args:
        sheet: the paths that all clips share, where they share one image.
    Attributes:
        folder: the folder for the images of folders; None without folders.
    Raises:
        OutputError: -o does not suit the clips.
    """

    def __init__(self, arguments: Arguments, output: str | None, variants: int, sheet: list[Path] | None):
        self.variants, self.sheet = variants, sheet
        self.folder, self._below, self._files = None, {}, {}
        if sheet:
            self.folder = sheet[0].parent
            return
        if arguments.folders:
            self.folder = output_folder(output)
            alone = len(arguments.given) == 1
            self._below = dict.fromkeys(arguments.folders, "") if alone else folder_names(arguments.folders)
        if arguments.files:
            self._files = image_names(arguments.files, output, variants)

    def of(self, clip: Clip) -> list[Path]:
        if self.sheet:
            return self.sheet
        if clip.place is None:
            return self._files[clip.argument]
        return variant_paths(self.folder / self._below[clip.argument] / f"{clip.place}.png", self.variants)


def wanted(
    arguments: Arguments, names: Names, tally: Tally, force: bool
) -> Iterator[tuple[Clip, list[Path], Any]]:
    """(clip, paths of its images, source to open) of each clip to do; failures are counted and printed."""
    for clip in arguments.clips(names.folder, tally.fail):
        tally.seen += 1
        paths = names.of(clip)
        there = [] if force or names.sheet else [path for path in paths if exists(path)]
        if tally.keeping and len(there) == len(paths) and there:
            tally.keep(clip, [str(path) for path in paths])
            continue
        try:
            if there and not tally.keeping:
                refuse_existing(there)
            source = clip.source()
        except VoiceToFaceError as error:
            tally.fail(clip.name, error)
            continue
        yield clip, paths, source


def exists(path: Path) -> bool:
    return path != STANDARD_OUTPUT and os.path.exists(path)  # unlike Path.exists false for too long a name


def refuse_existing(paths: list[Path]) -> None:
    for path in paths:
        if exists(path):
            raise OutputError(
                f"{path} exists and is kept; add --force to replace it, or --skip-existing to pass over it."
            )
