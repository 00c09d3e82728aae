"""The largest face in a photo, found and aligned as `v2f-gan prepare` does, for commands that take photos."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
from PIL import Image

from voice2face_gan.errors import ImageError
from voice2face_gan.faces.align import align, plain
from voice2face_gan.faces.detect import DETECTORS, choose, detector
from voice2face_gan.faces.image_io import open_image

ALIGNED = "none"  # in place of a detector: the image is an aligned face already
SEARCHES = (*DETECTORS, ALIGNED)


class Photo(NamedTuple):
    """An opened image.

    Attributes:
        image: RGB, upright.
        name: its file's name, for messages.
        notes: a sentence where a part of the file is passed over.
    """

    image: Image.Image
    name: str
    notes: list[str]


class FoundFace(NamedTuple):
    """An aligned face.

    Attributes:
        pixels: uint8 (side, side, 3).
        found: faces in the photo; 1 where it was not searched.
        box: left, top, right and bottom in pixels of the photo; None where it was not searched.
    """

    pixels: np.ndarray
    found: int
    box: tuple[float, float, float, float] | None


def open_photo(source: str | os.PathLike | bytes | Image.Image, search: str = "hog") -> Photo:
    """Open an image.

    Args:
        source: a path, the bytes of a file, or an image.
        search: as of `find_face`.
    Raises:
        ImageError: as `open_image` and `check_search`.
    """
    if isinstance(source, Image.Image):
        return Photo(source.convert("RGB"), "the image", [])
    least_side = None if search == ALIGNED else check_search(search).least_side
    name = "the bytes given" if isinstance(source, bytes) else os.path.basename(os.fspath(source))
    notes: list[str] = []
    return Photo(open_image(source, least_side, notes), name, notes)


def find_face(photo: Photo, side: int, zoom: float = 1.0, search: str = "hog") -> FoundFace:
    """The largest face of a photo, laid on the template.

    Args:
        photo: see `open_photo`.
        side: of the face in pixels.
        zoom: how much larger than the template it is to be.
        search: a detector, or ALIGNED for an image that is an aligned face already.
    Raises:
        NoFaceError: no face is found.
        ImageError: its points make no face, or as `check_search`.
    """
    if search == ALIGNED:
        return FoundFace(plain(photo.image, side, zoom=zoom), 1, None)
    faces = check_search(search).find(photo.image)
    face = choose(faces, name=photo.name)
    return FoundFace(align(photo.image, face.points, side, zoom)[0], len(faces), face.box)


def check_search(search: str):
    """The detector of that name; None for ALIGNED.

    Raises:
        ImageError: there is none, or the extra `faces` is not installed.
    """
    if search not in SEARCHES:
        raise ImageError(f"There is no face detector '{search}'; take {', '.join(SEARCHES)}.")
    return None if search == ALIGNED else detector(search)
