"""An image of random records of a store: each face with a voice of the same identity beside it."""

import numpy as np
from PIL import Image

from voice2face_gan.data.store import Store

_FRAMES, _GAP, _COLUMNS = 200, 4, 4  # of a log-mel shown, pixels between, faces in a row
_BLANK = 235


def pair_sheet(store: Store, rows: int = 12, seed: int = 0) -> Image.Image:
    """`rows` rows of four identities, drawn at random: a face, and beside it two seconds of a log-mel.

    Identities with both are drawn first. A missing face or voice is left blank.
    """
    rng = np.random.default_rng(seed)
    identities = np.unique(store.identity)
    both = np.intersect1d(store.identity[store.has_face], store.identity[store.has_voice])
    others = np.setdiff1d(identities, both)
    chosen = np.concatenate([rng.permutation(both), rng.permutation(others)])[: rows * _COLUMNS]
    side, bins = store.about["side"], store.about["features"]["n_mels"]
    height, width = max(side, bins), side + _FRAMES
    count = -(-len(chosen) // _COLUMNS)
    sheet = np.full((count * (height + _GAP), _COLUMNS * (width + 3 * _GAP), 3), _BLANK, dtype=np.uint8)
    for place, identity in enumerate(chosen):
        mine = store.identity == identity
        top, left = place // _COLUMNS * (height + _GAP), place % _COLUMNS * (width + 3 * _GAP)
        with_face = np.flatnonzero(mine & store.has_face)
        with_voice = np.flatnonzero(mine & store.has_voice)
        if len(with_face):
            sheet[top : top + side, left : left + side] = store.faces[store.face_index[rng.choice(with_face)]]
        if len(with_voice):
            shown = _mel_image(store, int(rng.choice(with_voice)))
            sheet[top : top + bins, left + side : left + side + shown.shape[1]] = shown
    return Image.fromarray(sheet)


def _mel_image(store: Store, record: int) -> np.ndarray:
    """uint8 (bins, frames, 3): low bins at the bottom, -2 to 3 standard deviations from black to white."""
    start = store.voice_offset[record]
    mel = np.asarray(store.voices[start : start + min(store.voice_frames[record], _FRAMES)], dtype=np.float32)
    grey = np.clip((mel.T[::-1] + 2) / 5 * 255, 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)
