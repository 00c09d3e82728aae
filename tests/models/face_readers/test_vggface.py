"""VGG-Face from its three public layouts: weights, presets, the flattening of fc6, files that are something
else.

The networks are narrow, of random weights; the layouts are written as the public files have them. Files in h5
want h5py, comparisons with Keras want Keras (both are in the extra `speech2face` or for developers).
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from voice2face_gan.errors import CheckpointError
from voice2face_gan.models.exchange import vggface_weights
from voice2face_gan.models.exchange.vggface_weights import _turned, import_vggface
from voice2face_gan.models.face_readers.vggface import (
    CONVOLUTIONS,
    LAYERS,
    PRESETS,
    VggFace,
    VggFaceReader,
)

CHANNELS, HIDDEN, CLASSES = (4, 4, 6, 6, 8), 12, 5


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    made = VggFace(CHANNELS, HIDDEN, CLASSES).eval().requires_grad_(False)
    for name in LAYERS:  # so that activations reach fc8 neither dead nor huge
        layer = getattr(made, name)
        torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        torch.nn.init.normal_(layer.bias, std=0.1)
    return made


@pytest.fixture(scope="module")
def faces():
    return torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(1)) * 2 - 1


def kernels(net: VggFace) -> dict[str, list[np.ndarray]]:
    """The network's layers as Keras holds them, all as convolutions."""
    found = {}
    for name in LAYERS:
        weight, bias = (v.numpy() for v in (getattr(net, name).weight, getattr(net, name).bias))
        if name == "fc6":
            weight = weight.reshape(HIDDEN, CHANNELS[-1], 7, 7)
        elif weight.ndim == 2:
            weight = weight[:, :, None, None]
        found[name] = [weight.transpose(2, 3, 1, 0), bias]
    return found


def dense(layers: dict) -> dict:
    """The same with fc6 to fc8 dense, fc6 on a map flattened by rows, columns, channels."""
    flat = {n: [k.reshape(-1, k.shape[-1]), b] for n, (k, b) in layers.items() if n not in CONVOLUTIONS}
    return layers | flat


def write_h5(path, layers: dict, root: str = "") -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        group = file.require_group(root) if root else file
        empty = ("input_1", "pool1")
        group.attrs["layer_names"] = [n.encode() for n in (empty[0], *layers, empty[1])]
        for name in empty:
            group.create_group(name).attrs["weight_names"] = np.array([], dtype="S1")
        for name, arrays in layers.items():
            names = [f"{name}/{part}:0" for part in ("kernel", "bias")][: len(arrays)]
            inner = group.create_group(name)
            inner.attrs["weight_names"] = [n.encode() for n in names]
            for full, array in zip(names, arrays, strict=True):
                inner[full] = array


# The flattening of fc6


def test_a_dense_fc6_on_rows_columns_channels_is_a_7x7_convolution():
    """A random Dense on an HWC-flattened map, against a 7 x 7 convolution and against ours on C, H, W."""
    random = np.random.default_rng(0)
    kernel = random.standard_normal((7 * 7 * 6, 10)).astype(np.float32)
    maps = torch.from_numpy(random.standard_normal((3, 6, 7, 7)).astype(np.float32))
    wanted = maps.permute(0, 2, 3, 1).reshape(3, -1) @ torch.from_numpy(kernel)
    ours = _turned("fc6", kernel)
    assert torch.allclose(maps.flatten(1) @ ours.t(), wanted, atol=1e-4)
    convolution = torch.from_numpy(kernel.reshape(7, 7, 6, 10).transpose(3, 2, 0, 1).copy())
    assert torch.allclose(F.conv2d(maps, convolution).flatten(1), wanted, atol=1e-4)
    only_transposed = maps.flatten(1) @ torch.from_numpy(kernel)
    assert not torch.allclose(only_transposed, wanted, atol=1)


# Preprocessing


def test_presets_have_the_order_of_channels_and_means_of_their_sources():
    """White, black, and a red pixel, at which RGB and BGR differ, by hand."""
    red = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1)
    wanted = {
        "keras-vggface": (-93.5940, -104.7624, 255 - 129.1863),
        "deepface": (0, 0, 1),
        "matconvnet": (255 - 129.1863, -104.7624, -93.5940),
        "rgb-unit": (1, 0, 0),
    }
    assert set(wanted) == set(PRESETS)
    for name, values in wanted.items():
        assert torch.allclose(
            PRESETS[name](red).flatten(), torch.tensor(values, dtype=torch.float32), atol=1e-3
        ), name
    grey = PRESETS["deepface"](torch.zeros(1, 3, 2, 2))
    assert torch.allclose(grey, torch.full((1, 3, 2, 2), 0.5))


