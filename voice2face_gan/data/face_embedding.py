"""Embeddings of a face reader, stored beside the faces of a store.

    face_embedding.npy    float16 (faces, D), in the order of faces.npy
    face_embedding.json   which encoder, and of which faces

Training takes them from there, so that it needs no face encoder where it runs.
"""

import hashlib
import io
import json

import numpy as np

from voice2face_gan.data.store import Store
from voice2face_gan.errors import DataError
from voice2face_gan.files import write_bytes

_ARRAY, _ABOUT = "face_embedding.npy", "face_embedding.json"
_READER = "embedder"  # the key in face_embedding.json, as stores have it


def write_face_embedding(store: Store, embedding: np.ndarray, reader: str) -> None:
    """Write embeddings into a store's folder, replacing earlier ones.

    Args:
        store: one store, whole, not several joined.
        embedding: (faces, D).
        reader: name of the face reader.
    """
    if len(embedding) != len(store.faces):
        raise DataError(f"{store.folder}: {len(embedding)} embeddings for {len(store.faces)} faces.")
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(embedding, dtype=np.float16))
    write_bytes(store.folder / _ARRAY, buffer.getvalue())
    about = {_READER: reader, "dimensions": int(embedding.shape[1]), "faces": _fingerprint(store)}
    write_bytes(store.folder / _ABOUT, (json.dumps(about) + "\n").encode())


def read_face_embedding(store: Store) -> tuple[np.ndarray, str]:
    """Embeddings float32 (faces, D) of a store, or of several joined, and the name of their face reader.

    Raises:
        DataError: a store has none, they are of other faces, or or two stores used two face readers.
    """
    parts, names = [], []
    with_faces = [part for part in getattr(store, "stores", (store,)) if len(part.faces)]
    if not with_faces:
        raise DataError(f"{store.folder}: there are no faces in it.")
    for part in with_faces:
        try:
            about = json.loads((part.folder / _ABOUT).read_text(encoding="utf-8"))
            embedding = np.load(part.folder / _ARRAY, allow_pickle=False)
            whole = embedding.shape == (len(part.faces), about["dimensions"])
            if not whole or about["faces"] != _fingerprint(part):
                raise ValueError("they are of other faces")
        except (OSError, ValueError, KeyError) as error:
            raise DataError(
                f"{part.folder} has no usable face embeddings ({error}); "
                f"make them with v2f-gan embed --faces {part.folder}, or read its faces into a space with "
                "v2f-gan face-space."
            ) from error
        parts.append(embedding.astype(np.float32))
        names.append(about[_READER])
    if len(set(names)) > 1:
        raise DataError(
            f"{store.folder}: face embeddings of different face readers ({', '.join(sorted(set(names)))}); "
            "run v2f-gan embed --faces on each store with the same --judge."
        )
    return np.concatenate(parts), names[0]


def _fingerprint(store: Store) -> str:
    """Of a thousand faces, evenly spread: enough to see that a store was made anew from other images."""
    count = len(store.faces)
    chosen = np.unique(np.linspace(0, max(count - 1, 0), min(count, 1000)).astype(np.int64))
    return hashlib.sha256(str(count).encode() + np.asarray(store.faces[chosen]).tobytes()).hexdigest()[:16]
