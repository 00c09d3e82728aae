"""Windows on heads: within the image, on the head, all of them equally often; what is judged is refined."""

import torch

from voice2face_gan.models.generators.regions import HEAD_CENTRE, HEAD_RADII
from voice2face_gan.training.augmentation.windows import MARGIN, Window, draw_windows


def test_a_window_is_a_part_of_images():
    images = torch.arange(2 * 8 * 8).reshape(2, 1, 8, 8)
    outer, inner = Window(2, 1, 6), Window(4, 3, 2)
    assert torch.equal(inner.within(outer).of(outer.of(images)), inner.of(images))
    assert inner.of(images)[0, 0].tolist() == [[35, 36], [43, 44]]
    outer.of(images).zero_()
    assert not outer.of(images).any() and images.any(), "the part itself, not a copy"


def test_windows_lie_on_the_head_and_reach_all_of_it():
    drawn = [draw_windows(3, i, 128, 64, 1.0) for i in range(400)]
    seen = torch.zeros(128, 128)
    for part, judged in drawn:
        assert (part.side, judged.side) == (64 + 2 * MARGIN, 64)
        assert part.top % 8 == part.left % 8 == 0
        inside = judged.within(part)
        for first, outside in ((inside.top, part.top), (inside.left, part.left)):
            assert 0 <= first <= part.side - 64 and 0 <= outside <= 128 - part.side
            # The margin is there wherever the image reaches so far.
            assert first >= MARGIN or outside == 0
            assert part.side - 64 - first >= MARGIN - 8 or outside == 128 - part.side
        judged.of(seen).add_(1)
    rows, columns = seen.sum(dim=1).nonzero(), seen.sum(dim=0).nonzero()
    for found, centre, radius in ((columns, 0, 0), (rows, 1, 1)):
        low, high = (128 * (HEAD_CENTRE[centre] + sign * HEAD_RADII[radius]) for sign in (-1, 1))
        assert abs(found.min() - low) < 2 and abs(found.max() + 1 - high) < 2
    assert (seen[56:76, 44:84] > 300).all(), "the nose is nearly always there"
    assert draw_windows(3, 5, 128, 64, 1.0) == drawn[5] != draw_windows(4, 5, 128, 64, 1.0)


def test_faces_of_another_zoom_and_windows_as_large_as_the_image():
    for zoom in (1.4, 3.0):
        for i in range(50):
            part, judged = draw_windows(0, i, 96, 64, zoom)
            assert part == Window(0, 0, 96) and min(judged.top, judged.left) >= 0
            assert max(judged.top, judged.left) <= 32
    for window in (64, 128):
        assert draw_windows(0, 1, 64, window, 1.0) == (Window(0, 0, 64), Window(0, 0, 64))
