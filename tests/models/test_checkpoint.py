"""Checkpoints come back as they were saved; what is damaged is refused in one sentence."""

import json
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from voice2face_gan.errors import CheckpointError
from voice2face_gan.models import checkpoint as module
from voice2face_gan.models.checkpoint import CONFIG, WEIGHTS, Checkpoint, find_checkpoint, load_checkpoint
from voice2face_gan.models.conditioning import Controls
from voice2face_gan.models.encoders.conv import ConvEncoder, ConvEncoderConfig
from voice2face_gan.models.generators.wen2019 import Wen2019Generator, Wen2019GeneratorConfig

ENCODER = ConvEncoderConfig(channels=(8, 8))
GENERATOR = Wen2019GeneratorConfig(channels=(8,) * 5, trunk_channels=(8,) * 5, norm="batch")
CONTROLS = Controls(strength=2.0, normalise_embedding=False)


@pytest.fixture
def saved() -> Checkpoint:
    torch.manual_seed(0)
    encoder, generator = ConvEncoder(ENCODER), Wen2019Generator(GENERATOR)
    encoder(torch.randn(8, 64, 50))  # so that running statistics are not those of a new net
    info = {"gender": "female", "iteration": 7, "recipe": {"name": "x"}}
    return Checkpoint(
        ENCODER,
        encoder,
        GENERATOR,
        generator,
        CONTROLS,
        torch.randn(65),
        vad={"aggressiveness": 3},
        info=info,
    )


@pytest.fixture
def folder(saved, tmp_path):
    return saved.save(tmp_path / "model")


def test_what_is_saved_comes_back(saved, folder):
    loaded = load_checkpoint(folder)
    assert (loaded.encoder_config, loaded.generator_config) == (ENCODER, GENERATOR)
    assert loaded.controls == CONTROLS and loaded.folder == folder
    assert loaded.features == saved.features and loaded.vad == {"aggressiveness": 3}
    assert loaded.info["gender"] == "female" and loaded.info["iteration"] == 7
    assert loaded.info["voice2face_gan"]
    for net in ("encoder", "generator"):
        before, after = getattr(saved, net), getattr(loaded, net)
        assert not after.training and not any(p.requires_grad for p in after.parameters())
        for name, value in before.state_dict().items():
            assert torch.equal(after.state_dict()[name], value), name
    assert torch.equal(loaded.gender_probe, saved.gender_probe)
    assert sorted(p.name for p in folder.iterdir()) == [CONFIG, WEIGHTS]


def test_saving_does_not_change_the_nets(saved, folder):
    assert saved.generator.training and all(p.requires_grad for p in saved.generator.parameters())


def test_half_precision_is_half_the_size_and_loads_as_float32(saved, folder, tmp_path):
    half = saved.save(tmp_path / "half", half=True)
    assert (half / WEIGHTS).stat().st_size < 0.7 * (folder / WEIGHTS).stat().st_size
    loaded = load_checkpoint(half)
    for name, value in loaded.tensors().items():
        if value.is_floating_point():
            assert value.dtype == torch.float32, name
    e = torch.randn(5, 64)
    assert torch.allclose(loaded.generator(e), saved.generator.eval()(e), atol=1e-2)
    with torch.no_grad():
        assert loaded.encoder(torch.randn(2, 64, 40)).shape == (2, 64)


@pytest.fixture
def in_8_bits(monkeypatch):
    """The generator's weights are kept in 8 bits in a half-precision file."""
    monkeypatch.setattr(Wen2019GeneratorConfig, "int8", ("",))


@pytest.mark.usefixtures("in_8_bits")
def test_weights_in_8_bits_come_back_within_half_a_step_of_their_rows_largest(saved, folder, tmp_path):
    with torch.no_grad():
        next(p for p in saved.generator.parameters() if p.dim() > 1)[0] = 0  # a row of nothing
    small = saved.save(tmp_path / "small", half=True)
    assert (small / WEIGHTS).stat().st_size < 0.4 * (folder / WEIGHTS).stat().st_size
    loaded = load_checkpoint(small)
    for name, value in saved.generator.state_dict().items():
        found = loaded.generator.state_dict()[name]
        assert found.dtype == value.dtype and found.shape == value.shape
        if value.dim() > 1:
            step = value.flatten(1).abs().amax(dim=1) / 127
            error = (found - value).flatten(1).abs().amax(dim=1)
            assert (error <= 0.501 * step).all(), name
            assert found.flatten(1).abs().amax(dim=1).allclose(127 * step)
        elif value.is_floating_point():
            assert torch.equal(found, value.half().float()), name
    again = loaded.save(tmp_path / "again", half=True)
    assert (again / WEIGHTS).read_bytes() == (small / WEIGHTS).read_bytes()
    whole = load_checkpoint(saved.save(tmp_path / "whole"))
    for name, value in saved.generator.state_dict().items():
        assert torch.equal(whole.generator.state_dict()[name], value), "not in full precision"
    for name, value in saved.encoder.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(loaded.encoder.state_dict()[name], value.half().float()), name


