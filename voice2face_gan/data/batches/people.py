"""Who a GAN stage trains on, and who its image grids show."""

import numpy as np
import torch
from torch import Tensor

from voice2face_gan.data.batches.sampling import VoiceBank
from voice2face_gan.data.store import Store
from voice2face_gan.errors import DataError

GRID_CLIPS = 8


def identities_with_both(store: Store) -> set[str]:
    """The identities that have a voice and a face among the records."""
    return set(store.identity[store.has_voice].tolist()) & set(store.identity[store.has_face].tolist())


def with_both(store: Store) -> Store:
    """The records of these identities.

    Raises:
        DataError: fewer than two identities have both.
    """
    both = identities_with_both(store)
    if len(both) < 2:
        raise DataError(
            f"{store.folder}: {len(both)} identities have both voices and faces; a GAN needs two or more."
        )
    return store.select(np.isin(store.identity, sorted(both)))


def identities_with_faces(store: Store) -> set[str]:
    """The identities that have a face among the records."""
    return set(store.identity[store.has_face].tolist())


def fixed_faces(store: Store) -> Tensor:
    """The first face of each of the first few identities with one: uint8 (N, side, side, 3)."""
    faces = []
    for name in sorted(identities_with_faces(store))[:GRID_CLIPS]:
        first = np.flatnonzero((store.identity == name) & store.has_face)[0]
        faces.append(torch.from_numpy(np.array(store.faces[store.face_index[first]])))
    return torch.stack(faces)


def fixed_people(store: Store) -> list[str]:
    """The first few identities with a voice and a face: those of the image grids."""
    return sorted(identities_with_both(store))[:GRID_CLIPS]


def fixed_clips(store: Store, takes: str) -> tuple[list[Tensor], Tensor]:
    """The first voice and the first face of these identities; the faces as uint8 (N, side, side, 3)."""
    voices, faces = [], []
    bank = VoiceBank.unlabelled(store, takes)
    for name in fixed_people(store):
        records = store.identity == name
        voices.append(bank.whole(int(np.flatnonzero(records & store.has_voice)[0])))
        faces.append(store.faces[store.face_index[np.flatnonzero(records & store.has_face)[0]]])
    return voices, torch.stack([torch.from_numpy(face) for face in faces])
