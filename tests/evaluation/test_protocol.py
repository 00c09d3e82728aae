"""What is judged: every held-out clip's face beside the faces of its speaker."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from voice2face_gan.errors import CheckpointError, DataError
from voice2face_gan.evaluation import readers
from voice2face_gan.evaluation.protocol import generate_eval_set
from voice2face_gan.faces.reframe import reframed
from voice2face_gan.pipeline import VoiceToFace


@pytest.fixture(autouse=True)
def judged_by(judge_folder, monkeypatch):
    monkeypatch.setattr(readers, "resource", lambda kind, name: judge_folder)


def test_the_people_are_those_of_the_split(model, store):
    eval_set = generate_eval_set(model, store)
    test = store.of_split("test")
    assert sorted(set(eval_set.generated_identity.tolist())) == sorted(set(test.identity.tolist()))
    assert eval_set.generated.shape == (16, 64, 64, 3) and eval_set.generated.dtype == torch.uint8
    assert np.array_equal(eval_set.generated_identity, test.identity[test.has_voice])
    assert np.array_equal(eval_set.generated_gender, test.gender[test.has_voice])
    assert np.array_equal(eval_set.real.numpy(), store.faces[test.face_index[test.has_face]])
    assert eval_set.reader.name.startswith("judge-random-")
    assert (
        eval_set.about["split"] == "test"
        and eval_set.about["clips"] == 16
        and not eval_set.about["trained_on"]
    )
    assert eval_set.about["data"] == "synthetic" and eval_set.about["checkpoint"] == "painter"


def test_each_clips_face_is_what_generate_gives(model, store):
    """The store's log-mel through the pipeline's own steps."""
    eval_set = generate_eval_set(model, store)
    test = store.of_split("test").select(lambda s: s.has_voice)
    for i in (0, 7, 15):
        mel = np.asarray(test.voices[test.voice_offset[i] :][: test.voice_frames[i]], dtype=np.float32).T
        whole = np.tile(mel, (1, -(-1000 // mel.shape[1])))[:, :1000]
        face = model.decode(model.generator_input(torch.from_numpy(whole))[None])[0]
        assert (face.int() - eval_set.generated[i].int()).abs().max() <= 1


def test_faces_are_framed_as_the_template_however_near_they_are(model, store):
    """A model that paints nearer is laid on the template, and so are real faces of a store that took them
    nearer."""
    near, kept = copy.copy(model), copy.copy(store)
    config = replace(model.checkpoint.generator_config, face_scale=1.4)
    near.checkpoint = replace(model.checkpoint, generator_config=config)
    kept.about = {**store.about, "zoom": 1.4}
    plain, eval_set = generate_eval_set(model, store), generate_eval_set(near, kept)
    for made, again in ((plain.generated, eval_set.generated), (plain.real, eval_set.real)):
        assert torch.equal(again, reframed(made, 1.4)) and not torch.equal(again, made)
    assert torch.equal(generate_eval_set(near, store).real, plain.real)


def test_own_faces(model, store):
    eval_set = generate_eval_set(model, store, "val")
    heard = []
    for clips, mine in eval_set.speakers():
        (name,) = set(eval_set.generated_identity[clips].tolist())
        assert len(mine) == 6 and set(eval_set.real_identity[mine].tolist()) == {name}
        heard += clips.tolist()
    assert sorted(heard) == list(range(len(eval_set.generated)))


def test_who_may_have_been_trained_on_is_said(model, store, new_run):
    assert generate_eval_set(model, store, "train").about["trained_on"]
    assert generate_eval_set(model, store, "all").about["trained_on"]
    assert not generate_eval_set(model, store, "val").about["trained_on"]
    poster = copy.copy(model)
    poster.checkpoint = copy.copy(model.checkpoint)
    poster.checkpoint.info = {"recipe": {"data": {"split": "all"}}}
    assert generate_eval_set(poster, store, "test").about["trained_on"]


def test_people_without_a_voice_or_a_face_are_left_out(model, store):
    test = store.of_split("test")
    names = np.unique(test.identity)
    part = store.select(~((store.identity == names[0]) & store.has_voice))
    eval_set = generate_eval_set(model, part)
    assert names[0] not in set(eval_set.generated_identity.tolist()) | set(eval_set.real_identity.tolist())
    assert eval_set.about["identities"] == 3
    with pytest.raises(DataError, match="both a voice and a face"):
        generate_eval_set(model, store.select(~store.has_voice))


def test_gender_and_split_filter(model, store):
    eval_set = generate_eval_set(model, store, "train", "male")
    assert set(eval_set.generated_gender.tolist()) == {"male"} and eval_set.about["gender"] == "male"
    with pytest.raises(DataError, match="split 'test' is empty"):
        generate_eval_set(model, store.of_split("train"))


def test_other_log_mel_settings_are_refused(model, store):
    import copy

    other = copy.copy(store)
    other.about = {**store.about, "features": {**store.about["features"], "f_max": 4000.0}}
    with pytest.raises(DataError, match="other log-mel settings"):
        generate_eval_set(model, other)


def test_a_missing_judge_is_a_sentence(model, store, tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "resource", lambda kind, name: tmp_path / "none")
    with pytest.raises(CheckpointError, match="train-face-classifier"):
        generate_eval_set(model, store)


def test_the_same_case_again(model_folder, store):
    a, b = (generate_eval_set(VoiceToFace.from_pretrained(model_folder), store) for _ in range(2))
    assert torch.equal(a.generated, b.generated)
