"""PNG files in the commands: on standard output too, and as one grid."""

from pathlib import Path

from voice2face_gan.cli._output_paths import STANDARD_OUTPUT
from voice2face_gan.cli._streams import standard_output
from voice2face_gan.errors import OutputError


def write_png(path: Path, image) -> None:
    """Write a PIL image with its `.info` to a file, whose folder is made, or to standard output.

    Raises:
        OutputError: it cannot be written.
    """
    from voice2face_gan.faces import png

    if path != STANDARD_OUTPUT:
        png.write_png(path, image)
        return
    stream = standard_output()
    stream.write(png.png_bytes(image))
    stream.flush()


def write_grid(rows: list[list], path: Path) -> None:
    """Write one image of all faces, a row for each clip.

    Args:
        rows: PIL images of one size, equally many in each row.
    Raises:
        OutputError: it cannot be written.
    """
    import numpy as np
    import torch

    from voice2face_gan.faces.pixels import to_grid

    faces = torch.from_numpy(np.stack([np.asarray(face) for row in rows for face in row]))
    image = to_grid(faces, columns=len(rows[0]))
    image.info = {**rows[0][0].info, "Variant": f"1 to {len(rows[0])}, a row for each of {len(rows)} clips"}
    write_png(path, image)


def refuse_terminal(output: str | None) -> None:
    """
    Raises:
        OutputError: -o is standard output, and that is a terminal.
    """
    if output == "-" and standard_output().isatty():
        raise OutputError("-o - would write a PNG to the terminal; redirect it (> face.png) or give a name.")
