"""Faces of any other system, as a folder of images named after the clips; and our own written so.

An image belongs to the clip whose source, without the ending of a recording, is the image's path below the
folder without its ending; "/" in the source may also be written "_" or "-". Where no clip has such a name, an
image belongs to the one clip of the data with its file name. So for the clip id10001/abc/00001.wav:

    id10001/abc/00001.png     id10001_abc_00001.jpg     id10001-abc-00001.webp
    00001.png, anywhere       if no other clip is called 00001

Images are used as they are: they should be cut as the data's own faces are (faces/align.py). They may have
any format that faces/image_io.py reads; the content of a file decides, not its ending.
"""

import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from voice2face_gan.data.layouts.reading import media
from voice2face_gan.data.store import Store
from voice2face_gan.errors import DataError, ImageError, OutputError
from voice2face_gan.evaluation.eval_set import EvalSet
from voice2face_gan.evaluation.protocol import identities_with_voice_and_face, make_eval_set
from voice2face_gan.evaluation.readers import FaceReader
from voice2face_gan.faces.image_io import open_image
from voice2face_gan.faces.pixels import to_image
from voice2face_gan.faces.png import png_bytes
from voice2face_gan.faces.reframe import reframed
from voice2face_gan.files import new_folder

_RECORDING = media.AUDIO | media.VIDEO | media.MEL
_MAX_EXAMPLES = 5  # examples in a message
_MAX_REASONS = 2  # sentences on single images in an error


@dataclass
class FolderFaces:
    """Faces from a folder.

    Attributes:
        faces: uint8 (clips with an image, side, side, 3), in the clips' order.
        given: bool (clips,), True for clips with an image.
        notes: sentences on images that were left out or changed.
    """

    faces: Tensor
    given: np.ndarray
    notes: list[str] = field(default_factory=list)


def folder_eval_set(
    folder: str | Path,
    store: Store,
    split: str = "test",
    gender: str = "all",
    reader: FaceReader | None = None,
    allow_missing: bool = False,
    zoom: float = 1.0,
) -> tuple[EvalSet, list[str]]:
    """Evaluation set of a folder of images, one a clip, and notes for the user.

    Args:
        folder: folder of the images, with or without subfolders.
        store: the data of the clips; faces have its side.
        split, gender: as in `generate_eval_set`.
        reader: default: the face classifier that ships with the package.
        allow_missing: evaluate the clips that have images, where some have none.
        zoom: size of their faces, relative to the template of faces/align.py.
    Raises:
        DataError: as `read_faces`; or no identity in that part of the data has both a voice and a face.
    """
    voices, faces = identities_with_voice_and_face(store, split, gender)
    sources = voices.source.tolist()
    others = sorted(set(store.source[store.has_voice].tolist()) - set(sources))
    read = read_faces(folder, sources, store.about["side"], others, allow_missing)
    if not read.given.all():
        voices = voices.select(read.given)
        faces = faces.select(np.isin(faces.identity, voices.identity))
    about = {
        "checkpoint": None,
        "faces_from": str(folder),
        "missing": int((~read.given).sum()),
        "trained_on": False,
    }
    return make_eval_set(
        reframed(read.faces, zoom), voices, faces, store, split, gender, reader, about
    ), read.notes


