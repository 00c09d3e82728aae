"""Figures against the length of speech, on voices that tell the gender only after their first second."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from voice2face_gan.audio.log_mel import FeatureSettings
from voice2face_gan.data.records import Record
from voice2face_gan.data.store import Store
from voice2face_gan.data.store_writer import StoreWriter
from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation import compute
from voice2face_gan.evaluation.registry import Options


class Waits:
    """A model that draws a woman as soon as it has heard anything above 0."""

    encoder = SimpleNamespace(takes="log_mel")

    def generator_input(self, log_mel, strength=None):
        return log_mel.max()[None]

    zoom = 1.0

    def decode(self, e, z=None, noise_scale=1.0):
        faces = torch.full((len(e), 64, 64, 3), 100, dtype=torch.uint8)
        faces[:, 0, 0, 0] = torch.where(e[:, 0] > 0, 255, 0).to(torch.uint8)
        return faces


@pytest.fixture
def late(tmp_path, build_eval_set):
    """Function (frames of each clip) -> an evaluation set of voices that are -1 for 100 frames, then 1."""

    def make(*frames: int, model=Waits):
        with StoreWriter(tmp_path / "store", FeatureSettings().to_dict()) as writer:
            for i, length in enumerate(frames):
                mel = np.where(np.arange(length) < 100, -1.0, 1.0) * np.ones((64, 1))
                writer.add(Record(source=f"{i}", identity=f"p{i}"), mel)
            writer.finish()
        voices = Store(tmp_path / "store")
        real = torch.full((len(frames), 64, 64, 3), 255, dtype=torch.uint8)
        names, gender = voices.identity.tolist(), ["female"] * len(frames)
        whole = Waits().decode(torch.ones(len(frames), 1))
        model = None if model is None else model()
        return build_eval_set(whole, real, names, gender=gender, model=model, voices=voices)

    return make


def test_a_model_that_waits(late):
    options = Options(seconds=(2.0, 1.0, 2.9), inner=("gender",))
    figures = compute("duration", late(300, 300, 300), options)
    # 1 s is 98 frames of 25 ms, 10 ms apart: the voice has not begun to tell.
    assert {name: f.value for name, f in figures.items()} == {
        "gender generated @1s": 0,
        "gender generated @2s": 100,
        "gender generated @2.9s": 100,
        "gender generated @all": 100,
    }
    figure = figures["gender generated @1s"]
    assert "first 1 s of each clip, the same 3 clips" in figure.protocol and figure.n == 3
    assert figure.chance == 50 and figure.unit == "%" and options.notes == []


def test_lengths_beyond_the_clips_are_left_out_and_said(late):
    options = Options(seconds=(1.0, 2.0, 4.0, 8.0), inner=("gender",))
    figures = compute("duration", late(300, 300, 300, 50), options)
    assert set(figures) == {f"gender generated @{at}" for at in ("1s", "2s", "all")}
    # The clip of half a second is judged at no length, so that all are of the same clips.
    assert {f.n for f in figures.values()} == {3}
    assert sorted(options.notes) == [
        "duration: 4 s is left out, for 0 of 4 clips hold so much speech.",
        "duration: 8 s is left out, for 0 of 4 clips hold so much speech.",
    ]
    with pytest.raises(MetricError, match="fewer than half of the clips hold 4 s"):
        compute("duration", late(300), Options(seconds=(4.0, 8.0)))


def test_the_case_itself_stays_as_it_is(late):
    given = late(300, 300)
    before = given.generated.clone(), given.reading("generated")
    compute("duration", given, Options(seconds=(1.0,), inner=("gender",)))
    assert torch.equal(given.generated, before[0]) and given.reading("generated") is before[1]


def test_an_inner_metric_that_cannot_be_computed_is_said(late):
    options = Options(seconds=(1.0,), inner=("gender", "matching"))
    assert set(compute("duration", late(300), options)) == {"gender generated @1s", "gender generated @all"}
    (note,) = options.notes
    assert note.startswith("duration of matching is left out: ") and "two identities" in note
    with pytest.raises(MetricError, match="two identities"):
        compute("duration", late(300), Options(seconds=(1.0,), inner=("matching",)))


def test_without_a_model_nothing_can_be_heard(late):
    with pytest.raises(MetricError, match="needs the model"):
        compute("duration", late(300, model=None), Options())


def test_of_our_model(model, store, judge_folder):
    """The first seconds through the pipeline: what cutting the store's voices by hand gives."""
    from voice2face_gan.evaluation.protocol import generate_eval_set
    from voice2face_gan.evaluation.readers import open_reader

    given = generate_eval_set(model, store, reader=open_reader(str(judge_folder)))
    figures = compute("duration", given, Options(seconds=(1.0, 4.0), inner=("gender",)))
    voice = given.voices
    cut = [np.asarray(voice.voices[at : at + 98], dtype=np.float32).T for at in voice.voice_offset]
    mels = [torch.from_numpy(np.tile(mel, (1, 11))[:, :1000].copy()) for mel in cut]
    faces = model.decode(torch.stack([model.generator_input(mel) for mel in mels]))
    right = (given.reader.read(faces).female > 0.5) == (given.generated_gender == "female")
    assert figures["gender generated @1s"].value == pytest.approx(100 * right.mean())
    assert figures["gender generated @4s"].value == figures["gender generated @all"].value
