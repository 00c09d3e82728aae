"""The one interface of readers that train: dlib's network and our classifier behind it."""

import pytest
import torch

from voice2face_gan.models.face_embedding_space import FaceSpace
from voice2face_gan.models.face_readers.base import ClassifierReaderNet, DlibReaderNet, FaceReaderNet, resized
from voice2face_gan.models.face_readers.classifier import ClassifierTrunk


@pytest.fixture(scope="module")
def readers():
    torch.manual_seed(0)
    space = FaceSpace()
    space.chip.copy_(torch.tensor([2 / 149 * 0.8, -0.8, -0.8]))
    return [DlibReaderNet(space), ClassifierReaderNet(ClassifierTrunk((4, 4, 8, 8)))]


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("side", [64, 128])
def test_features_of_any_side_with_gradients_for_the_image(readers, number, side):
    reader = readers[number]
    faces = (torch.rand(2, 3, side, side) * 2 - 1).requires_grad_()
    feature, logits = reader(faces)
    assert feature.shape == (2, reader.size) and logits is None and reader.classes == 0
    assert reader.classify(feature) is None
    feature.square().sum().backward()
    assert faces.grad.isfinite().all() and faces.grad.abs().max() > 0
    assert not any(p.requires_grad for p in reader.parameters())


def test_readers_do_not_depend_on_the_batch(readers):
    faces = torch.rand(3, 3, 64, 64) * 2 - 1
    for reader in readers:
        reader.train()
        assert isinstance(reader, FaceReaderNet) and not reader.training
        with torch.no_grad():
            assert torch.allclose(reader(faces).feature[:1], reader(faces[:1]).feature, atol=1e-5)


def test_faces_are_smoothed_where_they_are_made_smaller():
    stripes = torch.tensor([1.0, -1.0]).repeat(64).expand(1, 3, 128, 128)
    assert resized(stripes, 32)[..., 2:-2].abs().max() < 0.2
    assert resized(stripes, 128) is stripes
