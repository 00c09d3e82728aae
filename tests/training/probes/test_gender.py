"""The linear reading of gender from embeddings."""

import numpy as np
import torch

from voice2face_gan.data.splits import held_out_clips
from voice2face_gan.models.checkpoint import load_checkpoint
from voice2face_gan.training.probes.gender import embed_store, gender_probe
from voice2face_gan.training.probes.logistic import fit_logistic


def accuracy(theta, x, y):
    return float((((x @ theta[:-1] + theta[-1]) > 0) == (y > 0.5)).double().mean())


def test_two_equal_gaussians_give_the_linear_discriminant():
    """Means +-m, unit covariance: the log-odds are 2 m.x, the bias 0."""
    torch.manual_seed(0)
    y = torch.arange(40_000, dtype=torch.float64) % 2
    mean = torch.tensor([1.0, 0.0, -0.5], dtype=torch.float64)
    x = torch.randn(40_000, 3, dtype=torch.float64) + (2 * y - 1)[:, None] * mean
    theta = fit_logistic(x, y, penalty=0)
    assert torch.allclose(theta[:-1], 2 * mean, atol=0.06) and abs(float(theta[-1])) < 0.04


def test_what_tells_nothing_gives_the_balance_alone():
    """Classes are weighted equally: a share of 10 % does not move the boundary."""
    y = torch.tensor([1.0] + [0.0] * 9, dtype=torch.float64).repeat(10)
    theta = fit_logistic(torch.zeros(100, 2, dtype=torch.float64), y)
    assert theta.abs().max() < 1e-6
    x = torch.tensor([[1.0]] + [[-1.0]] * 9, dtype=torch.float64).repeat(10, 1)
    theta = fit_logistic(x, y)
    assert abs(float(theta[1] / theta[0])) < 0.05


def test_the_scale_of_x_does_not_matter():
    torch.manual_seed(1)
    x, y = torch.randn(200, 5).double(), (torch.rand(200) > 0.5).double()
    theta, large = fit_logistic(x, y), fit_logistic(1000 * x, y)
    assert torch.allclose(large[:-1] * 1000, theta[:-1], rtol=1e-4)


def test_separable_classes_do_not_diverge():
    x = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]]).double()
    y = torch.tensor([0.0, 0.0, 1.0, 1.0]).double()
    theta = fit_logistic(x, y)
    assert theta.isfinite().all() and accuracy(theta, x, y) == 1


def test_it_reads_the_training_voices_of_a_run(trained, store):
    checkpoint = load_checkpoint(trained)
    people = store.of_split("train")
    voices = people.select(people.has_voice & ~held_out_clips(people))
    e = embed_store(voices, checkpoint.encoder, checkpoint.controls, torch.device("cpu"))
    assert torch.allclose(e.norm(dim=1), torch.ones(len(voices)), atol=1e-5)
    again = gender_probe(voices, checkpoint.encoder, checkpoint.controls, torch.device("cpu"))
    assert torch.allclose(again, checkpoint.gender_probe, rtol=1e-3, atol=1e-3)
    truth = torch.from_numpy(voices.gender == "female").double()
    assert accuracy(again.double(), e.double(), truth) > 0.8


def test_one_gender_or_none_gives_no_probe(trained, store):
    checkpoint = load_checkpoint(trained)
    for part in (store.of_gender("female"), store.select(store.has_voice & (store.gender == "?"))):
        assert gender_probe(part, checkpoint.encoder, checkpoint.controls, torch.device("cpu")) is None


def test_many_voices_are_thinned_not_cut(trained, store, monkeypatch):
    from voice2face_gan.training.probes import gender

    checkpoint = load_checkpoint(trained)
    seen = []
    monkeypatch.setattr(gender, "_VOICES", 20)
    monkeypatch.setattr(
        gender, "embed_store", lambda part, *_: seen.append(part) or torch.randn(len(part), 64)
    )
    assert gender_probe(store, checkpoint.encoder, checkpoint.controls, torch.device("cpu")).shape == (65,)
    people = np.unique(seen[0].identity)
    assert len(seen[0]) == 20 and len(people) > 10
