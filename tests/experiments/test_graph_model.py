"""Graph models written by hand, with answers known by hand; and what is said of those that are refused."""

import base64
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.append(str(Path(__file__).parents[2] / "experiments"))
from graph_model import GraphModel

from voice2face_gan.errors import CheckpointError


def text(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


def window(padding: str = "VALID", stride: int = 1, dilation: int = 1, fused: tuple = (), **more) -> dict:
    """Attributes of a convolution as the converter writes them; `ksize` for a pool."""
    attr = {"padding": {"s": text(padding)}, "data_format": {"s": text(more.get("layout", "NHWC"))}}
    attr["strides"] = {"list": {"i": ["1", str(stride), str(stride), "1"]}}
    attr["dilations"] = {"list": {"i": ["1", str(dilation), str(dilation), "1"]}}
    if "ksize" in more:
        attr["ksize"] = {"list": {"i": ["1", str(more["ksize"]), str(more["ksize"]), "1"]}}
    if fused:
        attr["fused_ops"] = {"list": {"s": [text(name) for name in fused]}}
    return attr


@pytest.fixture
def write(tmp_path):
    """Function (nodes (name, op, inputs, attributes), constants by name) -> model.json; "x" is the input.

    Integers are written as int32, everything else as float32 unless `entries` says how."""

    def make(nodes, constants=None, entries=None) -> Path:
        listed = [{"name": "x", "op": "Placeholder", "attr": {}}]
        weights, raw = [], b""
        for name, value in (constants or {}).items():
            value = np.asarray(value)
            entry = {"name": name, "shape": list(value.shape)}
            if entries and name in entries:
                entry |= entries[name]
            else:
                entry["dtype"] = "int32" if value.dtype.kind == "i" else "float32"
                value = value.astype("<i4" if value.dtype.kind == "i" else "<f4")
            raw += value.tobytes()
            weights.append(entry)
            listed.append({"name": name, "op": "Const", "attr": {}})
        for name, op, inputs, *attr in nodes:
            listed.append({"name": name, "op": op, "input": inputs, "attr": attr[0] if attr else {}})
        half = len(raw) // 2  # two files, whose seam lies within a constant
        (tmp_path / "one.bin").write_bytes(raw[:half])
        (tmp_path / "two.bin").write_bytes(raw[half:])
        manifest = [{"paths": ["one.bin", "two.bin"], "weights": weights}]
        path = tmp_path / "model.json"
        path.write_text(json.dumps({"modelTopology": {"node": listed}, "weightsManifest": manifest}))
        return path

    return make


@pytest.fixture
def answer(write):
    """Function (operation, input, constants, attributes) -> what a node of that operation gives, as lists."""

    def compute(op: str, x, *constants, attr: dict | None = None, entries: dict | None = None):
        named = {f"c{i}": value for i, value in enumerate(constants)}
        path = write([("y", op, ["x", *named], attr or {})], named, entries)
        return GraphModel(path, ["y"])(torch.as_tensor(x, dtype=torch.float32))[0].tolist()

    return compute


def image(rows) -> np.ndarray:
    """One channel as NHWC."""
    return np.asarray(rows, dtype=np.float32)[None, :, :, None]


def plane(answer) -> list:
    return np.asarray(answer)[0, :, :, 0].tolist()


COUNTED = image(np.arange(16).reshape(4, 4))
ONES = np.ones((3, 3, 1, 1))


def test_convolution_without_padding(answer):
    assert plane(answer("Conv2D", COUNTED, ONES, attr=window())) == [[45, 54], [81, 90]]


def test_same_pads_more_below_and_to_the_right(answer):
    """Of four pixels and steps of two one row is missing: it is put at the end, as TensorFlow does."""
    ones = image(np.ones((4, 4)))
    assert plane(answer("Conv2D", ones, ONES, attr=window("SAME", stride=2))) == [[9, 6], [6, 4]]
    assert plane(answer("Conv2D", ones, ONES, attr=window("SAME")))[0] == [4, 6, 6, 4]
    uneven = answer("Conv2D", image(np.ones((4, 3))), ONES, attr=window("SAME", stride=2))
    assert plane(uneven) == [[6, 6], [4, 4]]  # of three pixels one is missing at either end


def test_dilation(answer):
    corners = answer(
        "Conv2D", image(np.arange(9).reshape(3, 3)), np.ones((2, 2, 1, 1)), attr=window(dilation=2)
    )
    assert plane(corners) == [[0 + 2 + 6 + 8]]
    same = answer("Conv2D", COUNTED, ONES, attr=window("SAME", dilation=2))
    assert np.shape(same) == (1, 4, 4, 1) and plane(same)[0][0] == 0 + 2 + 8 + 10


def test_a_convolution_is_not_turned_round(answer):
    kernel = np.arange(9, dtype=float).reshape(3, 3, 1, 1)
    point = np.zeros((3, 3))
    point[0, 1] = 1
    assert plane(answer("Conv2D", image(point), kernel, attr=window())) == [[1]]


def test_channels(answer):
    x = [[[[1.0, 2.0]]]]
    mixed = [[[[1.0, 10.0], [100.0, 1000.0]]]]  # from each channel (row) to each (column)
    assert answer("Conv2D", x, mixed, attr=window()) == [[[[201, 2010]]]]
    own = [[[[1.0, 2.0], [3.0, 4.0]]]]  # two filters for each channel
    assert answer("DepthwiseConv2dNative", [[[[10, 100]]]], own, attr=window()) == [[[[10, 20, 300, 400]]]]


def test_depthwise_with_steps(answer):
    x = np.concatenate([COUNTED, 100 * COUNTED], axis=-1)
    filters = np.concatenate([np.ones((3, 3, 1, 1)), 2 * np.ones((3, 3, 1, 1))], axis=2)
    made = np.asarray(answer("DepthwiseConv2dNative", x, filters, attr=window("SAME", stride=2)))
    assert made[0, :, :, 0].tolist() == [
        [45, 2 + 3 + 6 + 7 + 10 + 11],
        [8 + 9 + 10 + 12 + 13 + 14, 10 + 11 + 14 + 15],
    ]
    assert (made[0, :, :, 1] == 200 * made[0, :, :, 0]).all()


@pytest.mark.parametrize(
    ("fused", "result"),
    [
        (("BiasAdd",), [[[[-2, 9]]]]),
        (("BiasAdd", "Relu"), [[[[0, 9]]]]),
        (("BiasAdd", "Relu6"), [[[[0, 6]]]]),
        (("Relu",), [[[[0, 4]]]]),
    ],
)
def test_fused(answer, fused, result):
    bias = [[1.0, 5.0]] if "BiasAdd" in fused else []
    x, attr = [[[[1.0]]]], window(fused=fused)
    assert answer("_FusedConv2D", x, [[[[-3.0, 4.0]]]], *bias, attr=attr) == result
    x, own = [[[[1.0, 1.0]]]], [[[[-3.0], [4.0]]]]
    assert answer("FusedDepthwiseConv2dNative", x, own, *bias, attr=attr) == result
    assert answer("_FusedMatMul", [[1.0]], [[-3.0, 4.0]], *bias, attr=attr) == result[0][0]


def test_matrices(answer):
    a, b = [[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]
    assert answer("MatMul", a, b) == [[13, 16]]
    assert answer("MatMul", a, b, attr={"transpose_b": {"b": True}}) == [[11, 17]]
    assert answer("MatMul", [[1.0], [2.0]], b, attr={"transpose_a": {"b": True}}) == [[13, 16]]


def test_the_padding_of_a_pool_is_never_the_largest(answer):
    x = image(-np.arange(1, 10).reshape(3, 3))
    assert plane(answer("MaxPool", x, attr=window("SAME", stride=2, ksize=2))) == [[-1, -3], [-7, -9]]
    assert plane(answer("MaxPool", x, attr=window(stride=1, ksize=2))) == [[-1, -2], [-4, -5]]


def test_reductions(answer):
    x = np.arange(8.0).reshape(1, 2, 2, 2)
    for op, result in (("Mean", [3, 4]), ("Sum", [12, 16]), ("Max", [6, 7])):
        assert answer(op, x, np.array([1, 2])) == [result]
        assert answer(op, x, np.array([1, 2]), attr={"keep_dims": {"b": True}}) == [[[result]]]
    assert answer("Mean", x, np.array(-1)) == [[[0.5, 2.5], [4.5, 6.5]]]


@pytest.mark.parametrize(
    ("op", "constants", "result"),
    [
        ("Add", [[1.0, 2.0]], [-1, 4]),
        ("AddV2", [1.0], [-1, 3]),
        ("Sub", [[1.0, 5.0]], [-3, -3]),
        ("Mul", [[3.0, 0.5]], [-6, 1]),
        ("Maximum", [1.0], [1, 2]),
        ("Minimum", [1.0], [-2, 1]),
        ("Relu", [], [0, 2]),
        ("Relu6", [], [0, 2]),
        ("Sigmoid", [], [1 / (1 + np.e**2), 1 / (1 + np.e**-2)]),
        ("Softmax", [], [1 / (1 + np.e**4), 1 / (1 + np.e**-4)]),
        ("Identity", [], [-2, 2]),
        ("Reshape", [np.array([-1])], [-2, 2]),
    ],
)
def test_number_by_number(answer, op, constants, result):
    assert np.ravel(answer(op, [[-2.0, 2.0]], *constants)) == pytest.approx(result)


def test_shapes(answer):
    assert answer("Reshape", np.arange(4.0), np.array([-1, 2])) == [[0, 1], [2, 3]]
    assert answer("Pad", [[1.0]], np.array([[0, 1], [2, 0]])) == [[0, 0, 1], [0, 0, 0]]


def test_weights_in_fewer_bits(answer):
    half = {"c0": {"dtype": "float32", "quantization": {"dtype": "float16"}}}
    assert answer("Mul", [2.0, 2.0], np.array([0.5, 1.25], "<f2"), entries=half) == [1, 2.5]
    line = {"c0": {"dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1.0}}}
    assert answer("Add", [0.0, 0.0], np.array([0, 255], "u1"), entries=line) == [-1, 126.5]


def test_several_outputs_and_nothing_that_they_do_not_need(write):
    nodes = [
        ("twice", "Add", ["x", "x:0", "^unheard"]),
        ("four", "Mul", ["twice", "two"]),
        ("back", "Sub", ["four:0", "twice"]),
        ("unheard", "WriteFile", ["x"]),
    ]
    model = GraphModel(write(nodes, {"two": 2.0}), ["four", "twice", "back", "x"])
    for x in (3.0, 5.0):  # a model may be asked again
        assert [y.item() for y in model(torch.tensor([x]))] == [4 * x, 2 * x, 2 * x, x]


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (("y", "Einsum", ["x"]), "'y' needs the operation Einsum"),
        (("y", "Conv2D", ["x", "w"], window("EXPLICIT")), "'y' needs the padding EXPLICIT"),
        (("y", "Conv2D", ["x", "w"], window(layout="NCHW")), "'y' needs the layout NCHW"),
        (("y", "_FusedConv2D", ["x", "w"], window(fused=("Elu",))), "'y' needs the fused operation Elu"),
        (("y", "Add", ["x", "gone"]), "has no node 'gone'"),
        (("z", "Relu", ["x"]), "has no node 'y'"),
        (("y", "Add", ["x", "y"]), "'y' needs itself"),
        (("y", "Relu", ["w"]), "from 0 inputs, not from one"),
        (
            ("y", "Conv2D", ["x", "w"], {}),
            "is no TensorFlow.js graph model .KeyError: '(strides|dilations|padding)'",
        ),
    ],
)
def test_what_is_not_known_is_one_sentence_before_anything_is_computed(write, node, said):
    with pytest.raises(CheckpointError, match=said) as error:
        GraphModel(write([node], {"w": np.ones((1, 1, 1, 1))}), ["y"])
    assert "model.json" in str(error.value) and "\n" not in str(error.value)


def test_damaged_files(write, tmp_path):
    def opened(said: str):
        with pytest.raises(CheckpointError, match=said) as error:
            GraphModel(tmp_path / "model.json", ["y"])
        assert "\n" not in str(error.value)

    opened("model.json cannot be read .No such file")
    write([("y", "Add", ["x", "w"])], {"w": np.ones(4)})
    whole = (tmp_path / "two.bin").read_bytes()
    for wrong in (whole[:-1], whole + b"0"):
        (tmp_path / "two.bin").write_bytes(wrong)
        opened("two.bin is not as long as model.json says")
    (tmp_path / "two.bin").unlink()
    opened("two.bin cannot be read .No such file")
    write([("y", "Add", ["x", "w"])], {"w": np.array([1])}, {"w": {"dtype": "string"}})
    opened("the weights 'w' are string")
    for wrong in ("", "{}", "[]", '{"modelTopology": {}}'):
        (tmp_path / "model.json").write_text(wrong)
        opened("model.json is no TensorFlow.js graph model")
