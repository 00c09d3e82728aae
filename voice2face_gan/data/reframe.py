"""A store whose faces are framed otherwise than they were prepared."""

import numpy as np
import torch

from voice2face_gan.data.store import Store
from voice2face_gan.faces.align import zoomed
from voice2face_gan.faces.reframe import reframed


def reframed_store(store: Store, zoom: float) -> Store:
    """The store itself where its faces are so large already, else a copy in memory with faces so much larger
    than the template lays them. Faces prepared with `faces.zoom` are sharper: these are enlarged pixels.
    """
    if store.zoom == zoom:
        return store
    part = store.select(np.ones(len(store), dtype=bool))
    part.faces = reframed(torch.from_numpy(np.asarray(store.faces)), store.zoom, zoom).numpy()
    part.visible_box = _boxes(np.asarray(store.visible_box), store.about["side"], zoom / store.zoom)
    if store.has_landmarks:
        part.landmarks = zoomed(store.landmarks, zoom / store.zoom).astype(np.float32)
    part.about = {**store.about, "zoom": zoom}
    return part


def _boxes(visible: np.ndarray, side: int, ratio: float) -> np.ndarray:
    """`Store.visible_box` int16 (N, 4) of faces enlarged by `ratio`.

    Only whole pixels that show the image count; (0, 0, 0, 0) is an empty box. Where faces grow, an edge of
    the frame that showed the image still does.
    """
    corners = side * zoomed(visible.reshape(-1, 2) / side, ratio)
    corners = corners.reshape(-1, 2, 2)
    low, high = np.ceil(corners[:, 0] - 1e-6), np.floor(corners[:, 1] + 1e-6)
    boxes = np.concatenate([low, high], axis=1).clip(0, side)
    empty = (boxes[:, :2] >= boxes[:, 2:]).any(axis=1) | (visible[:, :2] >= visible[:, 2:]).any(axis=1)
    boxes[empty] = 0
    return boxes.astype(np.int16)
