"""Diversity: mean distances written out, and models that paint always the same or always something else."""

import numpy as np
import pytest
import torch

from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation import compute
from voice2face_gan.evaluation.metrics.diversity import VARIANTS, pairwise_distances, variants_apart
from voice2face_gan.evaluation.protocol import generate_eval_set


def faces_at(*angles: float) -> torch.Tensor:
    """Faces whose embedding in `ReadsPixels` points, nearly, at an angle in degrees of one plane."""
    faces = torch.full((len(angles), 64, 64, 3), 128, dtype=torch.uint8)
    for face, angle in zip(faces, np.radians(angles), strict=True):
        face[4:8, 4:6] = int(round(127.5 + 120 * np.cos(angle)))
        face[4:8, 6:8] = int(round(127.5 + 120 * np.sin(angle)))
    return faces


def test_pairwise_distances_are_means_over_pairs():
    x = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    who = np.array(list("aaabbcccd"))
    apart = 1 - x @ x.T
    within, between = pairwise_distances(x, who)
    for i in range(9):
        fellows = (who == who[i]) & (np.arange(9) != i)
        assert between[i] == pytest.approx(apart[i, who != who[i]].mean(), abs=1e-6)
        if who[i] == "d":
            assert np.isnan(within[i])
        else:
            assert within[i] == pytest.approx(apart[i, fellows].mean(), abs=1e-6)
    assert np.isnan(pairwise_distances(x, np.array(["a"] * 9))[1]).all()


def test_known_angles(build_eval_set):
    """Two women at 0 and 60 degrees, whose clips always give the same face; their real faces are 90 degrees
    apart, and 60 within a person."""
    made = build_eval_set(
        faces_at(0, 0, 60, 60),
        faces_at(0, 60, 90, 150),
        who=list("aabb"),
        gender=["female"] * 4,
    )
    figures = compute("diversity", made)
    assert set(figures) == {
        f"{real}{name}" for real in ("", "real ") for name in ("within a speaker", "between speakers")
    }
    assert figures["within a speaker"].value == pytest.approx(0, abs=1e-6)
    assert figures["between speakers"].value == pytest.approx(1 - np.cos(np.pi / 3), abs=0.01)
    assert figures["real within a speaker"].value == pytest.approx(1 - np.cos(np.pi / 3), abs=0.01)
    # Pairs at 90, 150, 30 and 90 degrees.
    expected = 1 - np.cos(np.radians([90, 150, 30, 90])).mean()
    assert figures["real between speakers"].value == pytest.approx(expected, abs=0.01)
    assert figures["real between speakers"].n == 4


def test_each_gender_alone(build_eval_set):
    """Two faces for all: men 90 degrees from women, and no two of a gender apart."""
    made = build_eval_set(faces_at(0, 90, 0, 90), faces_at(0, 90, 20, 110))
    figures = compute("diversity", made)
    assert figures["between speakers"].value == pytest.approx(2 / 3, abs=0.01)
    assert figures["between speakers, female"].value == pytest.approx(0, abs=1e-6)
    assert figures["real between speakers, male"].value == pytest.approx(1 - np.cos(np.pi / 9), abs=0.01)
    assert "within a speaker" not in figures  # one clip each


def test_one_clip_has_nothing_to_differ_from(build_eval_set):
    with pytest.raises(MetricError, match="two clips of a speaker or two speakers"):
        compute("diversity", build_eval_set(faces_at(0), faces_at(0)))


def test_variants_are_the_models_own(model, store):
    """As `generate` makes them: the first is the plain face, the others are noisy."""
    part = generate_eval_set(model, store)
    figures = compute("diversity", part)
    values, who = variants_apart(part, seed=0)
    assert list(who) == list(np.unique(part.generated_identity)) and figures["variants of a clip"].n == 4
    assert figures["variants of a clip"].value == pytest.approx(values.mean()) and (values > 0).all()
    from voice2face_gan.evaluation.protocol import generator_inputs

    first = np.flatnonzero(part.generated_identity == who[2])[:1]
    e = generator_inputs(model, part.voices.select(first))[0]
    faces = model.decode(model.variant_embeddings(e, VARIANTS, 0))
    assert torch.equal(faces[0], part.generated[first[0]])
    x = part.reader.read(faces).unit()
    pairs = [1 - x[i] @ x[j] for i in range(VARIANTS) for j in range(i)]
    assert values[2] == pytest.approx(np.mean(pairs), abs=1e-5)


def test_no_variants_without_the_model(build_eval_set):
    assert "variants of a clip" not in compute("diversity", build_eval_set(faces_at(0, 50), faces_at(0, 90)))