@pytest.mark.usefixtures("in_8_bits")
def test_a_weight_in_8_bits_without_its_scale_is_refused(saved, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = saved.save(tmp_path / "small", half=True)
    tensors = load_file(folder / WEIGHTS)
    tensors.pop(next(name for name in tensors if name.endswith(".int8_scale")))
    save_file(tensors, folder / WEIGHTS)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(folder)


def test_an_encoder_alone(saved, tmp_path):
    folder = replace(saved, generator=None, gender_probe=None).save(tmp_path / "encoder")
    loaded = load_checkpoint(folder, need_generator=False)
    assert loaded.generator is None and loaded.gender_probe is None
    with pytest.raises(CheckpointError, match="voice encoder alone.*--encoder"):
        load_checkpoint(folder)


def test_probes_come_back_and_a_checkpoint_may_have_none(saved, folder, tmp_path):
    assert load_checkpoint(folder).probes == {}  # as in checkpoints of before
    saved.probes = {"speech": 300 * torch.randn(9), "child": torch.randn(9)}
    for half in (False, True):
        loaded = load_checkpoint(saved.save(tmp_path / "probed", half=half)).probes
        assert list(loaded) == ["child", "speech"] or list(loaded) == ["speech", "child"]
        for name, probe in saved.probes.items():
            assert loaded[name].dtype == torch.float32
            assert torch.allclose(loaded[name], probe, rtol=1e-3 if half else 0, atol=1e-6 if half else 0)


def test_a_probe_of_agreement_has_a_shape_of_its_own(saved, tmp_path):
    saved.probes = {"several": torch.ones(2), "child": torch.ones(9)}
    assert set(load_checkpoint(saved.save(tmp_path / "good")).probes) == set(saved.probes)
    saved.probes["several"] = torch.ones(9)
    with pytest.raises(CheckpointError, match=r"probe.several has the shape \(9,\)"):
        load_checkpoint(saved.save(tmp_path / "bad"))


def test_saving_again_replaces_and_leaves_nothing_behind(saved, folder):
    saved.info["iteration"] = 8
    saved.save(folder)
    assert load_checkpoint(folder).info["iteration"] == 8
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


def test_when_saving_fails_the_old_one_is_still_whole(saved, folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    saved.info["iteration"] = 8
    monkeypatch.setattr("voice2face_gan.files.replace_folder", full)
    with pytest.raises(OSError, match="No space"):
        saved.save(folder)
    assert load_checkpoint(folder).info["iteration"] == 7
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


# Damage


def change(folder, **entries):
    config = json.loads((folder / CONFIG).read_text())
    for key, value in entries.items():
        if value is None:
            del config[key]
        else:
            config[key] = value
    (folder / CONFIG).write_text(json.dumps(config))


def test_a_newer_format_is_refused(folder):
    for number in (3, "x", None):
        change(folder, format=number)
        with pytest.raises(CheckpointError, match=f"format {number}, but this version reads 2"):
            load_checkpoint(folder)


def test_an_older_format_is_refused_in_a_sentence(folder):
    """Format 1 kept the settings of all networks in one table."""
    change(folder, format=1, encoder=None, generator=None, controls=None, architecture="r3gan", model={})
    with pytest.raises(CheckpointError, match=r"made by an older version .*format 1; .* reads 2\); train"):
        load_checkpoint(folder)


@pytest.mark.parametrize("key", ["encoder", "generator", "controls", "features", "vad"])
def test_a_missing_entry_is_named(folder, key):
    change(folder, **{key: None})
    with pytest.raises(CheckpointError, match=f"no entry '{key}'"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    "entries",
    [
        {"generator": {"type": "wen2019", "depth": 3}},
        {"generator": {"type": "wen2019", "kernel": "four"}},
        {"controls": {"embedding_noise_std": "much"}},
        {"controls": {"noise": 0.1}},
        {"controls": {"soft_clip": [1.0] * 63, "normalise_embedding": False}},
        {"controls": [1]},
        {"encoder": [1]},
        {"generator": {"channels": [8] * 5}},
        {"encoder": {"type": "conv"}},  # a full-size net, which these weights are not
        {"generator": {"type": "wen2019"}},
        {"generator": {**GENERATOR.to_dict(), "embedding": 32}},
        {"features": {"n_mels": "many"}},
        {"features": {"mels": 64}},
        {"features": 3},
        {"vad": 3},
        {"generator": {"type": "stylegan9"}},
        {"generator": {"type": ["wen2019"]}},
    ],
)
def test_a_wrong_entry_is_refused(folder, entries):
    change(folder, **entries)
    with pytest.raises(CheckpointError, match="model: ") as error:
        load_checkpoint(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '"x"', "null", "\xff"])
def test_a_config_that_is_none_is_refused(folder, text):
    (folder / CONFIG).write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"model"):
        load_checkpoint(folder)