def test_a_preset_that_is_none_is_refused(net):
    with pytest.raises(CheckpointError, match="no preprocessing 'vgg2'.*keras-vggface"):
        VggFaceReader(net, "vgg2")


# The reader


def test_the_published_sizes_are_those_of_table_3():
    with torch.device("meta"):
        full = VggFace()
    assert sum(p.numel() for p in full.parameters()) == 145_002_878
    assert (full.fc6.in_features, full.fc7.out_features, full.fc8.out_features) == (25_088, 4096, 2622)


def test_sizes_follow_the_network_and_the_feature_comes_after_a_relu(net, faces):
    reader = VggFaceReader(net, "matconvnet")
    assert (reader.size, reader.classes, reader.positive) == (HIDDEN, CLASSES, True)
    feature, logits = reader(faces)
    assert feature.shape == (2, HIDDEN) and logits.shape == (2, CLASSES)
    assert feature.min() == 0 and feature.max() > 0
    assert torch.allclose(reader.classify(feature), logits)
    assert reader.train().training is False


def test_gradients_go_to_the_image_and_not_to_the_network(net, faces):
    reader = VggFaceReader(net, "keras-vggface")
    images = faces.clone().requires_grad_()
    reader(images).feature.sum().backward()
    assert images.grad.abs().max() > 0 and all(p.grad is None for p in reader.parameters())


def test_a_reader_is_kept_in_a_folder(net, faces, tmp_path):
    reader = VggFaceReader(net, "deepface", {"from": "a test"})
    reader.save(tmp_path / "reader")
    again = VggFaceReader.load(tmp_path / "reader")
    assert again.preset == "deepface" and again.about == {"from": "a test"}
    assert torch.equal(again(faces).logits, reader(faces).logits)
    (tmp_path / "reader" / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="not a VGG-Face reader"):
        VggFaceReader.load(tmp_path / "reader")


# Importing


@pytest.mark.parametrize("zipped", [True, False])
def test_the_port_of_matconvnet(net, faces, tmp_path, zipped):
    path = tmp_path / "vgg_face_dag.pth"
    torch.save(net.state_dict(), path, _use_new_zipfile_serialization=zipped)
    reader = import_vggface(path)
    assert reader.preset == "matconvnet" and reader.about["converted_from"]["file"] == path.name
    assert len(reader.about["converted_from"]["sha256"]) == 64
    assert torch.equal(reader(faces).logits, VggFaceReader(net, "matconvnet")(faces).logits)
    assert import_vggface(path, "rgb-unit").preset == "rgb-unit"


@pytest.mark.parametrize("root", ["", "model_weights"])
def test_keras_vggface_by_name(net, faces, tmp_path, root):
    layers = dense(kernels(net))
    # By name: the order of the file does not matter.
    write_h5(tmp_path / "rcmalli.h5", dict(reversed(layers.items())), root)
    reader = import_vggface(tmp_path / "rcmalli.h5")
    assert reader.preset == "keras-vggface"
    assert torch.equal(reader(faces).logits, VggFaceReader(net, "keras-vggface")(faces).logits)


def test_deepface_by_order(net, faces, tmp_path):
    layers = {f"conv2d_{i + 1}": arrays for i, arrays in enumerate(kernels(net).values())}
    write_h5(tmp_path / "vgg_face_weights.h5", layers)
    reader = import_vggface(tmp_path / "vgg_face_weights.h5")
    assert reader.preset == "deepface"
    assert torch.equal(reader(faces).logits, VggFaceReader(net, "deepface")(faces).logits)


# Files that are something else


