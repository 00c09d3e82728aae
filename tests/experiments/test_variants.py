"""What variants.py compares: variants without the plain answer, faces of different people."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

sys.path.append(str(Path(__file__).parents[2] / "experiments"))
import variants

from voice2face_gan.pipeline import VoiceToFace


def test_variants_are_those_of_generate_without_the_plain_answer(trained):
    model = VoiceToFace.from_pretrained(trained)
    e = torch.randn(2, model.checkpoint.encoder_config.embedding)
    made = variants.variants_of(model, e, 7)
    noisy = model.variant_embeddings(e[1], 6, 1)
    wanted = variants.generate_framed(model, noisy[1:3])
    assert len(made) == 7 and torch.equal(made[5:], wanted)
    plain = model.decode(e[:1], noise_scale=0)
    assert all((face != plain[0]).any() for face in made[:5])


def test_held_out_faces_are_of_different_test_people(store, monkeypatch):
    seen = []

    def framed(part, index):
        seen.append(part.identity[np.isin(part.face_index, index)])
        assert set(part.split) == {"test"}
        return torch.zeros(len(index), 4, 4, 3, dtype=torch.uint8)

    monkeypatch.setattr(variants, "framed_faces", framed)
    people = len(np.unique(store.of_split("test").identity))
    real, others = variants.held_out_faces([str(store.folder)], people // 2)
    assert len(real) == len(others) == people // 2
    assert not set(seen[0]) & set(seen[1]) and len(set(seen[0])) == len(seen[0])
    with pytest.raises(SystemExit, match="test faces"):
        variants.held_out_faces([str(store.folder)], 10_000)


def test_the_distance_of_faces_to_themselves_is_0():
    def read(faces):
        return SimpleNamespace(embedding=faces.float().flatten(1).numpy())

    reader = SimpleNamespace(read=read, name="pixels")
    faces = torch.randint(0, 256, (40, 2, 2, 3), dtype=torch.uint8)
    features = variants.features_of(reader, faces)
    assert np.array_equal(features, read(faces).embedding)
    assert variants.distance(reader, faces, features) == pytest.approx(0, abs=1e-3)
    assert variants.distance(reader, 255 - faces, features) > 1
