"""Features: pytorch-fid's own, the trunk's that see texture, and real images' features kept on disk."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from voice2face_gan.data.cache import cache_folder
from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation import feature_sets, features
from voice2face_gan.evaluation.metrics.fid import frechet_distance
from voice2face_gan.evaluation.registry import Options
from voice2face_gan.models import inception_weights
from voice2face_gan.models.face_readers.classifier import Residual


@pytest.fixture(scope="module")
def net(weights):
    return features.inception(weights)


@pytest.fixture(scope="module")
def faces():
    smooth = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    return torch.from_numpy(smooth.repeat(8, axis=1).repeat(8, axis=2))


@pytest.fixture(scope="module")
def rendered(own_cache):
    """Faces of 160 built-in people, uint8 (160, 64, 64, 3)."""
    from voice2face_gan.synthetic.face import render
    from voice2face_gan.synthetic.speakers import sample_speakers

    return torch.from_numpy(np.array(render(sample_speakers(160, seed=4), seed=4, view=0)))


def test_inception_is_pytorch_fids_own(net, faces, tmp_path):
    """Its own function, from PNG files; the weights are random, the network and the arithmetic its own."""
    from pytorch_fid.fid_score import calculate_activation_statistics

    paths = [tmp_path / f"{i}.png" for i in range(len(faces))]
    for path, face in zip(paths, faces.numpy(), strict=True):
        Image.fromarray(face).save(path)
    mean, covariance = calculate_activation_statistics(paths, net, batch_size=5, dims=2048, num_workers=0)
    found = features.inception_features(net, faces, batch=2)
    assert found.shape == (5, 2048) and found.std(axis=0).max() > 0
    assert np.allclose(found.mean(axis=0), mean, rtol=1e-3, atol=1e-6)
    scale = np.abs(covariance).max()
    assert np.allclose(np.cov(found, rowvar=False), covariance, atol=2e-3 * scale)


def test_the_network_is_pytorch_fids_with_our_weights(net, weights):
    state = torch.load(weights, weights_only=True)
    assert torch.equal(net.blocks[0][0].conv.weight, state["Conv2d_1a_3x3.conv.weight"])
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    from pytorch_fid import inception as module

    assert module.load_state_dict_from_url.__module__.startswith("torch")  # as it was


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
            features.inception(path)
    assert not fired.exists()


def test_auto_takes_inception_where_it_is_and_says_why_it_does_not(
    tmp_path, weights, monkeypatch, file_server
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(inception_weights, "ADDRESSES", (file_server.url("/w"),))
    monkeypatch.setattr(inception_weights, "DIGEST", inception_weights.sha256(weights)[:8])
    options = Options()
    feature = features.open_feature("auto", options)
    assert (feature.name, feature.stand_in, features.figure_suffix(feature)) == ("trunk", True, "_trunk")
    (note,) = options.notes
    assert "not on this machine" in note and "v2f-gan evaluate --metric fid" in note and "96 MB" in note
    assert inception_weights.NAMES[0] in note and "--inception-weights" in note
    features.open_feature("auto", options)
    assert len(options.notes) == 1  # once
    with pytest.raises(MetricError, match="not on this machine. `v2f-gan evaluate --metric fid` downloads"):
        features.open_feature("inception", Options())
    with pytest.raises(MetricError, match="there is no file .*none.pth"):  # a path that was given is meant
        features.open_feature("auto", Options(inception_weights=tmp_path / "none.pth"))
    assert not file_server.asked  # training's own figures come this way, too
    place = tmp_path / "hub" / "checkpoints" / inception_weights.NAMES[1]
    place.parent.mkdir(parents=True)
    place.write_bytes(b"damaged")
    options = Options()
    assert features.open_feature("auto", options).stand_in
    assert "7 bytes" in options.notes[0] and "delete it" in options.notes[0]
    with pytest.raises(MetricError, match="7 bytes .* delete it"):
        features.open_feature("inception", Options())
    place.unlink()
    place.symlink_to(weights)
    options = Options()
    feature = features.open_feature("auto", options)
    assert (feature.name, feature.stand_in, features.figure_suffix(feature)) == ("inception", False, "")
    assert not options.notes and len(feature.hash) > 64 and feature.enough == 2048
    with pytest.raises(MetricError, match="choose auto, inception, dlib, trunk"):
        features.open_feature("vgg", Options())


def test_trunk_features_are_means_of_what_the_layers_give(rendered):
    """By hooks on the shipped trunk, at another batch size."""
    from voice2face_gan.evaluation.readers import open_reader

    feature, reader, seen = features.TrunkFeature(), open_reader("trunk").classifier, []
    stages = [reader.net.features[2], *(x for x in reader.net.features if isinstance(x, Residual))]
    hooks = [stage.register_forward_hook(lambda _, __, y: seen.append(y.clone())) for stage in stages]
    x = rendered[:3].permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        reader.net(x)
    for hook in hooks:
        hook.remove()
    assert [y.shape[2] for y in seen] == [32, 32, 16, 8, 4] and all((y >= 0).all() for y in seen)
    expected = torch.cat([y.flatten(2).mean(2) / features.TRUNK_SCALE for y in seen], dim=1).numpy()
    found = feature.extract(rendered[:3], batch=2)
    assert found.shape == (3, feature.dimensions) == (3, 512) and found.dtype == np.float32
    assert np.allclose(found, expected, atol=1e-4)
    assert reader.name in feature.about and reader.name in feature.hash
    x = feature.extract(rendered).astype(float)
    assert 0.5 < (x @ x.T).mean() / feature.dimensions < 2  # what the scale is for


def blurred(faces: torch.Tensor, sigma: float) -> torch.Tensor:
    if not sigma:
        return faces
    at = torch.arange(-8, 9)
    weights = torch.exp(-(at**2) / (2 * sigma**2))
    weights = (weights / weights.sum()).repeat(3, 1, 1)
    x = F.pad(faces.permute(0, 3, 1, 2).float(), (8, 8, 8, 8), mode="reflect")
    x = F.conv2d(F.conv2d(x, weights[:, :, None, :], groups=3), weights[:, :, :, None], groups=3)
    return x.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def noisy(faces: torch.Tensor, sigma: float) -> torch.Tensor:
    noise = torch.randn(faces.shape, generator=torch.Generator().manual_seed(0))
    return (faces + sigma * noise).round().clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize(("spoil", "steps"), [(blurred, (0, 0.5, 1, 1.5, 2)), (noisy, (0, 4, 8, 16, 32, 48))])
def test_trunk_sees_texture(rendered, spoil, steps):
    """The distance of faces to themselves, spoilt more and more, grows with every step; spoilt faces are at
    last far more apart from other faces than those are when they are not."""
    feature = features.TrunkFeature()
    real = feature.extract(rendered)
    spoilt = [feature.extract(spoil(rendered, x)) for x in steps]
    distances = [frechet_distance(real, x) for x in spoilt]
    assert distances[0] == pytest.approx(0, abs=1e-6)
    assert all(a < b for a, b in zip(distances, distances[1:], strict=False)), distances
    apart = frechet_distance(real[:80], real[80:])
    assert frechet_distance(real[:80], spoilt[-1][80:]) > 2 * apart


def test_dlib_is_the_dlib_judges_embedding(rendered):
    pytest.importorskip("dlib")
    pytest.importorskip("face_recognition_models")
    from voice2face_gan.evaluation.readers import open_reader

    feature = features.open_feature("dlib", Options())
    found = feature.extract(rendered[:2])
    assert found.shape == (2, feature.dimensions) and feature.stand_in
    assert np.array_equal(found, open_reader("dlib").read(rendered[:2]).embedding)


class Counted:
    """A feature that counts how often it is asked."""

    name, stand_in, dimensions, enough, about, hash = "counted", True, 3, 3, "a count", "counted-1"

    def __init__(self):
        self.calls = 0

    def extract(self, faces):
        self.calls += 1
        return faces[:, 0, :1, :].flatten(1).float().numpy()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("V2F_CACHE", str(tmp_path / "cache"))
    return cache_folder() / "statistics"


def test_features_of_real_faces_are_kept(cache, build_eval_set, people):
    faces = people(4, ["female"] * 4)
    made = build_eval_set(faces, faces)
    feature = Counted()
    first = feature_sets.features_of(made, "real", feature)
    assert feature.calls == 1 and len(list(cache.iterdir())) == 1
    assert feature_sets.features_of(made, "real", feature) is first  # of the same case
    again = build_eval_set(people(4, ["male"] * 4, seed=1), faces)
    assert np.array_equal(feature_sets.features_of(again, "real", feature), first) and feature.calls == 1
    assert np.array_equal(first, feature.extract(faces))
    feature_sets.features_of(again, "generated", feature)
    assert feature.calls == 3 and len(list(cache.iterdir())) == 1  # generated faces are not kept
    other = faces.clone()
    other[0, 63, 63, 2] += 1
    feature_sets.features_of(build_eval_set(faces, other), "real", feature)
    feature.hash = "counted-2"
    feature_sets.features_of(build_eval_set(faces, faces), "real", feature)
    assert feature.calls == 5 and len(list(cache.iterdir())) == 3  # other faces, another feature


def test_a_damaged_file_is_made_again(cache, people):
    faces = people(4, ["female"] * 4)
    feature = Counted()
    expected = feature_sets.cached("x", faces, feature.extract)
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[whole.find(expected.tobytes()) + 1] ^= 1

    def pickled():
        np.savez(path, features=np.array([{}], dtype=object))

    def saved(x):
        return lambda: np.savez(path, features=x)

    for damage in (
        lambda: path.write_bytes(b""),
        lambda: path.write_bytes(b"no zip"),
        lambda: path.write_bytes(whole[: len(whole) // 2]),
        lambda: path.write_bytes(changed),  # one bit of a number
        pickled,
        saved(expected[:2]),
        saved(expected.astype(np.float64)),
        saved(np.float32(1)),
    ):
        damage()
        calls = feature.calls
        assert np.array_equal(feature_sets.cached("x", faces, feature.extract), expected)
        assert feature.calls == calls + 1
        assert path.read_bytes() == whole
        assert np.array_equal(feature_sets.cached("x", faces, feature.extract), expected)
        assert feature.calls == calls + 1  # it is whole again
    assert list(cache.iterdir()) == [path]  # no temporary file is left


def test_a_full_disk_costs_only_time(cache, people, full_disk):
    faces = people(400, ["female"] * 400)
    feature = Counted()
    with full_disk(100):
        assert len(feature_sets.cached("x", faces, feature.extract)) == 400
    assert not list(cache.iterdir())


def test_pairs_are_of_equal_counts_and_of_each_gender(build_eval_set, people):
    made = build_eval_set(
        people(6, ["female"] * 4 + ["male"] * 2),
        people(9, ["female"] * 3 + ["male"] * 6, seed=1),
        who=list("aabbcd"),
        whose=list("aabcccccd"),
        gender=["female"] * 4 + ["male"] * 2,
    )
    found = {p.suffix: p for p in feature_sets.pairs(made, Counted(), Options())}
    assert {k: (len(p), len(p.generated), len(p.real)) for k, p in found.items()} == {
        "": (6, 6, 6),
        ", female": (3, 3, 3),
        ", male": (2, 2, 2),
    }
    assert [len(p.halves[0]) if p.halves else None for p in found.values()] == [4, None, 2]
    real = {tuple(x) for x in Counted().extract(made.real).tolist()}
    a, b = ({tuple(x) for x in half.features.tolist()} for half in found[""].halves)
    assert len(a | b) == 8 and a | b < real  # no image is in both halves
    assert set(found[", female"].real.identity) == {"a", "b"}
    few = feature_sets.pairs(made, Counted(), Options(), min_images=3)
    assert [p.suffix for p in few] == ["", ", female"]  # too few of the men
    assert [len(p) for p in feature_sets.pairs(made, Counted(), Options(), max_images=2)] == [2, 2, 2]
    with pytest.raises(MetricError, match="7 images or more of each kind are needed, and there are 6"):
        list(feature_sets.pairs(made, Counted(), Options(), min_images=7))
