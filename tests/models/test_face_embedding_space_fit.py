"""A face space turned to a generator that was trained on another fit of the same faces."""

import pytest
import torch

from voice2face_gan.models.face_embedding_space import COMPONENTS, SEX, SIZE, FaceSpace
from voice2face_gan.models.face_embedding_space_fit import (
    drawn_e,
    fit_to_generator,
    share_given_back,
    turn_to_generator,
)
from voice2face_gan.models.face_readers.dlib_resnet import DIMENSIONS


@pytest.fixture
def spaces():
    """A space, and another of the same span: its components have other signs and another order."""
    torch.manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(DIMENSIONS, DIMENSIONS))
    first, second = (FaceSpace().eval().requires_grad_(False) for _ in range(2))
    first.scale.copy_(torch.linspace(0.1, 0.02, COMPONENTS))
    first.basis.copy_(basis[:, :COMPONENTS])
    first.centre.copy_(0.01 * torch.randn(DIMENSIONS))
    signs = torch.where(torch.rand(COMPONENTS) < 0.5, -1.0, 1.0)
    order = torch.randperm(COMPONENTS)
    second.centre.copy_(first.centre)
    second.basis.copy_(first.basis[:, order] * signs)
    second.scale.copy_(first.scale[order])
    return first, second


def real_faces(space: FaceSpace, count: int = 4000) -> torch.Tensor:
    e = torch.randn(count, SIZE, generator=torch.Generator().manual_seed(5))
    return space.target(e)[0]


def test_signs_and_order_are_the_generators(spaces):
    """Faces that show only half of each component, and something else besides."""
    theirs, ours = spaces
    e = drawn_e(3000, seed=1)
    shown = theirs.target(0.5 * e)[0] + 0.01 * torch.randn(3000, DIMENSIONS)
    before = ours.encode(theirs.target(e)[0], e[:, COMPONENTS:])
    assert share_given_back(e, before) < 0.3
    turn_to_generator(ours, e, shown, real_faces(theirs))
    after = ours.encode(theirs.target(e)[0], e[:, COMPONENTS:])
    assert share_given_back(e, after) > 0.9
    torch.testing.assert_close(ours.basis.t() @ ours.basis, torch.eye(COMPONENTS), atol=1e-4, rtol=0)
    torch.testing.assert_close(ours.scale, theirs.scale, rtol=0.1, atol=0.005)


def test_what_faces_give_back_is_measured_on_others(spaces, monkeypatch):
    """A generator that shows e as it is, read by a network that sees what it was given."""
    theirs, ours = spaces
    monkeypatch.setattr(ours, "chips", lambda faces: faces)

    class Net(torch.nn.Module):
        def forward(self, faces):
            return faces[:, 0, 0, :DIMENSIONS] / 1000, None

    ours.net = Net()

    def decode(e, z):  # to_unit divides by 127.5 and takes 1 away
        shown = (theirs.target(e)[0] * 1000 + 1) * 127.5
        return shown[:, None, None, :].permute(0, 2, 3, 1).expand(-1, -1, -1, 3)

    monkeypatch.setattr(
        "voice2face_gan.models.face_embedding_space_fit.to_unit", lambda x: x[..., 0][:, None] / 127.5 - 1
    )
    faces = real_faces(theirs)
    told = fit_to_generator(ours, decode, 6, faces[:2000], (faces[2000:], torch.zeros(2000, 2)), count=3000)
    assert told["generated_r2_before"] < 0.3 < 0.9 < told["generated_r2"]
    assert told["real_r2"] > 0.9


def test_invented_faces_are_of_two_sexes():
    e = drawn_e(2000, seed=0)
    assert torch.equal(e, drawn_e(2000, seed=0)) and not torch.equal(e, drawn_e(2000, seed=1))
    assert abs(float(e[:, :SEX].std()) - 1) < 0.01
    assert 0.9 < float(e[:, SEX].abs().mean()) < 1.1 and abs(float(e[:, SEX].mean())) < 0.1


def test_share_given_back_is_r2():
    wanted = torch.tensor([[0.0, 0.0], [2.0, 4.0]])
    assert share_given_back(wanted, wanted) == 1
    assert share_given_back(wanted, wanted.mean(0).expand(2, 2)) == 0
    assert share_given_back(wanted, wanted + 1) == pytest.approx(1 - 4 / 10)
