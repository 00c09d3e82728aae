"""Random numbers: each stream has one purpose."""

import re
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import torch

from voice2face_gan.data.batches import sampling
from voice2face_gan.data.batches.sampling import STREAMS, EpochSampler, random_source
from voice2face_gan.training import face_classifier

RUNS = {
    "wen2019": ("gan.l1=1",),
    "speaker-encoder": (),
    "r3gan": (),
    "r3gan-face-embedding": ("face_embedding.fully_visible=0.5", "face_embedding.identity_loss_from=0"),
    "wen2019-face-embedding": ("face_embedding.fully_visible=0.5",),
    "default-encoder": (),
}
_PASSED_ON = ("gaussian", "rank_random_source")  # functions that draw for whoever calls them


@pytest.fixture
def asked(monkeypatch):
    """What is asked for from now on: (stream, step) -> the places that ask. An order of items is its
    sampler's."""
    found = defaultdict(set)

    def recording(seed, stream, step):
        frame = sys._getframe(1)
        while frame.f_code.co_name in _PASSED_ON:
            frame = frame.f_back
        owner = frame.f_locals.get("self")
        if isinstance(owner, EpochSampler):
            place = f"sampler {id(owner)}"
            samplers.append(owner)  # so that its number is not given again
        else:
            place = f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"
        found[stream, step].add(place)
        return random_source(seed, stream, step)

    samplers = []
    for name, module in list(sys.modules.items()):
        if name.startswith("voice2face_gan") and getattr(module, "random_source", None) is random_source:
            monkeypatch.setattr(module, "random_source", recording)
    assert sampling.random_source is recording
    return found


def clashes(asked) -> dict:
    by_name = defaultdict(set)
    for (stream, _), places in asked.items():
        by_name[stream] |= places
    return {stream: places for stream, places in by_name.items() if len(places) > 1}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n == "default-encoder" else n for n in RUNS]
)
def test_no_two_purposes_share_a_stream(two_iterations, asked, name, tmp_path):
    """In a run, all of its stages together: not even at different steps."""
    two_iterations(name, RUNS[name], tmp_path)
    assert asked and not clashes(asked)


def test_nor_do_they_in_a_judge(store, asked):
    face_classifier.train_face_classifier([store], 2, 0, torch.device("cpu"))
    assert {stream for stream, _ in asked} == {
        "classifier faces",
        "classifier flips",
        "classifier augmentation",
    }
    assert not clashes(asked)


def test_a_clash_is_found(asked):
    """Of this test's own making, for the ones above to be believed."""
    sampling.gaussian((2,), 0, "noise", 3)
    assert not clashes(asked)
    sampling.gaussian((2,), 0, "noise", 3)
    assert set(clashes(asked)) == {"noise"}
    orders = EpochSampler(5, 0, "voices"), EpochSampler(5, 0, "voices")
    for one in orders:
        one.draw(0, 2)
    assert set(clashes(asked)) == {"noise", "voices"}


def test_the_register_holds_the_streams_that_are_used():
    assert len(set(STREAMS.values())) == len(STREAMS)
    package, used = Path(sampling.__file__).parents[2], []
    call = r"\b(?:random_source|gaussian|EpochSampler|rank_random_source)\([^\"=]*?\"([a-z ]+)\""
    for part in ("data", "training"):
        for path in (package / part).rglob("*.py"):
            used += re.findall(call, path.read_text())
    assert set(used) == set(STREAMS)
    with pytest.raises(KeyError):
        random_source(0, "weather", 0)
