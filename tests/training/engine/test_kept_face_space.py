"""A checkpoint keeps the face space that its networks were trained on, and training goes on with it."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from voice2face_gan.data.reframe import reframed_store
from voice2face_gan.data.store import Store
from voice2face_gan.errors import CheckpointError
from voice2face_gan.faces.pixels import to_unit
from voice2face_gan.models import face_embedding_space
from voice2face_gan.models.checkpoint import load_checkpoint
from voice2face_gan.models.face_embedding_space import MAP_SHAPES, FaceSpace
from voice2face_gan.models.face_readers.dlib_resnet import weights_file
from voice2face_gan.training.engine.warm_start import start_from
from voice2face_gan.training.stages.face_embedding import KEPT, open_space


@pytest.fixture(scope="module")
def kept(space_folder, model_folder):
    """A checkpoint with the small world's face space."""
    space = FaceSpace.load(space_folder)
    return replace(
        load_checkpoint(model_folder),
        face_space=space.map_tensors(),
        info={"face_space": space.summary()},
    )


def test_a_checkpoint_keeps_the_map_in_full_precision(kept, space_folder, tmp_path):
    read = load_checkpoint(kept.save(tmp_path / "half", half=True))
    space = FaceSpace.load(space_folder)
    assert read.face_space.keys() == MAP_SHAPES.keys()
    assert all(torch.equal(read.face_space[name], getattr(space, name)) for name in MAP_SHAPES)
    assert read.info["face_space"]["name"] == space.name
    assert not any("net" in name for name in read.tensors()), "none of dlib's weights"


@pytest.mark.parametrize("damage", ["shape", "part"])
def test_a_map_that_is_not_whole_is_refused(kept, tmp_path, damage):
    parts = dict(kept.face_space)
    if damage == "shape":
        parts["basis"] = parts["basis"][:, :10]
    else:
        del parts["scale"]
    folder = replace(kept, face_space=parts).save(tmp_path / "bad")
    with pytest.raises(CheckpointError, match="face space is not whole"):
        load_checkpoint(folder)


def test_it_is_opened_with_the_installed_network(kept, store):
    pytest.importorskip("face_recognition_models")
    space = open_space(KEPT, kept)
    assert space.name == kept.info["face_space"]["name"]
    assert not any(p.requires_grad for p in space.parameters())
    faces = torch.from_numpy(np.array(store.faces[:5]))
    net = face_embedding_space.DlibResnet().load_dat(weights_file()).eval()
    embedding, _ = net(space.chips(to_unit(faces)))
    wanted = (embedding - kept.face_space["centre"]) @ kept.face_space["basis"] / kept.face_space["scale"]
    torch.testing.assert_close(space.encode_faces(faces)[:, :62], wanted, atol=1e-3, rtol=1e-3)


def test_without_a_space_or_the_extra_one_sentence(kept, monkeypatch):
    with pytest.raises(CheckpointError, match="keeps no face space; name the folder of one"):
        open_space(KEPT, replace(kept, face_space={}))
    monkeypatch.setitem(__import__("sys").modules, "face_recognition_models", None)
    with pytest.raises(CheckpointError, match=r"pip install 'voice2face-gan\[faces\]'"):
        open_space(KEPT, kept)


# Framing


def test_a_store_framed_as_a_checkpoint_makes_faces(store):
    assert reframed_store(store, store.zoom) is store
    near = reframed_store(store, 1.4)
    assert near.zoom == 1.4 and store.zoom == 1 and near.faces.shape == store.faces.shape
    assert near.fully_visible.sum() == store.fully_visible.sum(), "what grows stays whole"
    # The mouth's middle keeps its place; what was at a quarter of the way from it is now 1.4 times as far.
    back = reframed_store(near, 1.0)
    middle = slice(26, 40)
    apart = np.abs(back.faces[:, middle, middle].astype(int) - store.faces[:, middle, middle]).mean()
    assert apart < 6, "the same faces again, but for what enlarging lost"
    assert not back.fully_visible.any(), "beyond the near frame nothing is known"


