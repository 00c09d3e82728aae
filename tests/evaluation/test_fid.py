"""FID: its arithmetic against the closed form, its features against pytorch-fid's own."""

import numpy as np
import pytest
import torch
from PIL import Image

from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation import compute, fid
from voice2face_gan.evaluation.case import Case
from voice2face_gan.evaluation.registry import Options


def standardised(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Points whose sample mean is 0 and whose sample covariance is the identity, exactly."""
    x = np.random.default_rng(seed).standard_normal((count, size))
    x -= x.mean(axis=0)
    return x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T


def test_equal_sets_are_at_distance_0():
    x = standardised(200, 6)
    assert abs(fid.frechet_distance(x, x)) < 1e-6
    assert abs(fid.frechet_distance(x, x[::-1])) < 1e-6


def test_shifted_gaussians():
    """Equal covariances: the squared distance of the means."""
    shift = np.array([3.0, 0, -4, 0])
    x = standardised(300, 4)
    assert fid.frechet_distance(x, x + shift) == pytest.approx(25, abs=1e-6)


def test_scaled_gaussians():
    """N(0, S^2) and N(0, T^2), both diagonal: sum of (s - t)^2; and other shapes of sample."""
    s, t = np.array([1.0, 2.0, 0.5]), np.array([3.0, 2.0, 0.1])
    a, b = standardised(100, 3) * s, standardised(250, 3, seed=1) * t
    assert fid.frechet_distance(a, b) == pytest.approx(((s - t) ** 2).sum(), abs=1e-6)


def test_rotated_gaussians():
    """Covariances diag(4, 1) and diag(1, 4): Tr = 5 + 5 - 2 Tr(sqrt(diag(4, 4))) = 2."""
    x = standardised(400, 2)
    assert fid.frechet_distance(x * [2, 1], x * [1, 2]) == pytest.approx(2, abs=1e-6)


def test_fewer_pictures_than_numbers_give_a_number():
    """The covariance is then singular; identical sets still are at distance 0."""
    x = np.random.default_rng(0).standard_normal((5, 30))
    assert fid.frechet_distance(x, x) == pytest.approx(0, abs=1e-3)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """pytorch-fid's Inception with random weights, saved as its release file is."""
    from pytorch_fid import inception as module

    kept = {}

    def catch(net, state, *_, **__):
        kept.update(net.state_dict())

    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(torch.nn.Module, "load_state_dict", catch)
        module.fid_inception_v3()
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(kept, path)
    return path


@pytest.fixture(scope="module")
def net(weights):
    return fid.inception(weights)


@pytest.fixture(scope="module")
def faces():
    smooth = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    return torch.from_numpy(smooth.repeat(8, axis=1).repeat(8, axis=2))


def test_features_are_those_of_pytorch_fid(net, faces, tmp_path):
    """Its own function, from PNG files; the weights are random, the network and the arithmetic its own."""
    from pytorch_fid.fid_score import calculate_activation_statistics

    paths = [tmp_path / f"{i}.png" for i in range(len(faces))]
    for path, face in zip(paths, faces.numpy(), strict=True):
        Image.fromarray(face).save(path)
    mean, covariance = calculate_activation_statistics(paths, net, batch_size=5, dims=2048, num_workers=0)
    features = fid.inception_features(net, faces, batch=2)
    assert features.shape == (5, 2048) and features.std(axis=0).max() > 0
    assert np.allclose(features.mean(axis=0), mean, rtol=1e-3, atol=1e-6)
    scale = np.abs(covariance).max()
    assert np.allclose(np.cov(features, rowvar=False), covariance, atol=2e-3 * scale)


def test_the_network_is_pytorch_fids_with_our_weights(net, weights):
    state = torch.load(weights, weights_only=True)
    assert torch.equal(net.blocks[0][0].conv.weight, state["Conv2d_1a_3x3.conv.weight"])
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    from pytorch_fid import inception as module

    assert module.load_state_dict_from_url.__module__.startswith("torch")  # as it was


def few_numbers(_, faces, batch=32):
    """Four numbers of a face instead of 2,048, whose square root takes a while."""
    return faces[:, 0, :4, 0].double().numpy()


def made(shift: int, count: int = 40) -> Case:
    """Generated faces at a known distance from real ones, in `few_numbers`."""
    real = torch.from_numpy((standardised(count, 4) * 10 + 128).round().astype(np.uint8))
    faces = torch.zeros(count, 64, 64, 3, dtype=torch.uint8)
    faces[:, 0, :4, 0] = real
    generated = faces.clone()
    generated[:, 0, :4, 0] += shift
    who = np.arange(count).astype(str)
    return Case(generated, who, who, faces, who, None)


def test_the_figure_and_its_protocol(monkeypatch):
    monkeypatch.setattr(fid, "inception", lambda _: None)
    monkeypatch.setattr(fid, "inception_features", few_numbers)
    figures = compute("fid", made(shift=3))
    assert figures["fid"].value == pytest.approx(4 * 9, abs=1e-6)
    assert figures["fid"].n == 40 and "biased upwards" in figures["fid"].protocol
    assert figures["floor"].n == 20 and 0 <= figures["floor"].value < 150
    assert compute("fid", made(shift=0))["fid"].value == pytest.approx(0, abs=1e-6)
    case = made(shift=0)
    case.real = case.real[:31]  # equal numbers of both
    assert compute("fid", case)["fid"].n == 31


def test_two_pictures_are_needed(monkeypatch):
    monkeypatch.setattr(fid, "inception", lambda _: None)
    monkeypatch.setattr(fid, "inception_features", few_numbers)
    case = made(shift=0)
    case.generated = case.generated[:1]
    with pytest.raises(MetricError, match="two pictures"):
        compute("fid", case)


def test_weights_that_are_not_there(tmp_path, monkeypatch):
    with pytest.raises(
        MetricError, match=rf"none.pth does not exist: download {fid.WEIGHTS}.*--inception-weights"
    ):
        fid.inception(tmp_path / "none.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(MetricError, match="not on this machine"):
        fid.inception(None)


def test_weights_in_torchs_cache_are_found(tmp_path, weights, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints" / fid.WEIGHTS
    place.parent.mkdir(parents=True)
    place.symlink_to(weights)
    fid.inception(None)


def test_files_that_hold_something_else(tmp_path, weights):
    fired = tmp_path / "fired"

    class Bomb:
        def __reduce__(self):
            return (open, (str(fired), "w"))

    path = tmp_path / "weights.pth"
    for write in (
        lambda: path.write_bytes(b""),
        lambda: path.write_text("<html>404</html>"),
        lambda: path.write_bytes(weights.read_bytes()[:10_000]),
        lambda: torch.save({"x": torch.zeros(1)}, path),
        lambda: torch.save(Bomb(), path),
    ):
        write()
        with pytest.raises(MetricError, match="does not hold"):
            fid.inception(path)
    assert not fired.exists()
    compute_options = Options(inception_weights=path)
    with pytest.raises(MetricError, match="does not hold"):
        compute("fid", made(0), compute_options)
