"""The face space of the classifier that ships: what it fits, reads and keeps."""

import pytest
import torch

from voice2face_gan.data.store import Store
from voice2face_gan.faces.pixels import to_unit
from voice2face_gan.faces.reframe import reframed
from voice2face_gan.models.checkpoint import Checkpoint, load_checkpoint
from voice2face_gan.models.classifier_space import ClassifierSpace
from voice2face_gan.models.encoders.statistics import StatisticsEncoder, StatisticsEncoderConfig
from voice2face_gan.models.face_readers.classifier import EMBEDDING, load_classifier
from voice2face_gan.models.face_space_base import AGE, SEX, SIZE
from voice2face_gan.models.registry import face_space_class
from voice2face_gan.models.voice_simulation import VoiceSimulation
from voice2face_gan.resources import resource
from voice2face_gan.training.stages.face_embedding import KEPT, embeddings_of_faces


@pytest.fixture(scope="module")
def faces(store: Store) -> torch.Tensor:
    return torch.from_numpy(store.faces[:60].copy())


@pytest.fixture(scope="module")
def space(faces) -> ClassifierSpace:
    space = ClassifierSpace().place(1.0)
    space.fit(space.readings(faces))
    space.about = {"zoom": 1.0}
    return space.eval().requires_grad_(False)


def test_it_reads_what_the_classifier_reads(space, faces):
    embedding, female, _ = load_classifier(resource("assets", "face_classifier")).read(to_unit(faces))
    read = space.readings(faces)
    assert torch.allclose(read[:, :EMBEDDING], embedding, atol=1e-4)
    sure = (female > 0.01) & (female < 0.99)
    assert torch.allclose(read[sure, EMBEDDING].sigmoid(), female[sure], atol=0.01) or not sure.any()


def test_e_is_standardised_and_target_goes_back(space, faces):
    e = space.encode_faces(faces)
    assert e.shape == (60, SIZE) and torch.allclose(e.mean(dim=0), torch.zeros(SIZE), atol=1e-3)
    assert torch.allclose(e[:, [0, 1, SEX, AGE]].std(dim=0), torch.ones(4), atol=1e-2)
    wanted, attributes = space.target(e)
    read = space.readings(faces)
    away = (wanted - read[:, :EMBEDDING]).norm() / (read[:, :EMBEDDING] - space.centre).norm()
    assert away < 0.05 and torch.allclose(attributes, e[:, SEX:])


def test_no_face_is_further_than_five_standard_deviations(space):
    far = space.encode(1e3 * torch.randn(4, EMBEDDING), torch.tensor([[40.0, -40.0]] * 4))
    assert far.abs().max() == 5.0 and far[0, SEX] == 5.0 and far[0, AGE] == -5.0


def test_few_people_give_a_finite_space(faces):
    few = ClassifierSpace().place(1.0)
    few.fit(few.readings(faces[:3]))
    assert few.encode_faces(faces[:8]).isfinite().all()


def test_faces_taken_nearer_are_read_as_the_template_frames_them(space, faces):
    """A face twice as near, laid on the template, is read as its reframed image is, but for what lies beyond
    the image's edges."""
    near = ClassifierSpace().place(2.0)
    chips = near.chips(to_unit(faces[:4]))
    inner = slice(24, 40)
    expected = to_unit(reframed(faces[:4], 2.0))
    difference = (chips - expected)[:, :, 40:52, inner].abs().mean()
    assert difference < 0.1 < (to_unit(faces[:4]) - expected)[:, :, 40:52, inner].abs().mean()


def test_maps_and_reading_are_the_networks_and_differentiable(space, faces):
    x = to_unit(faces[:2]).requires_grad_(True)
    zooms = torch.tensor([[1.03, 0.02, -0.01]] * 2)
    (embedding, attributes), maps = space.read_with_maps(x, zooms)
    alone = space.read(x, zooms)
    assert torch.allclose(embedding, alone[0], atol=1e-5) and torch.allclose(attributes, alone[1], atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(maps, space.maps(x, zooms), strict=True))
    assert [m.shape[-1] for m in maps] == [32, 16]
    (embedding.sum() + sum(m.sum() for m in maps)).backward()
    assert x.grad.abs().sum() > 0


def test_a_checkpoint_keeps_it_without_the_network(space, faces, tmp_path):
    config = StatisticsEncoderConfig()
    own = torch.randn(50, SIZE)
    simulation = VoiceSimulation.fit(own, own / 2 + 0.1 * torch.randn(50, SIZE))
    Checkpoint(
        config,
        StatisticsEncoder(config),
        info={"face_space": space.summary()},
        face_space=space.map_tensors(),
        voice_simulation=simulation,
    ).save(tmp_path / "c")
    read = load_checkpoint(tmp_path / "c", need_generator=False)
    kind = face_space_class(read.face_space)
    again = kind.of_map(read.face_space, read.info["face_space"])
    assert kind is ClassifierSpace and again.name == space.name
    assert torch.equal(again.encode_faces(faces[:5]), space.encode_faces(faces[:5]))
    assert not any("net" in name for name in read.face_space)
    assert torch.equal(read.voice_simulation.noise, simulation.noise)


def test_at_another_zoom_a_chip_shows_the_same_part():
    """As `place` says it from the beginning; there and back nothing has changed."""
    space, other = (ClassifierSpace().place(1.0) for _ in range(2))
    placed = other.place(1.4).chip.clone()
    assert torch.allclose(space.at_zoom(1.4).chip, placed, atol=1e-6) and space.about["zoom"] == 1.4
    assert torch.allclose(space.at_zoom(1.0).chip, ClassifierSpace().place(1.0).chip, atol=1e-6)


def test_long_reading_is_told(store, space, monkeypatch):
    """Piece by piece, up to the last; kept faces are not read again, and short reading is not told."""
    space = space.with_map(space.map_tensors(), space.about)
    records = store.select(store.has_face)
    monkeypatch.setenv("V2F_CACHE", str(store.folder.parent / "none of it read"))
    told = []
    assert len(embeddings_of_faces(records, space, KEPT, told.append)) == len(records) and not told
    monkeypatch.setenv("V2F_CACHE", str(store.folder.parent / "nor here"))
    monkeypatch.setattr("voice2face_gan.training.stages.face_embedding._Progress.SECONDS", -1)
    embeddings_of_faces(records, space, KEPT, told.append)
    faces = len(store.faces)
    assert len(told) == -(-faces // space.piece) and told[-1].endswith(f": {faces} of {faces}.")
    embeddings_of_faces(records, space, KEPT, told.append)
    assert len(told) == -(-faces // space.piece)
