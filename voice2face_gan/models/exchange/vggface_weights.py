"""Weights of VGG-Face in three public files -> our network, with the preprocessing that each was trained for.

    keras-vggface   rcmalli_vggface_tf_vgg16.h5   layers by name (conv1_1 ... fc8), fc6 dense on a map that is
                                                  flattened by rows, columns, channels
    deepface        vgg_face_weights.h5           layers by order, all convolutions: fc6 is 7 x 7, the
                                                  others 1 x 1
    matconvnet      vgg_face_dag.pth              a PyTorch state dict, conv1_1.weight ... fc8.bias

Kernels in the h5 files are (rows, columns, inputs, outputs), dense weights (inputs, outputs). PyTorch wants
outputs first, and flattens by channels, rows, columns: a dense fc6 is not only transposed but its inputs put
in that order. The files are told apart by what they hold; no pickled code is run, and sizes are those of the
file.
"""

import hashlib
import re
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from voice2face_gan.errors import CheckpointError, first_line
from voice2face_gan.models.face_readers.vggface import (
    BLOCKS,
    CONVOLUTIONS,
    GRID,
    LAYERS,
    VggFace,
    VggFaceReader,
)

_HDF5 = b"\x89HDF\r\n\x1a\n"
_ROOT = "model_weights"  # where files of whole Keras models have what files of weights have at the top


def import_vggface(path: str | Path, preset: str | None = None) -> VggFaceReader:
    """The reader that a public weight file holds.

    Args:
        path: the file.
        preset: of preprocessing, where it is not to be the file's own.
    Raises:
        CheckpointError: it cannot be read, is another network's or another layout's; the message names the
            file and the first layer that does not fit. Or h5py is missing for an h5 file.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(len(_HDF5))
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror or error}).") from error
    if head == _HDF5:
        kind, layers = _of_keras(path, _read_h5(path))
    else:
        kind, layers = "matconvnet", _of_torch(path)
    net = _network(path, layers)
    about = {"converted_from": {"layout": kind, "file": path.name, "sha256": digest.hexdigest()}}
    return VggFaceReader(net, preset or kind, about)


# Keras


def _read_h5(path: Path) -> dict[str, list[np.ndarray]]:
    """The arrays of each layer that has some, by the layers' names, both in the file's order."""
    try:
        import h5py
    except ImportError as error:
        raise CheckpointError(
            f"{path} is an h5 file, which needs h5py: pip install 'voice2face-gan[speech2face]'."
        ) from error
    try:
        with h5py.File(path, "r") as file:
            root = file.get(_ROOT, file)
            if "layer_names" not in root.attrs:
                raise CheckpointError(f"{path}: an h5 file, but none of Keras weights (it names no layers).")
            layers = {}
            for layer in map(_text, root.attrs["layer_names"]):
                names = [_text(name) for name in root[layer].attrs["weight_names"]]
                if names:
                    layers[layer] = [np.asarray(root[layer][name], dtype=np.float32) for name in names]
            return layers
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: the h5 file is damaged or something else ({first_line(error)})."
        ) from error


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _of_keras(path: Path, found: dict[str, list[np.ndarray]]) -> tuple[str, dict[str, tuple[Tensor, Tensor]]]:
    """The layout's name, and weight and bias of each of LAYERS as PyTorch has them."""
    named = any(name in found for name in LAYERS)
    if named:
        kind, names = "keras-vggface", {name: name for name in LAYERS}
        for name in LAYERS:
            if name not in found:
                why = "a file without its top" if name == "fc6" else "another network"
                raise CheckpointError(f"{path}: the layer '{name}' of VGG-Face is missing; this is {why}.")
    else:
        kind = "deepface"
        if len(found) != len(LAYERS):
            raise CheckpointError(
                f"{path}: {len(found)} layers with weights, none named as VGG-Face's; deepface's file has "
                f"{len(LAYERS)}, so this is another network."
            )
        names = dict(zip(LAYERS, found, strict=True))
    layers = {}
    for ours, theirs in names.items():
        arrays = found[theirs]
        if len(arrays) != 2 or arrays[0].ndim not in (2, 4) or arrays[1].shape != arrays[0].shape[-1:]:
            shapes = ", ".join(str(a.shape) for a in arrays)
            raise CheckpointError(
                f"{path}: the layer '{theirs}' {shapes} is no {ours} of VGG-Face with a bias."
            )
        layers[ours] = _turned(ours, arrays[0]), torch.from_numpy(arrays[1])
    return kind, layers


def _turned(name: str, kernel: np.ndarray) -> Tensor:
    """A Keras kernel as PyTorch has it; layers from fc6 on as matrices."""
    if name == "fc6" and kernel.ndim == 2 and kernel.shape[0] % GRID**2 == 0:
        # Its inputs were flattened by rows, columns, channels: only now it is a 7 x 7 convolution's kernel.
        kernel = kernel.reshape(GRID, GRID, -1, kernel.shape[1])
    weight = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
    if name not in CONVOLUTIONS:
        weight = weight.reshape(weight.shape[0], -1)
    return torch.from_numpy(np.ascontiguousarray(weight))


# PyTorch


def _of_torch(path: Path) -> dict[str, tuple[Tensor, Tensor]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the unpickler fail in any way there is
        asked = re.search(r"GLOBAL:? ([\w.]+)", str(error))
        why = (
            f"holds more than tensors ({asked[1]}), which could run code; save its net's state_dict() alone"
            if asked
            else "is neither an h5 file nor PyTorch weights; it is damaged or something else"
        )
        raise CheckpointError(f"{path} {why}.") from error
    layers = {}
    for name in LAYERS:
        pair = tuple(
            state.get(f"{name}.{part}") if isinstance(state, dict) else None for part in ("weight", "bias")
        )
        if not all(isinstance(tensor, Tensor) for tensor in pair):
            raise CheckpointError(f"{path}: '{name}.weight' or '{name}.bias' of VGG-Face is missing.")
        weight, bias = (tensor.detach().float() for tensor in pair)
        layers[name] = (weight if name in CONVOLUTIONS else weight.flatten(1)), bias
    return layers


# The network


def _network(path: Path, layers: dict[str, tuple[Tensor, Tensor]]) -> VggFace:
    """Our network with these weights; its sizes are theirs."""
    ends, place = [], 0
    for count in BLOCKS:
        place += count
        ends.append(len(layers[CONVOLUTIONS[place - 1]][1]))
    with torch.device("meta"):
        net = VggFace(tuple(ends), len(layers["fc7"][1]), len(layers["fc8"][1]))
    wanted = net.state_dict()
    state = {
        f"{name}.{part}": tensor
        for name in LAYERS
        for part, tensor in zip(("weight", "bias"), layers[name], strict=True)
    }
    for name, tensor in state.items():
        if tensor.shape != wanted[name].shape:
            raise CheckpointError(
                f"{path}: the tensor '{name}' {tuple(tensor.shape)} does not fit VGG-Face, whose is "
                f"{tuple(wanted[name].shape)}."
            )
        if not tensor.isfinite().all():
            raise CheckpointError(f"{path}: the tensor '{name}' holds values that are not finite.")
    net.load_state_dict({name: tensor.contiguous() for name, tensor in state.items()}, assign=True)
    return net
