"""A judge is saved, hashed and read back; a damaged one is refused."""

import json

import pytest
import torch

from voice2face_gan.errors import CheckpointError
from voice2face_gan.models.face_readers.classifier import (
    AGE_MEAN,
    EMBEDDING,
    ClassifierTrunk,
    load_classifier,
    save_classifier,
)


def test_what_is_saved_is_read(judge_folder):
    judge = load_classifier(judge_folder)
    assert judge.name.startswith("judge-random-") and len(judge.name) == len("judge-random-") + 8
    assert judge.about["trained_on"] == "nothing"
    assert not judge.net.training
    faces = torch.rand(5, 3, 64, 64) * 2 - 1
    h, female, age = judge.read(faces)
    assert h.shape == (5, EMBEDDING) and female.shape == age.shape == (5,)
    assert ((female >= 0) & (female <= 1)).all() and (age - AGE_MEAN).abs().max() < 100
    in_parts = judge.read(faces, batch=2)
    assert torch.allclose(in_parts[0], h, atol=1e-5)


def test_its_name_tells_its_weights(tmp_path):
    names = set()
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        save_classifier(tmp_path / "judge", ClassifierTrunk(), {})
        names.add(load_classifier(tmp_path / "judge").name)
    assert len(names) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["judge"]


def test_a_damaged_or_missing_judge_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="train-face-classifier"):
        load_classifier(tmp_path / "none")
    folder = tmp_path / "judge"
    save_classifier(folder, ClassifierTrunk(), {})
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:1000])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_classifier(folder)
    (folder / "model.safetensors").write_bytes(content)
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_classifier(folder)
    for trunk in ({}, {"trunk": 3}, {"trunk": {"channels": [8, 8, 16, 16], "blocks": [1, 1, 1, 1]}}):
        (folder / "config.json").write_text(json.dumps({"held_out": {}} | trunk))
        with pytest.raises(CheckpointError, match="cannot be read"):
            load_classifier(folder)


def test_its_dimensions_are_kept(tmp_path):
    net = ClassifierTrunk(channels=(8, 8, 16), blocks=(0, 1, 2), embedding=5)
    save_classifier(tmp_path / "judge", net, {"held_out": {}})
    judge = load_classifier(tmp_path / "judge")
    assert judge.about["trunk"] == {"channels": [8, 8, 16], "blocks": [0, 1, 2], "embedding": 5}
    assert judge.about["held_out"] == {}
    assert judge.read(torch.zeros(2, 3, 64, 64))[0].shape == (2, 5)


def test_a_mirrored_face_reads_the_same(judge_folder):
    """Each face is read with its mirror image: which of the two was given does not matter."""
    judge, faces = load_classifier(judge_folder), torch.rand(3, 3, 64, 64) * 2 - 1
    for a, b in zip(judge.read(faces), judge.read(faces.flip(-1)), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
