"""Several stores as one."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from voice2face_gan.data.store import LABELS, Store, no_landmarks
from voice2face_gan.errors import StoreError

_COPY_ROWS = 100_000  # at once


def join_stores(stores: Sequence[Store]) -> Store:
    """Several stores as one.

    The arrays of voices and faces become new ones, laid end to end in a nameless file in the temporary
    folder, so that memory does not grow with them.

    Identities keep their names. Where stores of different data sets (`dataset`) share a name, it means two
    identities: from the second on the data set is put before the name, "avspeech:0012".

    Raises:
        StoreError: log-mel settings or sides of faces differ, or the temporary folder has no room.
    """
    if len(stores) == 1:
        return stores[0]
    first = stores[0]
    zoom = next((store.zoom for store in stores if len(store.faces)), 1.0)
    for other in stores[1:]:
        for what, mine, its in (
            ("log-mel settings", first.about["features"], other.about["features"]),
            ("a side of faces", first.about["side"], other.about["side"]),
            *((("a zoom of faces", zoom, other.zoom),) if len(other.faces) else ()),
        ):
            if mine != its:
                raise StoreError(
                    f"{other.folder}: has {what} other than {first.folder} ({_difference(mine, its)}); "
                    "prepare both with the same settings."
                )
    joined = object.__new__(Store)
    joined.folder = Path(" + ".join(str(store.folder) for store in stores))
    joined.stores = tuple(stores)
    joined.voices = _end_to_end([store.voices for store in stores])
    joined.faces = _end_to_end([store.faces for store in stores])
    joined.visible_box = np.concatenate([store.visible_box for store in stores])
    with_faces = [store for store in stores if len(store.faces)]
    joined.landmarks = no_landmarks()
    if with_faces and all(store.has_landmarks for store in with_faces):
        joined.landmarks = np.concatenate([store.landmarks for store in with_faces])
    joined.speech = _end_to_end([store.speech for store in stores])
    for name in (*LABELS, "age", "voice_frames", "speech_samples"):
        setattr(joined, name, np.concatenate([getattr(store, name) for store in stores]))
    joined.identity = np.concatenate(_distinct_identities(stores))
    for name, array in (("voice_offset", "voices"), ("face_index", "faces"), ("speech_offset", "speech")):
        starts = np.cumsum([0] + [len(getattr(store, array)) for store in stores])
        places = [getattr(store, name) for store in stores]
        shifted = [np.where(p < 0, p, p + start) for p, start in zip(places, starts, strict=False)]
        setattr(joined, name, np.concatenate(shifted))
    joined.about = {
        **first.about,
        **{key: sum(store.about[key] for store in stores) for key in ("records", "faces", "frames")},
        **({"samples": len(joined.speech)} if len(joined.speech) else {}),
        "zoom": zoom,
        "levels": all(store.has_raw_log_mel or not store.has_voice.any() for store in stores),
        "source": {
            "layout": " + ".join(str(store.about["source"].get("layout", "")) for store in stores),
            "stores": [store.about["source"] for store in stores],
        },
    }
    return joined


def _difference(mine, its) -> str:
    """The first difference of two settings, for a message."""
    if not isinstance(mine, dict):
        return f"{its} instead of {mine}"
    key = next(k for k in sorted({*mine, *its}) if mine.get(k) != its.get(k))
    return f"{key} is {its.get(key)} instead of {mine.get(key)}"


def _distinct_identities(stores: Sequence[Store]) -> list[np.ndarray]:
    """The identities of each store, renamed where a store of another data set has the name already."""
    owner: dict[str, str] = {}
    renamed = []
    for store in stores:
        present = np.unique(store.identity).tolist()
        names = {
            p: p if owner.get(p, store.dataset) == store.dataset else f"{store.dataset}:{p}" for p in present
        }
        owner |= dict.fromkeys((name for name in names.values() if name not in owner), store.dataset)
        renamed.append(np.array([names[p] for p in store.identity.tolist()], dtype=str))
    return renamed


def _end_to_end(arrays: list[np.ndarray]) -> np.ndarray:
    """Concatenated along the first axis, in a file that has no name and goes with the array."""
    shape = (sum(len(array) for array in arrays), *arrays[0].shape[1:])
    if not shape[0]:
        return arrays[0]
    needed = int(np.prod(shape)) * arrays[0].itemsize
    if shutil.disk_usage(tempfile.gettempdir()).free < needed:
        raise StoreError(
            f"Joining the stores needs {needed / 2**30:.1f} GiB in {tempfile.gettempdir()}, which is fuller; "
            "set TMPDIR to a folder with room."
        )
    with tempfile.TemporaryFile() as file:
        joined = np.memmap(file, dtype=arrays[0].dtype, mode="w+", shape=shape)
    start = 0
    for array in arrays:
        for part in range(0, len(array), _COPY_ROWS):  # in pieces, so that no source is in memory whole
            piece = array[part : part + _COPY_ROWS]
            joined[start : start + len(piece)] = piece
            start += len(piece)
    return joined
