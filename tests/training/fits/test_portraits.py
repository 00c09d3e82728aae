"""Which faces count as portraits: what is measured of each, and which are kept."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from voice2face_gan.training.fits.portraits import faults, portraits


@pytest.fixture
def even() -> torch.Tensor:
    """A face (1, 3, 128, 128) with detail, both halves alike, before a plain background."""
    face = torch.full((1, 3, 128, 128), 0.1)
    half = torch.randn(1, 3, 70, 30, generator=torch.Generator().manual_seed(0)) / 4
    face[:, :, 40:110, 34:64] = half
    face[:, :, 40:110, 64:94] = half.flip(3)
    return face


def changed(face: torch.Tensor, rows: slice, columns: slice, by) -> torch.Tensor:
    face = face.clone()
    face[:, :, rows, columns] += by
    return face


def test_each_fault_is_told_from_the_others(even):
    grain = torch.randn(1, 3, 40, 16, generator=torch.Generator().manual_seed(1)) / 3
    lit = changed(even, slice(40, 110), slice(34, 64), 0.5)  # from one side
    busy = changed(even, slice(4, 44), slice(0, 16), grain)
    blurred = F.avg_pool2d(even, 5, 1, 2)
    found = faults(torch.cat([even, lit, busy, blurred]), 1.0)
    assert found[:, 0].argmax() == 1 and found[1, 0] > 10 * found[[0, 2, 3], 0].max()
    assert found[:, 1].argmax() == 2 and found[2, 1] > 10 * found[[0, 1, 3], 1].max()
    assert found[:, 2].argmax() == 3 and found[3, 2] - found[0, 2] > 0.02
    torch.testing.assert_close(faults(even.flip(3), 1.0), found[:1])


@pytest.mark.parametrize("hidden", [False, True])
def test_a_record_is_as_good_as_its_worst_rank(marked, monkeypatch, hidden):
    records = marked.of_split("train")
    records = records.select(records.has_face)
    first, worst = records.face_index[0], records.face_index[1]
    ranks = np.arange(records.face_index.max() + 1, dtype=np.float32)[:, None].repeat(3, axis=1)
    ranks[worst] = [-1, -1, 1000]
    if hidden:
        box = np.array(marked.visible_box)
        box[first] = [0, 0, 32, 64]
        records.visible_box = box
    read = iter(torch.from_numpy(ranks[np.unique(records.face_index)]))
    monkeypatch.setattr(
        "voice2face_gan.training.fits.portraits.faults",
        lambda images, zoom: torch.stack([next(read) for _ in images]),
    )
    kept = portraits(records, 0.25)
    assert len(kept) == round(0.25 * len(records))
    assert worst not in kept.face_index
    assert (first in kept.face_index) is not hidden
    assert kept.face_index.tolist() == sorted(kept.face_index.tolist()), "in the records' order"


def test_one_record_at_least_is_kept(marked):
    records = marked.select(marked.has_face)
    assert len(portraits(records, 1e-9)) == 1
    assert len(portraits(records, 1.0)) == len(records)
