"""The strength that validation people choose, and what half precision changes."""

from types import SimpleNamespace

import pytest

from voice2face_gan.errors import CheckpointError
from voice2face_gan.evaluation import strength
from voice2face_gan.models.checkpoint import load_checkpoint


def scored(monkeypatch, scores: dict[float, tuple[float, float]]):
    """U and G by strength, in place of a model and dlib."""
    monkeypatch.setattr(strength, "open_reader", lambda name: name)
    model = SimpleNamespace(with_strength=lambda strength: strength)
    monkeypatch.setattr(strength.VoiceToFace, "from_pretrained", lambda folder: model)

    def eval_set(*given, noise_scale):
        assert given == (model, "people", "val", "all", "dlib", next(iter(scores))) and noise_scale == 0
        return SimpleNamespace(voices="voices", reading=read.append, with_generated=lambda faces: faces)

    def compute(metric, faces):
        assert metric == "matching" and read == ["real"], "the real faces are read before, and once"
        return {name: SimpleNamespace(value=v) for name, v in zip("UG", scores[faces], strict=True)}

    read, encoded = [], []
    monkeypatch.setattr(strength, "generate_eval_set", eval_set)
    monkeypatch.setattr(strength, "predicted_embeddings", lambda model, voices: encoded.append(voices))
    monkeypatch.setattr(strength, "condition", lambda e, controls: controls)
    monkeypatch.setattr(
        strength, "generate_framed", lambda model, e, noise_scale: e if noise_scale == 0 else None
    )
    monkeypatch.setattr(strength, "compute", compute)
    chosen = strength.choose_strength("folder", "people", strengths=tuple(scores))
    assert encoded == ["voices"], "once for all strengths"
    return chosen


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        ({1.0: (60, 50), 2.0: (65, 55), 3.0: (66, 53)}, 2.0),
        ({1.0: (60, 50), 2.0: (60.4, 50.5), 3.0: (59, 50)}, 1.0),  # within a point: the lower
        ({1.0: (60, 50), 2.0: (60.5, 50.6), 3.0: (59, 50)}, 2.0),
    ],
)
def test_the_lowest_within_a_point_of_the_best(monkeypatch, scores, chosen):
    found, tried = scored(monkeypatch, scores)
    assert found == chosen and tried == {str(s): sum(pair) for s, pair in scores.items()}


def test_a_checkpoint_of_unit_embeddings_has_none(store, trained):
    with pytest.raises(CheckpointError, match="no strength to set"):
        strength.choose_strength(trained, store, judge="trunk")


def test_half_precision_changes_little(store, trained, tmp_path):
    whole = load_checkpoint(trained)
    folder = whole.save(tmp_path / "half", half=True)
    assert strength.half_precision_difference(whole, whole.save(tmp_path / "whole"), store) == 0
    assert 0 < strength.half_precision_difference(whole, folder, store) < 2
