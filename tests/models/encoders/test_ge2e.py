"""The teacher: from a file made here, its numbers written out plainly, loud and soft, short and long."""

import importlib.util
import os

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from voice2face_gan.errors import CheckpointError
from voice2face_gan.models.encoders.ge2e import DIMENSIONS, GE2EEncoder
from voice2face_gan.synthetic.speakers import sample_speakers
from voice2face_gan.synthetic.voice import synthesise

FULL = 160 * 160  # samples of a piece


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    pass


@pytest.fixture(scope="module")
def teacher(teacher_file):
    return GE2EEncoder(teacher_file)


@pytest.fixture(scope="module")
def speech(voices):
    """3 s, about -20 dB."""
    wave = torch.from_numpy(np.asarray(voices[0], dtype=np.float32))
    return wave / wave.square().mean().sqrt() * 0.1


def plainly(teacher, frames: torch.Tensor, *starts: int) -> torch.Tensor:
    """The embedding from frames (F, 40) of power, pieces one by one."""
    heard = []
    for start in starts:
        _, (last, _) = teacher.lstm(frames[None, start : start + 160])
        heard.append(F.normalize(teacher.linear(last[-1, 0]).relu(), dim=0))
    return F.normalize(sum(heard), dim=0)


def test_it_is_of_length_one_and_not_negative(teacher, speech):
    t = teacher(speech)
    assert t.shape == (DIMENSIONS,) and (t >= 0).all() and 0 < int((t > 0).sum()) < DIMENSIONS
    assert float(t.norm()) == pytest.approx(1, abs=1e-5)
    assert not any(p.requires_grad for p in teacher.parameters()) and not teacher.training


@pytest.mark.parametrize(
    ("frames", "starts"),
    [
        (161, [0]),
        (160 + 57, [0]),  # 20 frames more would be a piece
        (160 + 58, [0, 58]),  # the second piece is laid so that it ends with the speech
        (160 + 77, [0, 77]),
        (160 + 100, [0, 77]),
    ],
)
def test_its_pieces_overlap_by_half(teacher, speech, frames, starts):
    """Frames are centred on every 160th sample, from the first on."""
    speech = speech[: 160 * (frames - 1)]
    power = teacher.mel(speech).t()
    assert power.shape == (frames, 40)
    torch.testing.assert_close(teacher(speech), plainly(teacher, power, *starts), atol=1e-5, rtol=1e-4)


def test_short_speech_is_followed_by_silence(teacher, speech):
    short = speech[:8000]
    silence = torch.zeros(FULL - 8000)
    power = teacher.mel(torch.cat([short, silence])).t()
    torch.testing.assert_close(teacher(short), plainly(teacher, power, 0), atol=1e-5, rtol=1e-4)


def test_soft_speech_is_raised_and_loud_speech_stays_loud(teacher, speech):
    """-30 dB is a root mean square of 0.0316: what is softer is heard as if it were so loud."""
    clip = speech[:FULL] / speech[:FULL].square().mean().sqrt()  # 0 dB
    level = 10 ** (-30 / 20)
    at_level = teacher(clip * level)
    for softer in (0.5, 0.01):
        torch.testing.assert_close(teacher(clip * level * softer), at_level, atol=1e-4, rtol=1e-3)
    louder = teacher(clip * level * 3)
    power = teacher.mel(clip * level * 3).t()
    torch.testing.assert_close(louder, plainly(teacher, power, 0), atol=1e-5, rtol=1e-4)
    assert (louder - at_level).norm() > 1e-3
    assert torch.isfinite(teacher(torch.zeros(FULL))).all()


class Malice:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_other_files_are_refused_and_never_executed(teacher_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good = torch.load(teacher_file, weights_only=True)["model_state"]
    lacking = {k: v for k, v in good.items() if k != "linear.bias"}
    contents = {
        "other.pt": {"weights": good},
        "lacking.pt": {"model_state": lacking},
        "shape.pt": {"model_state": {**good, "linear.bias": torch.zeros(3)}},
        "list.pt": [good],
        "malice.pt": Malice(),
    }
    for name, content in contents.items():
        torch.save(content, tmp_path / name)
    (tmp_path / "text.pt").write_text("no weights")
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "half.pt").write_bytes(teacher_file.read_bytes()[:5000])
    for name in (*contents, "text.pt", "empty.pt", "half.pt", "missing.pt"):
        with pytest.raises(CheckpointError, match=f"{name}: not the weights of Resemblyzer's") as error:
            GE2EEncoder(tmp_path / name)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "executed").exists()


def test_without_the_package_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match="pip install --no-deps resemblyzer"):
        GE2EEncoder()


@pytest.mark.skipif(importlib.util.find_spec("resemblyzer") is None, reason="resemblyzer is not installed")
def test_the_packages_weights_tell_speakers_apart(voices):
    """Another clip of the same built-in speaker is nearer than one of another speaker is on average."""
    teacher = GE2EEncoder()
    again = synthesise(sample_speakers(6, seed=9), 3.0, seed=9, clip=1)
    first, second = (torch.stack([teacher(torch.from_numpy(x)) for x in clips]) for clips in (voices, again))
    near = first @ second.t()
    assert (near.diagonal() > near.mean(dim=1)).all()
    assert near.diagonal().mean() > 0.75
