"""The Frechet distance: its arithmetic against closed forms and pytorch-fid's, its names and its protocol."""

from pathlib import Path

import numpy as np
import pytest
import torch

from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation import compute, features
from voice2face_gan.evaluation.metrics import fid
from voice2face_gan.evaluation.registry import Options
from voice2face_gan.models import inception_weights


def standardised(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Points whose sample mean is 0 and whose sample covariance is the identity, exactly."""
    x = np.random.default_rng(seed).standard_normal((count, size))
    x -= x.mean(axis=0)
    return x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T


def test_equal_sets_are_at_distance_0():
    x = standardised(200, 6)
    assert fid.frechet_distance(x, x) < 1e-9
    assert fid.frechet_distance(x, x[::-1]) < 1e-9


def test_shifted_gaussians():
    """Equal covariances: the squared distance of the means."""
    shift = np.array([3.0, 0, -4, 0])
    x = standardised(300, 4)
    assert fid.frechet_distance(x, x + shift) == pytest.approx(25, abs=1e-9)


def test_scaled_gaussians():
    """N(0, S^2) and N(0, T^2), both diagonal: sum of (s - t)^2; and other shapes of sample."""
    s, t = np.array([1.0, 2.0, 0.5]), np.array([3.0, 2.0, 0.1])
    a, b = standardised(100, 3) * s, standardised(250, 3, seed=1) * t
    assert fid.frechet_distance(a, b) == pytest.approx(((s - t) ** 2).sum(), abs=1e-9)


def test_rotated_gaussians():
    """Covariances diag(4, 1) and diag(1, 4): Tr = 5 + 5 - 2 Tr(sqrt(diag(4, 4))) = 2."""
    x = standardised(400, 2)
    assert fid.frechet_distance(x * [2, 1], x * [1, 2]) == pytest.approx(2, abs=1e-9)


def test_two_gaussians_in_closed_form():
    """In the plane Tr (A B)^(1/2) = sqrt(Tr(A B) + 2 sqrt(det(A B))): covariances that do not commute."""
    a, b = standardised(300, 2) @ [[2, 1], [0, 0.5]], standardised(200, 2, seed=1) @ [[0.3, 0], [1, 3]] + 5
    ab = np.cov(a.T) @ np.cov(b.T)
    root = np.sqrt(np.trace(ab) + 2 * np.sqrt(np.linalg.det(ab)))
    expected = 50 + np.trace(np.cov(a.T)) + np.trace(np.cov(b.T)) - 2 * root
    assert not np.allclose(ab, ab.T)
    assert fid.frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("n", "m"), [(5, 5), (31, 200), (200, 12)])
def test_fewer_images_than_numbers(n, m):
    """Covariances without full rank, by roots of either shape. With the first half of
    the numbers in one set and the second half in the other, no direction is shared."""
    random = np.random.default_rng(0)
    x, y = random.standard_normal((n, 30)), random.standard_normal((m, 30))
    assert fid.frechet_distance(x, x) < 1e-9
    x[:, 15:], y[:, :15] = 0, 0
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + x.var(0, ddof=1).sum() + y.var(0, ddof=1).sum()
    assert fid.frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_constant_features_have_no_covariance():
    assert fid.frechet_distance(np.full((40, 3), 2.0), np.full((50, 3), 4.0)) == pytest.approx(12)


def test_covariances_by_parts(monkeypatch):
    x = np.random.default_rng(0).standard_normal((1000, 7)).astype(np.float32) + 1000
    monkeypatch.setattr(fid, "_CHUNK", 64)
    mean, root = fid._mean_and_root(x)
    assert np.allclose(root.T @ root, np.cov(x.astype(np.float64), rowvar=False), rtol=1e-9, atol=1e-12)
    assert np.allclose(mean, x.astype(np.float64).mean(axis=0), rtol=1e-12)


@torch.inference_mode()
def test_it_is_pytorch_fids_distance(weights):
    """On features of pytorch-fid's network with random weights: those of its first block, of which there are
    fewer than images. With more its root of a matrix is not exact, and nothing to compare with."""
    from pytorch_fid.fid_score import calculate_frechet_distance

    net = features.inception(weights)
    net.resize_input, net.output_blocks, net.last_needed_block = False, [0], 0
    images = np.random.default_rng(0).integers(0, 256, (192, 5, 10, 3), dtype=np.uint8)
    faces = torch.from_numpy(images.repeat(10, axis=1).repeat(5, axis=2)).permute(0, 3, 1, 2).float() / 255
    x = torch.cat([net(part)[0].mean(dim=(2, 3)) for part in faces.split(32)]).numpy().astype(np.float64)
    x = (x - x.mean()) / x.std()  # random weights hardly tell images apart
    assert x.shape == (192, 64)
    a, b = x[:96], x[96:] * 1.5 + 0.1
    stats = [(part.mean(axis=0), np.cov(part, rowvar=False)) for part in (a, b)]
    expected = calculate_frechet_distance(*stats[0], *stats[1])
    assert fid.frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


class FourNumbers:
    """Four numbers of a face, which `made` writes into it."""

    name, stand_in, dimensions, enough, about = "trunk", True, 4, 45, "four pixels"

    def __init__(self, stand_in: bool = True):
        self.stand_in, self.hash = stand_in, "four"

    def extract(self, faces):
        return faces[:, 0, :4, 0].float().numpy()


@pytest.fixture
def made(build_eval_set):
    """Function (shift, count): generated faces at a known distance from real ones, in `FourNumbers`."""

    def make(shift: int, count: int = 40, **more):
        faces = torch.zeros(count, 64, 64, 3, dtype=torch.uint8)
        faces[:, 0, :4, 0] = torch.from_numpy((standardised(count, 4) * 10 + 128).round().astype(np.uint8))
        generated = faces.clone()
        generated[:, 0, :4, 0] += shift
        return build_eval_set(generated, faces, **more)

    return make


def test_a_stand_in_has_its_own_name_and_says_so(made, monkeypatch):
    monkeypatch.setattr(features, "TrunkFeature", FourNumbers)
    options = Options()
    figures = compute("fid", made(shift=3), options)
    assert list(figures) == [
        "fid_trunk",
        "floor",
        "fid_trunk, female",
        "floor, female",
        "fid_trunk, male",
        "floor, male",
    ]
    figure = figures["fid_trunk"]
    assert figure.value == pytest.approx(4 * 9, abs=1e-6) and figure.n == 40
    assert "not comparable with published FID" in figure.protocol and "not on this machine" in figure.protocol
    assert "fewer than 45 images: biased upwards" in figure.protocol
    assert figures["floor"].n == 20 and 0 < figures["floor"].value < 150
    assert figures["fid_trunk, female"].value == pytest.approx(36, abs=1e-6)
    assert figures["fid_trunk, female"].n == 20
    assert len(options.notes) == 2 and "20 images of a kind are fewer than the 45" in options.notes[1]
    assert compute("fid", made(shift=0))["fid_trunk"].value < 1e-9


def test_enough_images_of_inception_need_no_words(made, monkeypatch):
    monkeypatch.setattr(features, "InceptionFeature", lambda _: FourNumbers(stand_in=False))
    monkeypatch.setattr(inception_weights, "find", lambda _: inception_weights.Found(Path("weights.pth")))
    options = Options(feature="inception")
    figures = compute("fid", made(shift=1, count=50, gender=["female"] * 50), options)
    assert list(figures) == ["fid", "floor"] and not options.notes
    assert figures["fid"].protocol == "50 generated against 50 real images in four pixels"


def test_counts_are_equal(made, monkeypatch):
    monkeypatch.setattr(features, "TrunkFeature", FourNumbers)
    part = made(shift=0)
    part.real, part.real_identity = part.real[:31], part.real_identity[:31]
    figures = compute("fid", part)
    assert figures["fid_trunk"].n == 31 and figures["floor"].n == 15
    part = made(shift=0)
    part.generated, part.generated_identity = part.generated[:1], part.generated_identity[:1]
    part.generated_gender = part.generated_gender[:1]
    with pytest.raises(MetricError, match="2 images"):
        compute("fid", part)


def test_who_insists_on_inception_gets_it_or_an_error(made, tmp_path):
    with pytest.raises(MetricError, match="not on this machine"):
        compute("fid", made(0), Options(feature="inception"))
    with pytest.raises(MetricError, match="there is no file"):
        compute("fid", made(0), Options(inception_weights=tmp_path / "none.pth"))


@pytest.mark.slow
def test_the_network_is_downloaded_and_gives_the_distance(
    cli, model_folder, judge_folder, weights, file_server, tmp_path, monkeypatch
):
    """The whole way: `evaluate --metric fid` fetches 95 MB, random weights, from a server on this machine,
    loads them into pytorch-fid's network and prints a distance."""
    import json

    from voice2face_gan.evaluation import readers

    monkeypatch.setattr(readers, "resource", lambda kind, name: judge_folder)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    state = torch.load(weights, weights_only=True)
    for (
        name,
        tensor,
    ) in state.items():  # random weights hardly tell images apart: the last block says it louder
        if name.startswith("Mixed_7c") and name.endswith("bn.weight"):
            tensor *= 1000
    weights = tmp_path / "louder.pth"
    torch.save(state, weights)
    monkeypatch.setattr(inception_weights, "ADDRESSES", (file_server.url("/w"),))
    monkeypatch.setattr(inception_weights, "DIGEST", inception_weights.sha256(weights)[:8])
    file_server.answers["/w"] = weights.read_bytes()
    assert len(file_server.answers["/w"]) > 90e6
    given = ["evaluate", "--data", "synthetic:20", "--checkpoint", model_folder, "--metric", "fid", "--json"]
    result = cli(*given, "--save-faces", "made")
    assert result.code == 0, result.stderr
    assert file_server.asked == ["/w"] and "Downloading Inception's weights" in result.stderr
    figure = json.loads(result.stdout)["fid"]["fid"]
    assert figure["n"] == 16 and "pytorch-fid's Inception" in figure["protocol"] and figure["value"] > 0.01
    # Again from the saved faces: the same images, through the file that is there now.
    again = json.loads(cli("evaluate", "--data", "synthetic:20", "--faces", "made", *given[5:]).stdout)["fid"]
    assert again["fid"]["value"] == pytest.approx(figure["value"], rel=1e-4)
    assert file_server.asked == ["/w"]
