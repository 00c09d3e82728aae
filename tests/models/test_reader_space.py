"""A face space of a face reader: e is its feature, of any size; the reader's weights stay in their folder."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from voice2face_gan.errors import CheckpointError
from voice2face_gan.faces.reframe import reframed
from voice2face_gan.models.face_readers.vggface import LAYERS, VggFace, VggFaceReader
from voice2face_gan.models.reader_space import ReaderSpace, is_reader, open_reader_space
from voice2face_gan.models.registry import face_space_class

UTKFACE = [Path(__file__).parents[k] / "shared" / "data" / "faces" / "utkface" for k in (3, 4)]
HIDDEN, CLASSES = 12, 5


def small(seed: int) -> VggFaceReader:
    torch.manual_seed(seed)
    net = VggFace((4, 4, 6, 6, 8), HIDDEN, CLASSES)
    for name in LAYERS:
        torch.nn.init.kaiming_normal_(getattr(net, name).weight, nonlinearity="relu")
    return VggFaceReader(net, "deepface")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A narrow VGG-Face as `convert vggface` writes it."""
    path = tmp_path_factory.mktemp("readers") / "vggface"
    small(0).save(path)
    return path


@pytest.fixture
def space(folder) -> ReaderSpace:
    return open_reader_space(folder)


@pytest.fixture(scope="module")
def faces():
    """Smooth faces at the reader's own side."""
    coarse = torch.rand(3, 3, 14, 14, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return F.interpolate(coarse, size=(224, 224), mode="bicubic").clamp(-1, 1)


def test_e_is_the_readers_feature(space, folder, faces):
    assert space.size == HIDDEN and is_reader(folder) and is_reader("dlib") and not is_reader("nothing")
    e, reader = space(faces), VggFaceReader.load(folder)
    wanted = reader(faces)
    torch.testing.assert_close(e, wanted.feature, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(space.classify(e), wanted.logits, atol=1e-4, rtol=1e-4)
    assert space.target(e) == (e, None)
    small_faces = ((F.interpolate(faces, size=(64, 64), mode="area") + 1) * 127.5).byte().permute(0, 2, 3, 1)
    assert space.encode_faces(small_faces).shape == (3, HIDDEN), "of faces as stores hold them too"


def test_reading_has_gradients_for_the_image_and_none_for_the_reader(space, faces):
    image = faces.clone().requires_grad_()
    disturbed = torch.tensor([[1.02, 0.01, -0.02]]).expand(3, 3)
    feature, attributes = space.read(image, disturbed)
    feature.square().sum().backward()
    assert attributes is None and float(image.grad.abs().sum()) > 0
    assert not any(p.requires_grad for p in space.parameters())
    assert not torch.allclose(feature, space(faces), atol=1e-4), "another place is read"


def test_the_first_zoom_is_its_own_and_others_show_the_same_part(space, faces):
    whole = space.chip.clone()
    space.at_zoom(1.0)
    torch.testing.assert_close(space.chip, whole)
    pixels = ((faces + 1) * 127.5).round().byte().permute(0, 2, 3, 1)
    inner = slice(60, 164)  # beyond it the nearer faces know nothing
    far = space.chips(pixels.permute(0, 3, 1, 2).float())
    space.at_zoom(1.25)
    near = space.chips(reframed(pixels, 1.0, 1.25).permute(0, 3, 1, 2).float())
    assert (far - near)[..., inner, inner].abs().mean() < 2.0


def test_a_checkpoint_keeps_which_reader_and_not_its_weights(space, folder, tmp_path):
    space.fit(torch.randn(50, HIDDEN) * 3 + 1)
    space.at_zoom(1.4)
    kept, about = space.map_tensors(), space.summary()
    assert face_space_class(kept) is ReaderSpace and sum(x.numel() for x in kept.values()) == 4 + HIDDEN
    assert str(folder) not in str(about) and about["reader"]["folder"] == "vggface", "no path of the machine"
    again = ReaderSpace.of_map(kept, about, folder)
    assert again.name == space.name and again.about["zoom"] == 1.4
    torch.testing.assert_close(again.average(), space.centre)
    for reader in (None, tmp_path / "missing"):
        with pytest.raises(CheckpointError, match="give it with --reader FOLDER") as error:
            ReaderSpace.of_map(kept, about, reader)
        assert "\n" not in str(error.value) and "'vggface'" in str(error.value)
    small(1).save(tmp_path / "other")
    with pytest.raises(
        CheckpointError, match="is the face reader vggface-deepface-.* but the checkpoint's e"
    ):
        ReaderSpace.of_map(kept, about, tmp_path / "other")


def test_a_damaged_folder_is_one_sentence(folder, tmp_path):
    import shutil

    broken = shutil.copytree(folder, tmp_path / "broken")
    content = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(content[:1000])
    with pytest.raises(CheckpointError, match="not a VGG-Face reader") as error:
        open_reader_space(broken)
    assert "\n" not in str(error.value)


def test_dlib_without_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "face_recognition_models", None)
    with pytest.raises(CheckpointError, match=r"pip install 'voice2face-gan\[faces\]'"):
        open_reader_space("dlib")


@pytest.mark.skipif(not importlib.util.find_spec("face_recognition_models"), reason="without the extra faces")
def test_dlib_reads_what_its_own_chips_read():
    """Of real faces, whose landmarks it does not look for: the template says where they are."""
    pytest.importorskip("dlib")
    shared = next((path for path in UTKFACE if path.is_dir()), None)
    if shared is None:
        pytest.skip("no real faces here")
    from voice2face_gan.evaluation.readers import open_reader
    from voice2face_gan.faces.photo import find_face, open_photo

    files = sorted(shared.rglob("*.webp"))[50:1000:400]
    aligned = np.stack([find_face(open_photo(file), 150).pixels for file in files])
    space = open_reader_space("dlib").at_zoom(1.0)
    e = space.encode_faces(torch.from_numpy(aligned))
    own = torch.from_numpy(open_reader("dlib").read(torch.from_numpy(aligned)).embedding)
    assert e.shape == (len(files), 128) and space.classify(e) is None
    assert (e - own).norm(dim=1).max() < 0.4, "two images of one person are within 0.6"