def test_boxes_follow_the_faces(store):
    part = store.select(np.ones(len(store), dtype=bool))
    part.visible_box = np.tile(np.array([[0, 20, 64, 64]], dtype=np.int16), (len(store.faces), 1))
    near = reframed_store(part, 2.0)  # about (32, 45.44)
    assert near.visible_box[0].tolist() == [0, 0, 64, 64]
    part.visible_box[:] = (0, 40, 64, 64)
    assert reframed_store(part, 2.0).visible_box[0].tolist() == [0, 35, 64, 64]  # 45.44 - 2 x 5.44 = 34.56
    part.visible_box[:] = (0, 0, 64, 10)
    assert reframed_store(part, 2.0).visible_box[0].tolist() == [0, 0, 0, 0]


# Fine-tuning


def test_a_discriminator_that_starts_anew_learns_alone_first(make_stage):
    stage = make_stage()
    given = start_from(stage, replace(stage.checkpoint(0), generator=stage.generator), {})
    assert given == ["generator"]
    stage.discriminator_first = 2
    before = [p.detach().clone() for p in stage.generator.parameters()]
    discriminator = [p.detach().clone() for p in stage.discriminator_parameters]
    losses = [stage.step(i) for i in range(2)]
    assert all("D" in loss and "G" not in loss for loss in losses)
    assert all(torch.equal(a, b) for a, b in zip(before, stage.generator.parameters(), strict=True))
    assert any(
        not torch.equal(a, b) for a, b in zip(discriminator, stage.discriminator_parameters, strict=True)
    )
    again = make_stage()
    again.load(stage.state())
    assert again.discriminator_first == 2, "a resumed run goes on as it would have"
    assert "G" in stage.step(2)
    assert any(not torch.equal(a, b) for a, b in zip(before, stage.generator.parameters(), strict=True))


def test_a_generator_that_was_given_changes_slowly(make_stage):
    """A tenth of the rate, while its discriminator learns at all of it; its EMA forgets nothing early."""
    stage, given = make_stage("gan.ema_decay=0.9"), make_stage("gan.ema_decay=0.9")
    start_from(given, replace(stage.checkpoint(0), generator=stage.generator), {})
    assert given.fine_tunes and not stage.fine_tunes
    rates = []
    for one in (stage, given):
        one._set_lr(0)
        rates.append(
            [o.param_groups[0]["lr"] for o in (one.generator_optimiser, one.discriminator_optimiser)]
        )
    assert rates[1][0] == pytest.approx(rates[0][0] / 10) and rates[1][1] == rates[0][1]
    for one, decay in ((stage, 1 - 9 / 10), (given, 0.9)):
        before = next(one.generator_ema.parameters()).detach().clone()
        with torch.no_grad():
            next(one.generator.parameters()).add_(1.0)
        one._update_ema(0)
        moved = (next(one.generator_ema.parameters()) - before).mean()
        assert float(moved) == pytest.approx(1 - decay, abs=1e-4)
    again = make_stage("gan.ema_decay=0.9")
    again.load(given.state())
    assert again.fine_tunes, "a resumed run goes on so"


def test_fine_tuning_the_default_needs_nothing_set(cli, store):
    """At iteration 0 the images are the shipped model's; what the checkpoint brought is kept."""
    pytest.importorskip("face_recognition_models")
    result = cli("train", "--data", store.folder, "--init", "r3gan", "--iterations", 2, "--json")
    assert result.code == 0, result.stderr
    told = json.loads(result.stdout)
    shipped = load_checkpoint("r3gan")
    first = load_checkpoint(f"{told['run']}/checkpoints/gan-0000000")
    for name, value in shipped.tensors().items():
        assert torch.equal(first.tensors()[name], value), name
    assert first.tables() == shipped.tables()
    last = load_checkpoint(told["run"])
    assert last.probes.keys() == shipped.probes.keys() and last.face_space.keys() == MAP_SHAPES.keys()
    assert last.generator_config.face_scale == shipped.generator_config.face_scale != Store(store.folder).zoom
    shutil.rmtree(told["run"])


def test_faces_of_another_frame_are_not_read_into_it(cli, store, tmp_path):
    """Enlarged they could be, made smaller they could not."""
    pytest.importorskip("face_recognition_models")
    shutil.copytree(store.folder, tmp_path / "near")
    about = json.loads((tmp_path / "near" / "store.json").read_text())
    (tmp_path / "near" / "store.json").write_text(json.dumps({**about, "zoom": 2.0}))
    result = cli("train", "--data", tmp_path / "near", "--init", "r3gan", "--iterations", 1)
    assert result.code == 2 and "taken at zoom 2, face-space-" in result.stderr
    assert "--set faces.zoom=1.4" in result.stderr
