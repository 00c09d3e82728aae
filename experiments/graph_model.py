"""Networks published as TensorFlow.js graph models, computed by PyTorch: model.json and the .bin beside it.

A graph model is a list of nodes: a name, an operation, the names of its inputs, attributes. What the
constants are is in the .bin files of each group of `weightsManifest`, one constant after the other, often in
fewer bits than they are computed in. Sources: README of github.com/tensorflow/tfjs/tree/master/tfjs-converter
for the files; tensorflow.org/api_docs/python/tf/raw_ops for what an operation does and how SAME pads.

Inference of convolutional nets: the operations below, no others, and images as TensorFlow lays them out,
(N, height, width, channels). What a graph asks for beyond that is refused when it is opened.
"""

import base64
import json
from collections.abc import Callable, Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from voice2face_gan.errors import CheckpointError, first_line

Compute = Callable[[list[Tensor]], Tensor]  # a node's inputs -> what it gives

_HERE = Path(__file__).name
_STORED = {"float32": "<f4", "int32": "<i4", "bool": "u1", "float16": "<f2", "uint16": "<u2", "uint8": "u1"}
_COMPUTED = {"float32": np.float32, "int32": np.int32, "bool": bool}

_ACTIVATIONS = {"Relu": F.relu, "Relu6": F.relu6, "Sigmoid": torch.sigmoid}
_POINTWISE = _ACTIVATIONS | {
    "Add": torch.add,
    "AddV2": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Maximum": torch.maximum,
    "Minimum": torch.minimum,
    "Identity": lambda x: x,
    "Softmax": lambda x: x.softmax(dim=-1),
}
_REDUCTIONS = {"Sum": torch.sum, "Mean": torch.mean, "Max": torch.amax}
_CONVOLUTIONS = {  # operation: whether every channel has filters of its own
    "Conv2D": False,
    "_FusedConv2D": False,
    "DepthwiseConv2dNative": True,
    "FusedDepthwiseConv2dNative": True,
}


