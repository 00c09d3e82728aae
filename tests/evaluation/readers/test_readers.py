"""Judges behind one interface: dlib's encoder, judges of the user's, and what is said of each."""

import builtins
import importlib.util

import numpy as np
import pytest
import torch

from voice2face_gan.errors import CheckpointError, MetricError
from voice2face_gan.evaluation.readers import classifier, describe, hog, open_reader
from voice2face_gan.evaluation.readers.user import CheckedReader

needs_dlib = pytest.mark.skipif(
    not all(importlib.util.find_spec(n) for n in ("dlib", "face_recognition_models")),
    reason="the extra faces is not installed",
)

PLAIN = """
import numpy as np

class Answer:
    def __init__(self, count):
        self.embedding = np.full((count, 3), 0.5)
        self.female = np.full(count, 0.25)
        self.age = None
        self.found = np.ones(count, dtype=bool)

class Plain:
    name, about = "plain", {"trained_on": "nothing"}
    change = {}

    def read(self, faces):
        faces.zero_()
        answer = Answer(len(faces))
        for name, value in self.change.items():
            setattr(answer, name, value)
        return answer

def bare():
    return object()

def broken():
    raise RuntimeError("no weights")
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(PLAIN, encoding="utf-8")
    return path


@pytest.fixture
def plain(file):
    """Function (attributes of its answer) -> a checked judge that gives them."""

    def make(**change) -> CheckedReader:
        reader = open_reader(f"{file}:Plain")
        reader._reader.change = change
        return reader

    return make


FACES = torch.full((4, 64, 64, 3), 7, dtype=torch.uint8)


def test_a_judge_from_a_file_and_from_a_module(file, monkeypatch):
    monkeypatch.syspath_prepend(file.parent)
    for source in (f"{file}:Plain", "mine:Plain"):
        reader = open_reader(source)
        assert reader.name == "plain" and reader.about == {"trained_on": "nothing"}
        reading = reader.read(FACES)
        assert reading.embedding.shape == (4, 3) and reading.embedding.dtype == np.float32
        assert reading.female.tolist() == [0.25] * 4 and reading.age is None and reading.found.all()
    assert (FACES == 7).all()  # what a face reader does to its faces stays with it


def test_answers_of_torch_and_of_no_faces_are_taken(plain):
    reader = plain(embedding=torch.ones(4, 2), age=torch.arange(4), found=torch.tensor([1, 0, 1, 1]))
    reading = reader.read(FACES)
    assert reading.age.tolist() == [0, 1, 2, 3] and reading.found.tolist() == [True, False, True, True]
    assert plain().read(FACES[:0]).embedding.shape == (0, 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"embedding": np.ones((3, 2))}, r"embedding of shape \(3, 2\); \(4, D\) is needed"),
        ({"embedding": np.ones(4)}, r"embedding of shape \(4,\)"),
        ({"embedding": np.ones((4, 0))}, r"embedding of shape \(4, 0\)"),
        ({"embedding": None}, "embedding that are no numbers"),
        ({"embedding": [[1], [2, 3], [4], [5]]}, "embedding that are no numbers"),
        ({"embedding": np.array([[1.0], [np.nan], [2], [np.inf]])}, "not finite in 2 of 4 faces"),
        ({"female": np.ones((4, 1))}, r"female of shape \(4, 1\); \(4,\) is needed"),
        ({"female": np.full(4, 1.5)}, "female outside 0 to 1"),
        ({"age": np.full(4, np.nan)}, "age that are not finite in 4 of 4 faces"),
        ({"age": ["old"] * 4}, "age that are no numbers"),
        ({"found": np.ones(5, dtype=bool)}, r"found of shape \(5,\)"),
        ({"found": None}, "found that are no numbers"),
    ],
)
def test_wrong_answers_are_one_sentence_that_names_the_judge(plain, change, said):
    with pytest.raises(MetricError, match=rf"mine\.py:Plain: what read returned has .*{said}") as error:
        plain(**change).read(FACES)
    assert "\n" not in str(error.value)


def test_a_judge_that_fails_or_is_none_is_named(file, tmp_path):
    (tmp_path / "worse.py").write_text("import nowhere_to_be_found", encoding="utf-8")
    for source, said in (
        (f"{file}:bare", "has no name and no about and no read"),
        (f"{file}:broken", "broken.. failed .RuntimeError: no weights"),
        (f"{file}:missing", "has no callable 'missing'"),
        (f"{tmp_path}/gone.py:Plain", "there is no file"),
        (f"{tmp_path}/worse.py:Plain", "cannot be imported .ModuleNotFoundError"),
        ("no_such_package.judges:Mine", "cannot be imported"),
        ("nonsense", "There is no face reader 'nonsense'"),
        ("non sense:", "There is no face reader"),
    ):
        with pytest.raises(MetricError, match=said):
            open_reader(source)
    reader = open_reader(f"{file}:Plain")
    reader._reader.read = lambda faces: 1 / 0
    with pytest.raises(MetricError, match=r"mine\.py:Plain: read failed .ZeroDivisionError"):
        reader.read(FACES)
    reader._reader.read = lambda faces: None
    with pytest.raises(MetricError, match="has no embedding"):
        reader.read(FACES)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": ""}, "name must be a text"),
        ({"about": None}, "about must be a dict"),
        ({"about": {"x": float("nan")}}, "about must be a dict"),
        ({"about": {"x": np.ones(2)}}, "about must be a dict"),
        ({"read": 3}, "read must be a method"),
    ],
)
def test_what_a_judge_says_of_itself_is_checked(plain, change, said):
    reader = plain()._reader
    for name, value in change.items():
        setattr(reader, name, value)
    with pytest.raises(MetricError, match=said):
        CheckedReader(reader, "x:y")


def test_the_folder_of_a_judge(judge_folder, tmp_path):
    assert open_reader(str(judge_folder)).name.startswith("judge-random-")
    with pytest.raises(CheckpointError, match="train-face-classifier"):
        open_reader(str(tmp_path))


def test_the_face_classifier_resizes_a_piece_of_the_faces_at_a_time(monkeypatch):
    """Tens of thousands of faces of 128 pixels would be ten gigabytes of numbers."""
    reader, sizes, resized = open_reader("trunk"), [], classifier.at_side
    faces = torch.randint(
        0, 256, (10, 128, 128, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    whole = reader.read(faces)
    monkeypatch.setattr(classifier, "_PIECE", 4)
    monkeypatch.setattr(classifier, "at_side", lambda some: sizes.append(len(some)) or resized(some))
    pieces = reader.read(faces)
    assert sizes == [4, 4, 2] and len(pieces) == 10
    np.testing.assert_allclose(pieces.embedding, whole.embedding, atol=1e-4)
    np.testing.assert_allclose(pieces.age, whole.age, atol=1e-3)
    assert len(reader.read(faces[:0])) == 0


def test_what_is_said_of_a_judge():
    class Told:
        name = "j"

        def __init__(self, **about):
            self.about = about

    assert describe(Told()) == (
        "Reader j, trained on faces that it does not name; how well it reads new faces is not stated."
    )
    assert describe(Told(trained_on="drawings", held_out={"age_r": 0.5, "faces": 3})) == (
        "Reader j, trained on drawings; on faces of people it never saw: age r 0.5, faces 3."
    )
    nested = {
        "faces/utkface": {"gender_accuracy": 0.9, "age_r": 0.8},
        "synthetic": {"age_r": 0.7},
        "LFW": "99 %",
    }
    assert describe(Told(trained_on="both", held_out=nested)).endswith(
        "never saw: faces/utkface (gender accuracy 0.9, age r 0.8); synthetic (age r 0.7); LFW (99 %)."
    )
    assert describe(Told(held_out="only words")).endswith("never saw: only words.")


# dlib's encoder


@needs_dlib
def test_dlib_tells_rendered_people_apart(store):
    """Two views of 8 people: a view is nearest to the other view of its own person for most of them."""
    reader = open_reader("dlib")
    assert reader.name.startswith("dlib-resnet-") and len(reader.name) == len("dlib-resnet-") + 8
    assert "99.38" in describe(reader) and "dlib" in describe(reader)
    people = np.unique(store.identity)[:8]
    first, second = (
        [np.flatnonzero((store.identity == p) & (store.face_index >= 0))[k] for p in people] for k in (0, 1)
    )
    faces = torch.from_numpy(np.asarray(store.faces[store.face_index[first + second]]))
    reading = reader.read(faces)
    assert reading.embedding.shape == (16, 128) and reading.embedding.dtype == np.float32
    assert reading.female is None and reading.age is None and reading.found.mean() > 0.9
    a, b = reading.embedding[:8], reading.embedding[8:]
    nearest = np.linalg.norm(a[:, None] - b[None], axis=2).argmin(axis=1)
    assert (nearest == np.arange(8)).mean() > 0.6


@needs_dlib
def test_its_numbers_are_dlibs_own(store):
    """On faces that HOG finds and on an image where it finds none."""
    dlib, models = hog.libraries()
    faces = torch.from_numpy(np.asarray(store.faces[[0, 9]]))
    faces = torch.cat([faces, torch.full((1, 64, 64, 3), 128, dtype=torch.uint8)])
    boxes, found = hog.find(faces)
    chips = [dlib.get_face_chip(image, shape, size=150) for image, shape in hog.shapes(faces, boxes, 5)]
    net = dlib.face_recognition_model_v1(models.face_recognition_model_location())
    reading = open_reader("dlib").read(faces)
    assert np.abs(reading.embedding - np.array(net.compute_face_descriptor(chips))).max() < 1e-4
    assert np.array_equal(reading.found, found)


@needs_dlib
@pytest.mark.slow
def test_dlib_reads_larger_images_alike_and_grey_ones_as_not_found(store):
    """The same faces at 128 pixels give nearly the same numbers; a grey image has no face but is read."""
    from voice2face_gan.faces.pixels import to_uint8, to_unit

    small = torch.from_numpy(np.asarray(store.faces[:3]))
    large = to_uint8(torch.nn.functional.interpolate(to_unit(small), (128, 128), mode="bicubic"))
    reader = open_reader("dlib")
    a, b = reader.read(small), reader.read(large)
    assert a.found.all() and b.found.all()
    assert np.linalg.norm(a.embedding - b.embedding, axis=1).max() < 0.25  # 0.6 parts people, as dlib says
    grey = reader.read(torch.full((2, 64, 64, 3), 128, dtype=torch.uint8))
    assert not grey.found.any() and np.isfinite(grey.embedding).all()
    assert reader.read(small[:0]).embedding.shape == (0, 128)


@needs_dlib
def test_the_box_of_the_template_is_where_hog_finds_faces(store):
    """Where a face is found, the template's box overlaps the found one well."""
    faces = torch.from_numpy(np.asarray(store.faces[:16]))
    boxes, found = hog.find(faces)
    template = np.array(hog.TEMPLATE_BOX)
    low, high = np.maximum(boxes[:, :2], template[:2]), np.minimum(boxes[:, 2:], template[2:])
    shared = (high - low).clip(0).prod(axis=1)
    union = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + np.prod(template[2:] - template[:2]) - shared
    assert found.mean() > 0.9 and np.median(shared / union) > 0.6
    boxes[:] = 0  # what is remembered is not the caller's
    assert (hog.find(faces)[0] != 0).any()


def test_without_dlib_its_judge_is_a_sentence(monkeypatch):
    plain_import = builtins.__import__

    def no_dlib(name, *rest, **more):
        if name == "dlib":
            raise ImportError(name)
        return plain_import(name, *rest, **more)

    hog.libraries.cache_clear()
    monkeypatch.setattr(builtins, "__import__", no_dlib)
    with pytest.raises(MetricError, match=r"pip install 'voice2face-gan\[faces\]'"):
        open_reader("dlib")