def read_faces(
    folder: str | Path,
    sources: Sequence[str],
    side: int,
    others: Sequence[str] = (),
    allow_missing: bool = False,
) -> FolderFaces:
    """Faces of clips from a folder of images.

    Args:
        folder: folder of the images, with or without subfolders.
        sources: sources of the clips, as the store has them.
        side: pixels a side of the faces wanted. Square images of one other size are resized (Lanczos).
        others: sources of other clips that may have images there.
        allow_missing: some clips, not all, may be without an image, or have one that cannot be read.
    Raises:
        DataError: no such folder, no images in it, names that fit two clips, two that fit one, clips
            without an image, images that cannot be read (with the reason), that are not square or not all
            of one size. The message has one sentence for each kind of problem, with examples.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give a folder of images named after the clips.")
    images = [os.path.relpath(path, folder).replace(os.sep, "/") for path in media.files(folder, media.IMAGE)]
    if not images:
        raise DataError(f"{folder}: there are no images (PNG, JPEG, WebP, ...) in it.")
    chosen = match_names(images, sources, others, folder)
    wrong, missing = [], [s for i, s in enumerate(sources) if i not in chosen]
    if missing and (not allow_missing or not chosen):
        hint = "" if allow_missing else "; name images after the clips, or add --allow-missing"
        wrong.append(
            f"{folder}: {len(missing)} of {len(sources)} clips have no image, {_such_as(missing)}{hint}."
        )
    faces, sizes, broken, partly = {}, {}, {}, []
    for i, image in sorted(chosen.items()):
        try:
            notes_of_image: list[str] = []
            opened = open_image(folder / image, notes=notes_of_image)
        except ImageError as error:
            broken[image] = str(error)
            continue
        partly += [image] if notes_of_image else []
        sizes[image] = opened.size
        if opened.size != (side, side):  # now: hundreds of large images do not fit into memory
            opened = opened.resize((side, side), Image.Resampling.LANCZOS)
        faces[i] = torch.from_numpy(np.array(opened))
    unread = f"{len(broken)} of {len(chosen)} images cannot be read"
    if broken and (not allow_missing or not faces):
        reasons = " ".join(list(broken.values())[:_MAX_REASONS])
        wrong.append(f"{folder}: {unread}, {_such_as(list(broken))}; make them again. {reasons}")
    size, misfits = _common_size(sizes)
    if misfits:
        shown = [f"{name} ({sizes[name][0]} x {sizes[name][1]})" for name in misfits]
        than = f", as most are with {size[0]} x {size[1]}" if size else ""
        wrong.append(
            f"{folder}: {len(misfits)} of {len(chosen)} images are not square and of one size{than}, "
            f"{_such_as(shown)}."
        )
    if wrong:
        raise DataError(" ".join(wrong))
    notes = []
    if missing:
        notes.append(
            f"{len(missing)} of {len(sources)} clips have no image and are left out, {_such_as(missing)}."
        )
    if broken:
        notes.append(f"{unread} and are left out, {_such_as(list(broken))}.")
        notes += list(broken.values())[:_MAX_EXAMPLES]
    if partly:
        notes.append(
            f"{len(partly)} images hold several images, of which the first is taken, {_such_as(partly)}."
        )
    extra = sorted(set(images) - set(chosen.values()))
    if extra:
        notes.append(f"{len(extra)} images are of no evaluated clip, {_such_as(extra)}.")
    other = _other_files(folder)
    if other:
        notes.append(f"{len(other)} files are no images by their ending and are left out, {_such_as(other)}.")
    if size != (side, side):
        notes.append(f"The images, {size[0]} x {size[1]}, were resized to the data's {side} x {side}.")
    given = np.isin(np.arange(len(sources)), list(faces))
    return FolderFaces(torch.stack([faces[i] for i in sorted(faces)]), given, notes)


def match_names(
    images: Sequence[str], sources: Sequence[str], others: Sequence[str] = (), where: str | Path = ""
) -> dict[int, str]:
    """Images of clips: index in `sources` -> image.

    Args:
        images: paths below their folder, "/" between the parts.
        sources: sources of the clips.
        others: sources of other clips that images may belong to.
        where: the folder, for messages.
    Raises:
        DataError: an image fits two clips, or two images fit one clip.
    """
    full, stems = defaultdict(set), defaultdict(set)
    everyone = [*sources, *others]
    for i, source in enumerate(everyone):
        for name in _names(source):
            full[name].add(i)
        stems[PurePosixPath(_plain(source)).name].add(i)
    found, by_stem = defaultdict(list), defaultdict(list)
    for image in images:
        name = unicodedata.normalize("NFC", os.path.splitext(image)[0])
        for clips, into in ((full.get(name), found), (stems.get(PurePosixPath(name).name), by_stem)):
            if clips:
                wanted = sorted(clips)
                if len(clips) > 1 and wanted[0] < len(sources):
                    a, b = (everyone[i] for i in wanted[:2])
                    raise DataError(
                        f"{where}: {image} may be of the clip {a} or of the clip {b}; "
                        "name it after the whole path of one of them."
                    )
                into[wanted[0]].append(image)
                break
    chosen = {}
    for i in range(len(sources)):
        own = found.get(i) or by_stem.get(i)
        if own and len(own) > 1:
            raise DataError(
                f"{where}: {own[0]} and {own[1]} are both of the clip {sources[i]}; leave one of them."
            )
        if own:
            chosen[i] = own[0]
    return chosen


def save_faces(folder: str | Path, faces: Tensor, sources: Sequence[str], info: dict[str, str]) -> Path:
    """Write faces as PNG under names that `read_faces` finds again: all of them or nothing.

    Args:
        folder: must not exist, or be empty.
        faces: uint8 (clips, side, side, 3).
        sources: sources of the clips.
        info: text metadata of every image.
    Raises:
        OutputError: something is there already, it cannot be written, or a clip's source is no file name.
    """
    folder = Path(folder)
    refuse_used(folder)
    counts = Counter(_plain(source) for source in sources)
    names = [_plain(s) if counts[_plain(s)] == 1 else s for s in sources]
    taken = Counter(names)
    for name, source in zip(names, sources, strict=True):
        hidden = any(part.startswith(".") or not part for part in name.split("/"))  # and "..", and "/clip"
        if hidden or taken[name] > 1:
            raise OutputError(f"No image can be named after the clip '{source}' alone; rename the clip.")
    folder = Path(os.path.abspath(folder))
    try:
        with new_folder(folder) as temporary:
            for name, face in zip(names, faces, strict=True):
                path = temporary / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(png_bytes(to_image(face), info))
    except OSError as error:
        raise OutputError(f"{folder} cannot be written ({error.strerror or error}).") from error
    return folder


def refuse_used(folder: str | Path) -> None:
    """Refuse a folder that is not empty.

    Raises:
        OutputError: something is there.
    """
    folder = Path(folder)
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if os.path.lexists(folder):
        raise OutputError(f"{folder} exists and is kept; give a new folder.")


def _other_files(folder: Path) -> list[str]:
    """Sorted paths below a folder of files without the ending of an image, hidden ones left out."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not media.is_hidden(name)]
        found += [
            os.path.relpath(os.path.join(place, name), folder).replace(os.sep, "/")
            for name in names
            if media.suffix(name) not in media.IMAGE and not media.is_hidden(name)
        ]
    return sorted(found)


def _plain(source: str) -> str:
    """A clip's source without the ending of a recording; other dots belong to the name (YouTube times)."""
    stem, ending = os.path.splitext(source)
    return stem if ending.lower() in _RECORDING else source


def _names(source: str) -> set[str]:
    """Names that images of a clip may have, without their ending."""
    whole = {unicodedata.normalize("NFC", s) for s in (source, _plain(source))}
    return {name.replace("/", mark) for name in whole for mark in "/_-"}


def _common_size(sizes: dict[str, tuple[int, int]]) -> tuple[tuple[int, int] | None, list[str]]:
    """The most common size of square images, None where none is square; and the images of other sizes."""
    square = Counter(size for size in sizes.values() if size[0] == size[1])
    size = square.most_common(1)[0][0] if square else None
    return size, [name for name, its in sizes.items() if its != size]


def _such_as(names: Sequence[str]) -> str:
    return ("such as " if len(names) > _MAX_EXAMPLES else "") + ", ".join(names[:_MAX_EXAMPLES])