def test_weights_cut_short_are_refused(folder):
    content = (folder / WEIGHTS).read_bytes()
    for kept in (0, 7, 100, len(content) // 2, len(content) - 1):
        (folder / WEIGHTS).write_bytes(content[:kept])
        with pytest.raises(CheckpointError, match="cannot be read"):
            load_checkpoint(folder)


def test_missing_weights_are_refused(folder):
    (folder / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(folder)


def test_weights_that_lack_or_add_a_tensor_are_refused(folder):
    from safetensors.torch import load_file, save_file

    # Copies: safetensors maps the file, which is written anew below.
    tensors = {k: v.clone() for k, v in load_file(folder / WEIGHTS).items()}
    fewer = {k: v for k, v in tensors.items() if k != "encoder.model.0.weight"}
    save_file(fewer, folder / WEIGHTS)
    with pytest.raises(CheckpointError, match="do not fit"):
        load_checkpoint(folder)
    save_file(tensors | {"generator.model.99.weight": torch.zeros(1)}, folder / WEIGHTS)
    with pytest.raises(CheckpointError, match="do not fit"):
        load_checkpoint(folder)
    save_file(tensors | {"gender_probe": torch.zeros(9)}, folder / WEIGHTS)
    with pytest.raises(CheckpointError, match="gender_probe"):
        load_checkpoint(folder)
    save_file(tensors | {"probe.child": torch.zeros(65)}, folder / WEIGHTS)  # of e, not of features
    with pytest.raises(CheckpointError, match=r"do not fit \(probe.child has the shape \(65,\)"):
        load_checkpoint(folder)
    save_file(tensors | {"probe.accent": torch.zeros(9)}, folder / WEIGHTS)
    with pytest.raises(CheckpointError, match="knows no probe.accent"):
        load_checkpoint(folder)


class Bomb:
    """Its pickle writes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_no_pickle_is_executed(folder, tmp_path):
    fired = tmp_path / "fired"
    for content in (pickle.dumps(Bomb(fired)), b""):
        (folder / WEIGHTS).write_bytes(content)
        with pytest.raises(CheckpointError):
            load_checkpoint(folder)
    torch.save(Bomb(fired), folder / WEIGHTS)
    with pytest.raises(CheckpointError):
        load_checkpoint(folder)
    assert not fired.exists()
    pickle.loads(pickle.dumps(Bomb(fired))).close()
    assert fired.exists()  # the bomb works


# Names


def test_a_run_folder_means_its_newest_checkpoint(saved, tmp_path):
    run = tmp_path / "run"
    for name in ("encoder-0000900", "gan-0000020", "gan-0000100"):
        saved.save(run / "checkpoints" / name)
    saved.save(run / "checkpoints" / ".gan-0000200.77.tmp")  # being written when its process was killed
    saved.save(run / "encoder")
    assert find_checkpoint(run).name == "gan-0000100"
    shutil.rmtree(run / "checkpoints")
    assert find_checkpoint(run) == run / "encoder"


def test_a_checkpoint_folder_means_itself(folder):
    assert find_checkpoint(folder) == folder == find_checkpoint(str(folder) + "/")


def test_what_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        find_checkpoint(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="not a checkpoint or a run"):
        find_checkpoint(tmp_path)
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(CheckpointError, match="not a checkpoint or a run"):
        find_checkpoint(file)


def test_an_installation_without_default_weights_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "resource", lambda kind, name: tmp_path / name)
    with pytest.raises(CheckpointError, match="default checkpoint is missing"):
        find_checkpoint("default")


def test_numbers_of_the_config_are_plain_json(folder):
    config = json.loads((folder / CONFIG).read_text())
    assert config["format"] == 2 and config["encoder"]["channels"] == [8, 8]
    assert config["encoder"]["type"] == "conv" and config["generator"]["type"] == "wen2019"
    assert np.isfinite(config["features"]["f_max"])