class GraphModel:
    """A graph model with one input.

    Args:
        path: its model.json, or whatever the file is called.
        outputs: names of the nodes whose values are wanted; nothing that they do not need is computed.
    Raises:
        CheckpointError: a file cannot be read or is damaged, there is no such output, or the outputs need
            what is not known here.
    """

    def __init__(self, path: str | Path, outputs: Iterable[str]):
        self._path, self._outputs = Path(path), list(outputs)
        try:
            model = json.loads(self._path.read_text(encoding="utf-8"))
            nodes = {node["name"]: node for node in model["modelTopology"]["node"]}
            constants = {name: x for group in model["weightsManifest"] for name, x in self._weights(group)}
            self._plan(nodes, constants)
        except OSError as error:
            raise CheckpointError(
                f"{error.filename or path} cannot be read ({error.strerror}); a graph model is a .json file "
                "with its .bin files beside it."
            ) from error
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise CheckpointError(
                f"{path} is no TensorFlow.js graph model ({type(error).__name__}: {first_line(error)}); "
                "get it again."
            ) from error

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> list[Tensor]:
        """The outputs for an input, float32 in the layout of the graph, such as (N, height, width, 3)."""
        values = {self._input: x} | self._constants
        for name, compute, inputs, over in self._steps:
            values[name] = compute([values[i] for i in inputs])
            for old in over:  # so that not every layer's maps are held to the end
                del values[old]
        return [values[name] for name in self._outputs]

    def _weights(self, group: dict) -> Iterable[tuple[str, Tensor]]:
        """Names and values of a group of the manifest."""
        raw = b"".join((self._path.parent / name).read_bytes() for name in group["paths"])
        at = 0
        for entry in group["weights"]:
            fewer = entry.get("quantization", {})
            kind = fewer.get("dtype", entry["dtype"])
            if kind not in _STORED:
                raise CheckpointError(
                    f"{self._path}: the weights '{entry['name']}' are {kind}, which {_HERE} does not know."
                )
            start, at = at, at + int(np.prod(entry["shape"])) * np.dtype(_STORED[kind]).itemsize
            if at > len(raw):
                break
            values = np.frombuffer(raw[start:at], _STORED[kind]).reshape(entry["shape"])
            if "scale" in fewer:  # a line from whole numbers to the values
                values = values * fewer["scale"] + fewer["min"]
            yield entry["name"], torch.from_numpy(values.astype(_COMPUTED[entry["dtype"]]))
        if at != len(raw):
            raise CheckpointError(
                f"{self._path.parent / group['paths'][-1]} is not as long as {self._path.name} says; "
                "get it again."
            )

    def _plan(self, nodes: dict, constants: dict) -> None:
        """Put the nodes that the outputs need in order, each with its computation and the values that
        nothing needs after it."""
        needs, ahead = {}, list(self._outputs)
        while ahead:
            name = ahead.pop()
            if name not in nodes:
                raise CheckpointError(f"{self._path} has no node '{name}'.")
            if name not in needs:
                needs[name] = [i.removesuffix(":0") for i in nodes[name].get("input", []) if i[0] != "^"]
                ahead += needs[name]
        order = self._sorted(needs)
        inputs = [name for name in order if nodes[name]["op"] == "Placeholder"]
        if len(inputs) != 1:
            raise CheckpointError(
                f"{self._path} computes its outputs from {len(inputs)} inputs, not from one."
            )
        self._input = inputs[0]
        self._constants = {name: constants[name] for name in order if nodes[name]["op"] == "Const"}
        last = {i: name for name in order for i in needs[name]}
        self._steps = []
        for name in order:
            if nodes[name]["op"] not in ("Placeholder", "Const"):
                over = [i for i in dict.fromkeys(needs[name]) if last[i] == name and i not in self._outputs]
                self._steps.append((name, self._compute(nodes[name]), needs[name], over))

    def _sorted(self, needs: dict) -> list[str]:
        try:
            return list(TopologicalSorter(needs).static_order())
        except CycleError as error:
            raise CheckpointError(f"{self._path}: the node '{error.args[1][0]}' needs itself.") from error

    def _compute(self, node: dict) -> Compute:
        op, attr = node["op"], node.get("attr", {})
        if op in _POINTWISE:
            return lambda a: _POINTWISE[op](*a)
        if op in _REDUCTIONS:
            keep = _flag(attr, "keep_dims")
            return lambda a: _REDUCTIONS[op](a[0], dim=tuple(a[1].flatten().tolist()), keepdim=keep)
        if op == "Reshape":
            return lambda a: a[0].reshape(a[1].tolist())
        if op == "Pad":  # PyTorch wants the last dimension first
            return lambda a: F.pad(a[0], a[1].flip(0).flatten().tolist())
        if op in ("MatMul", "_FusedMatMul"):
            turned, after = [_flag(attr, "transpose_a"), _flag(attr, "transpose_b")], self._after(node)
            return lambda a: after(_turn(a[0], turned[0]) @ _turn(a[1], turned[1]), a[2:])
        if op in _CONVOLUTIONS:
            return self._convolution(node)
        if op == "MaxPool":
            size, stride, pad = _sides(attr, "ksize"), _sides(attr, "strides"), self._padding(node)
            return lambda a: _nhwc(F.max_pool2d(pad(a[0], size, stride, (1, 1), -torch.inf), size, stride))
        raise self._unknown(node, "operation", op)

    def _convolution(self, node: dict) -> Compute:
        stride, dilation = _sides(node["attr"], "strides"), _sides(node["attr"], "dilations")
        pad, after, own = self._padding(node), self._after(node), _CONVOLUTIONS[node["op"]]

        def compute(a: list[Tensor]) -> Tensor:
            filters = a[1]  # (height, width, channels in, channels out; of each channel in where `own`)
            groups = filters.shape[2] if own else 1
            w = filters.permute(2, 3, 0, 1) if own else filters.permute(3, 2, 0, 1)
            w = w.reshape(-1, filters.shape[2] // groups, *filters.shape[:2])
            x = pad(a[0], w.shape[2:], stride, dilation, 0.0)
            return after(_nhwc(F.conv2d(x, w, None, stride, 0, dilation, groups)), a[2:])

        return compute

    def _padding(self, node: dict) -> Callable[..., Tensor]:
        """Function (NHWC, size of the window, its stride, its dilation, value) -> NCHW, padded."""
        how, layout = _text(node["attr"]["padding"]["s"]), node["attr"].get("data_format")
        if layout and _text(layout["s"]) != "NHWC":
            raise self._unknown(node, "layout", _text(layout["s"]))
        if how == "VALID":
            return lambda x, *_: x.permute(0, 3, 1, 2)
        if how != "SAME":
            raise self._unknown(node, "padding", how)

        def pad(x, size, stride, dilation, value):
            x = x.permute(0, 3, 1, 2)
            edges = []
            for i in (1, 0):  # PyTorch wants the width first
                n, step = x.shape[2 + i], stride[i]
                missing = max((-(-n // step) - 1) * step + (size[i] - 1) * dilation[i] + 1 - n, 0)
                edges += [missing // 2, missing - missing // 2]
            return F.pad(x, edges, value=value)

        return pad

    def _after(self, node: dict) -> Callable[[Tensor, list[Tensor]], Tensor]:
        """Apply the remaining parts of a fused operation to its product: bias, activation."""
        names = [_text(s) for s in node.get("attr", {}).get("fused_ops", {}).get("list", {}).get("s", [])]
        for name in names:
            if name != "BiasAdd" and name not in _ACTIVATIONS:
                raise self._unknown(node, "fused operation", name)

        def after(y: Tensor, rest: list[Tensor]) -> Tensor:
            rest = iter(rest)
            for name in names:
                y = y + next(rest) if name == "BiasAdd" else _ACTIVATIONS[name](y)
            return y

        return after

    def _unknown(self, node: dict, kind: str, name: str) -> CheckpointError:
        return CheckpointError(
            f"{self._path}: the node '{node['name']}' needs the {kind} {name}, which {_HERE} does not know."
        )


def _text(s: str) -> str:
    """Attributes' texts are written in base64."""
    return base64.b64decode(s).decode()


def _flag(attr: dict, name: str) -> bool:
    return bool(attr.get(name, {}).get("b"))


def _sides(attr: dict, name: str) -> list[int]:
    """Height and width of a list for NHWC; 1 where there is none."""
    return [int(i) for i in attr.get(name, {}).get("list", {}).get("i", "1111")][1:3]


def _nhwc(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def _turn(x: Tensor, turned: bool) -> Tensor:
    return x.mT if turned else x
