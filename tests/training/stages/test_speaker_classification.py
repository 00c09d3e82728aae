"""The voice encoder's stage: it learns, its rate falls, its state goes round."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from voice2face_gan.training.recipe.recipe import load_recipe
from voice2face_gan.training.stages.speaker_classification import SpeakerClassificationStage


@pytest.fixture
def make_stage(store, tiny_settings):
    def make(data=store, **overrides) -> SpeakerClassificationStage:
        recipe = load_recipe("wen2019", tiny_settings(**overrides))
        return SpeakerClassificationStage(data.of_split("train"), recipe, 0, torch.device("cpu"))

    return make


def test_it_learns_who_speaks(make_stage):
    stage = make_stage(encoder__iterations=60, encoder__lr=0.01, encoder__batch=32)
    assert stage.head[-1].out_features == 14
    losses = [{k: float(v) for k, v in stage.step(i).items()} for i in range(60)]
    assert 2.2 < losses[0]["cross_entropy"] < 3.2  # log 14 = 2.64
    last = [loss["cross_entropy"] for loss in losses[-10:]]
    assert sum(last) / 10 < 2.1
    assert all(0 <= loss["accuracy"] <= 1 for loss in losses)


def test_the_loss_is_the_cross_entropy_of_the_batch(make_stage):
    stage, other = make_stage(), make_stage()
    loss = stage.step(0)["cross_entropy"]
    from voice2face_gan.data.batches.sampling import random_source

    crops = random_source(0, "cuts", 0)
    frames = int(crops.integers(100, 201))
    mel, labels = other.bank.crops(other.sampler.draw(0, 16), frames, crops)
    other.encoder.train()
    assert torch.allclose(F.cross_entropy(other.head(other.encoder(mel)), labels), loss, atol=1e-5)


def test_the_rate_falls_along_half_a_cosine(make_stage):
    stage = make_stage(encoder__iterations=10, encoder__lr=1e-3)
    for iteration in range(10):
        stage.step(iteration)
        (group,) = stage.optimiser.param_groups
        assert group["lr"] == pytest.approx(1e-3 * 0.5 * (1 + math.cos(math.pi * iteration / 10)))


def test_state_goes_round(make_stage):
    stage = make_stage()
    stage.step(0)
    other = make_stage()
    other.load(copy.deepcopy(stage.state()))
    a, b = stage.step(1), other.step(1)
    assert torch.equal(a["cross_entropy"], b["cross_entropy"])


def test_its_checkpoint_finds_speech_as_its_store_did(make_stage, store):
    assert make_stage().checkpoint(1).vad == {}
    settings = {"vad": {"padding_ms": 50}, "voice": {"vad": True}}
    prepared = copy.copy(store)
    prepared.about = {**store.about, "source": {**store.about["source"], "settings": settings}}
    assert make_stage(data=prepared).checkpoint(1).vad == {"padding_ms": 50}


def test_its_checkpoint_is_an_encoder_alone(make_stage, tmp_path):
    from voice2face_gan.models.checkpoint import load_checkpoint

    stage = make_stage()
    stage.step(0)
    loaded = load_checkpoint(stage.checkpoint(1).save(tmp_path / "e"), need_generator=False)
    assert loaded.generator is None and loaded.info["stage"] == "encoder"
    assert loaded.info["data"]["voices"] == 56
    assert stage.image() is None
