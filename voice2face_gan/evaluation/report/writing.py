"""Paths of a report, and writing all of it or nothing.

-o report.html    report.html, report.md, and the Markdown's images in report_files/
-o FOLDER         the same in an existing folder
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from voice2face_gan.errors import OutputError
from voice2face_gan.evaluation.report.page import Page
from voice2face_gan.files import replace_folder, temporary_beside

_NAME = "report.html"
_ENDINGS = (".html", ".htm")


@dataclass(frozen=True)
class Places:
    """The page, its Markdown twin and the folder of the twin's images."""

    html: Path
    markdown: Path
    images: Path

    @classmethod
    def of(cls, output: str | Path, force: bool = False) -> "Places":
        """Paths for the value of -o.

        Raises:
            OutputError: a name that does not end in .html, or something that exists, without `force`.
        """
        path = Path(output).expanduser()
        if path.is_dir():
            path = path / _NAME
        if path.suffix.lower() not in _ENDINGS:
            raise OutputError(f"-o {output}: give a name that ends in .html, or a folder that exists.")
        places = cls(path, path.with_suffix(".md"), path.with_name(f"{path.stem}_files"))
        for place in (places.html, places.markdown, places.images):
            if os.path.lexists(place) and not force:
                raise OutputError(f"{place} exists and is kept; add --force to replace it.")
        for place in (places.html, places.markdown):
            if place.is_dir():
                raise OutputError(f"{place} is a folder; give another name with -o.")
        # Only an earlier report's images are replaced: --force must not remove a folder of other things.
        if os.path.lexists(places.images):
            if places.images.is_symlink() or not places.images.is_dir():
                raise OutputError(f"{places.images} is no folder; give another name with -o.")
            if any(p.suffix != ".png" or not p.is_file() for p in places.images.iterdir()):
                raise OutputError(f"{places.images} holds more than images; give another name with -o.")
        return places


def write(page: Page, places: Places) -> None:
    """Write the three under temporary names, then rename them.

    Raises:
        OutputError: they cannot be written; then none of them is.
    """
    temporary = [temporary_beside(p) for p in (places.html, places.markdown, places.images)]
    try:
        places.html.parent.mkdir(parents=True, exist_ok=True)
        temporary[0].write_bytes(page.html)
        temporary[1].write_bytes(page.markdown)
        shutil.rmtree(temporary[2], ignore_errors=True)
        temporary[2].mkdir()
        for name, content in page.images.items():
            (temporary[2] / name).write_bytes(content)
        replace_folder(temporary[2], places.images)
        os.replace(temporary[1], places.markdown)
        os.replace(temporary[0], places.html)
    except OSError as error:
        raise OutputError(f"{places.html} cannot be written ({error.strerror or error}).") from error
    finally:
        for path in temporary[:2]:
            path.unlink(missing_ok=True)
        shutil.rmtree(temporary[2], ignore_errors=True)