def refused(path, sentence: str):
    with pytest.raises(CheckpointError, match=sentence) as error:
        import_vggface(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_other_files_are_refused_in_a_sentence(net, tmp_path):
    refused(tmp_path / "none.h5", "cannot be read")
    (tmp_path / "noise.pth").write_bytes(b"\x00" * 100)
    refused(tmp_path / "noise.pth", "neither an h5 file nor PyTorch weights")
    torch.save(net, tmp_path / "whole.pth")
    refused(tmp_path / "whole.pth", "more than tensors")
    torch.save({"conv1.weight": torch.zeros(2)}, tmp_path / "other.pth")
    refused(tmp_path / "other.pth", r"'conv1_1.weight' or 'conv1_1.bias' of VGG-Face is missing")
    torch.save([1, 2], tmp_path / "list.pth")
    refused(tmp_path / "list.pth", "VGG-Face is missing")
    state = net.state_dict()
    torch.save({**state, "fc7.weight": torch.zeros(HIDDEN, HIDDEN + 1)}, tmp_path / "shape.pth")
    refused(tmp_path / "shape.pth", r"'fc7.weight' \(12, 13\) does not fit VGG-Face")
    torch.save({**state, "fc8.bias": torch.full((CLASSES,), torch.nan)}, tmp_path / "nan.pth")
    refused(tmp_path / "nan.pth", "'fc8.bias' holds values that are not finite")


def test_other_h5_files_are_refused_in_a_sentence(net, tmp_path):
    h5py = pytest.importorskip("h5py")
    layers = dense(kernels(net))
    write_h5(tmp_path / "notop.h5", {n: layers[n] for n in CONVOLUTIONS})
    refused(tmp_path / "notop.h5", "layer 'fc6' of VGG-Face is missing; this is a file without its top")
    write_h5(tmp_path / "resnet.h5", {f"conv_{i}": layers["conv1_2"] for i in range(20)})
    refused(tmp_path / "resnet.h5", "20 layers with weights, none named as VGG-Face's")
    write_h5(tmp_path / "nobias.h5", {**layers, "conv2_1": layers["conv2_1"][:1]})
    refused(tmp_path / "nobias.h5", "layer 'conv2_1' .* is no conv2_1 of VGG-Face with a bias")
    mixed = dict(zip((f"c{i}" for i in range(16)), [*kernels(net).values()][::-1], strict=True))
    write_h5(tmp_path / "order.h5", mixed)
    refused(tmp_path / "order.h5", "does not fit VGG-Face")
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"] = np.zeros(3)
    refused(tmp_path / "data.h5", "names no layers")
    whole = (tmp_path / "order.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "cut.h5", "damaged or something else")


def test_without_h5py_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.h5").write_bytes(vggface_weights._HDF5 + b"\x00" * 100)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    refused(tmp_path / "a.h5", r"needs h5py: pip install 'voice2face-gan\[speech2face\]'")


# Against Keras


@pytest.fixture(scope="module")
def keras(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "torch")
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        pytest.importorskip("h5py")
        yield pytest.importorskip("keras", reason="Keras, which wrote the public h5 files, is not installed")


def of_keras_vggface(layers, side=224):
    """As keras-vggface builds it: functional, named, dense on a Flatten, activations of fc6 to fc8 apart."""
    x = image = layers.Input((side, side, 3))
    for name in CONVOLUTIONS:
        x = layers.Conv2D(CHANNELS[int(name[4]) - 1], 3, activation="relu", padding="same", name=name)(x)
        if name in ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"):
            x = layers.MaxPooling2D(2, 2, name=f"pool{name[4]}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Activation("relu", name="fc6_relu")(layers.Dense(HIDDEN, name="fc6")(x))
    feature = layers.Activation("relu", name="fc7_relu")(layers.Dense(HIDDEN, name="fc7")(x))
    return image, feature, layers.Dense(CLASSES, name="fc8")(feature)


def of_deepface(layers, side=224):
    """As deepface builds it: unnamed, zeros put around maps, all convolutions."""
    x = image = layers.Input((side, side, 3))
    for name in CONVOLUTIONS:
        x = layers.Conv2D(CHANNELS[int(name[4]) - 1], 3, activation="relu")(layers.ZeroPadding2D(1)(x))
        if name in ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"):
            x = layers.MaxPooling2D(2, 2)(x)
    x = layers.Conv2D(HIDDEN, 7, activation="relu")(x)
    x = layers.Conv2D(HIDDEN, 1, activation="relu")(x)
    return image, layers.Flatten()(x), layers.Flatten()(layers.Conv2D(CLASSES, 1)(x))


@pytest.mark.parametrize(
    ("build", "preset"), [(of_keras_vggface, "keras-vggface"), (of_deepface, "deepface")]
)
def test_activations_are_those_of_keras(keras, faces, tmp_path, build, preset):
    """Random weights, built and saved by Keras, imported: fc7 and fc8 to 1e-5 of their size."""
    keras.utils.set_random_seed(3)
    image, feature, logits = build(keras.layers)
    whole = keras.Model(image, logits)
    both = keras.Model(image, [feature, logits])
    path = tmp_path / "saved.h5"
    whole.save(path)
    reader = import_vggface(path)
    assert reader.preset == preset
    inputs = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(4))
    theirs = both(inputs.permute(0, 2, 3, 1).numpy())
    ours = reader.net(inputs)
    for a, b in zip(ours, theirs, strict=True):
        b = torch.as_tensor(keras.ops.convert_to_numpy(b))
        assert b.abs().max() > 1e-3 and (a - b).abs().max() < 1e-5 * b.abs().max(), preset
