"""Where Inception's weights are looked for, and by what they are recognised."""

import hashlib
import os
import sys
from pathlib import Path

import pytest
import torch

from voice2face_gan.errors import MetricError
from voice2face_gan.models import inception_weights as weights

CONTENT = b"the weights"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Torch's hub cache, empty; the weights are those whose content is CONTENT."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv(weights.VARIABLE, raising=False)
    monkeypatch.setattr(weights, "DIGEST", hashlib.sha256(CONTENT).hexdigest()[:8])
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_the_published_names_and_addresses():
    """The digest stands in the names, as torch.hub checks it."""
    from torch.hub import HASH_REGEX

    assert weights.DIGEST == "6726825d"
    for name, address in zip(weights.NAMES, weights.ADDRESSES, strict=True):
        assert HASH_REGEX.search(name)[1] == weights.DIGEST
        assert address.startswith("https://github.com/") and address.endswith(f"/{name}")
    from pytorch_fid.inception import FID_WEIGHTS_URL

    assert weights.ADDRESSES[0] == FID_WEIGHTS_URL


def test_the_cache_is_torchs(monkeypatch, tmp_path):
    for given in (
        {"TORCH_HOME": str(tmp_path / "torch")},
        {"TORCH_HOME": "~/torch", "XDG_CACHE_HOME": "/x"},
        {"XDG_CACHE_HOME": str(tmp_path / "cache")},
        {},
    ):
        for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        expected = Path(torch.hub.get_dir()) / "checkpoints"
        assert weights.hub_cache() == expected
        with monkeypatch.context() as patch:
            patch.delitem(sys.modules, "torch.hub")
            assert weights.hub_cache() == expected
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "set"))  # as torch.hub.set_dir does
    assert weights.hub_cache() == tmp_path / "set" / "checkpoints"


@pytest.mark.parametrize("name", weights.NAMES)
def test_either_name_is_found(cache, name):
    assert weights.find() == weights.Found(None, "its weights are not on this machine")
    assert not weights.is_here()
    (cache / name).write_bytes(CONTENT)
    assert weights.find() == weights.Found(cache / name) and weights.is_here()


def test_a_damaged_file_is_named_with_its_length(cache):
    first, second = (cache / name for name in weights.NAMES)
    first.write_bytes(CONTENT[:5])
    found = weights.find()
    assert found.path is None and found.damaged and not weights.is_here()
    assert str(first) in found.why and " 5 bytes " in found.why and "delete it" in found.why
    second.write_bytes(CONTENT)
    assert weights.find() == weights.Found(second)  # the other one will do
    first.write_bytes(CONTENT)
    assert weights.find() == weights.Found(first)  # looked at again, since it changed
    first.write_bytes(CONTENT[::-1])
    os.utime(first, (1, 1))
    assert weights.find() == weights.Found(second)


def test_a_path_that_is_given_is_meant(cache, tmp_path, monkeypatch):
    (cache / weights.NAMES[0]).write_bytes(CONTENT)
    own = tmp_path / "own.pth"
    own.write_bytes(CONTENT)
    assert weights.find(own) == weights.Found(own)
    wrong = tmp_path / "wrong.pth"
    wrong.write_bytes(b"x")
    with pytest.raises(MetricError, match=r"^there is no file .*none.pth; it should be pytorch-fid's"):
        weights.find(tmp_path / "none.pth")
    with pytest.raises(MetricError, match="there is no file"):
        weights.find(tmp_path)
    with pytest.raises(MetricError, match=r"wrong.pth does not hold .* its 1 bytes have"):
        weights.find(wrong)
    monkeypatch.setenv(weights.VARIABLE, str(own))
    assert weights.find() == weights.Found(own)
    monkeypatch.setenv(weights.VARIABLE, str(wrong))
    with pytest.raises(MetricError, match=r"^V2F_INCEPTION: .*wrong.pth does not hold"):
        weights.find()
    assert weights.find(own) == weights.Found(own) and not weights.is_here()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(weights.VARIABLE, "~/own.pth")
    assert weights.find().path == own


def test_they_are_fetched_into_the_cache(cache, file_server, monkeypatch):
    monkeypatch.setattr(weights, "ADDRESSES", (file_server.url("/none"), file_server.url("/w")))
    file_server.answers["/w"] = CONTENT
    assert weights.fetch() == cache / weights.NAMES[0] == weights.find().path
