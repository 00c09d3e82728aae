"""The weights that ship: small, licensed, described, quick to load, and what they paint."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from voice2face_gan import VoiceToFace
from voice2face_gan.faces.reframe import reframed
from voice2face_gan.models.checkpoint import SHIPPED, load_checkpoint
from voice2face_gan.models.face_embedding_space import SIZE
from voice2face_gan.models.probes import PROBES
from voice2face_gan.resources import resource

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def default():
    return VoiceToFace.from_pretrained("default")


def test_they_are_small_enough_to_ship():
    weights = list(resource("assets", "default").parent.rglob("*.safetensors"))
    sizes = [path.stat().st_size for path in weights]
    assert len(weights) == len(SHIPPED) + 1 and max(sizes) <= 16 * MEBIBYTE and sum(sizes) <= 60 * MEBIBYTE


def test_they_load_at_once():
    load_checkpoint("default")  # what is imported for it
    started = time.perf_counter()
    load_checkpoint("default")
    assert time.perf_counter() - started < 0.5


def test_loading_imports_no_compiler(python):
    """PyTorch's compiler and SymPy, which a normal distribution on the device meta imports, take seconds."""
    code = (
        "import sys; from voice2face_gan.models.checkpoint import SHIPPED, load_checkpoint; "
        "[load_checkpoint(name) for name in SHIPPED]; print({'torch._dynamo', 'sympy'} & {*sys.modules})"
    )
    done = python("-c", code)
    assert done.code == 0 and done.stdout.strip() == "set()", done


def test_they_say_what_they_are(default):
    info, controls = default.checkpoint.info, default.checkpoint.controls
    assert (
        "non-commercial" in info["licence"]
        and "non-commercial" in resource("assets", "LICENSE-WEIGHTS").read_text()
    )
    assert len(controls.residual_std) == len(controls.soft_clip) == SIZE
    assert controls.strength == default.strength > 1
    assert set(default.checkpoint.probes) == set(PROBES) and default.checkpoint.gender_probe is not None
    assert info["strength_chosen_on"]["people"] == "validation"
    for name in ("default", "r3gan"):
        measured = json.loads(resource("assets", f"{name}/measured.json").read_text())
        card = resource("assets", f"{name}/MODEL_CARD.md").read_text()
        assert f"{measured['both dlib matching U']:.1f} (" in card and "{" not in card


def test_each_voice_gets_a_face_of_its_own_and_128_pixels_are_the_networks(default, clips):
    config = default.checkpoint.generator_config
    assert config.type == "appearance_model" and default.zoom == 1.0
    assert (config.side, config.image_side) == (128, 64)
    faces = default.generate(clips[0], variants=3)
    assert [face.size for face in faces] == [(64, 64)] * 3
    assert np.abs(np.asarray(faces[0], float) - np.asarray(faces[1], float)).mean() > 1
    large = default.generate(clips[0], size=128)[0]
    assert large.size == (128, 128)
    assert np.abs(np.asarray(large.resize((64, 64), 1), float) - np.asarray(faces[0], float)).mean() < 3


def test_nobody_from_the_data_is_named():
    """Neither a speaker of ../shared nor a path of the machine that trained."""
    text = json.dumps(load_checkpoint("default").config())
    assert "yt_" not in text and "id1" not in text and "/work" not in text


def test_a_face_for_every_voice_and_gender(default, clips):
    faces = {g: np.asarray(default.generate(clips[0], gender=g)[0], dtype=int) for g in ("female", "male")}
    assert np.abs(faces["female"] - faces["male"]).mean() > 5
    average = [np.asarray(default.generate(clip, strength=0)[0]) for clip in clips[:2]]
    assert np.array_equal(*average) and average[0].std() > 15


@pytest.mark.skipif(not (SHARED / "paired").is_dir(), reason="needs ../shared/data")
def test_real_voices(default):
    """Sex as the label says, and a face that a detector finds. Most of these people were trained on: this
    says that it works from file to image, not how well."""
    import csv

    from voice2face_gan.evaluation.readers import hog, open_reader

    pytest.importorskip("dlib")
    folder = SHARED / "paired" / "voxceleb"
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    people = sorted({row["identity"] for row in rows})
    chosen = [next(row for row in rows if row["identity"] == name) for name in people[::5]]
    heard = [default.generate_detailed(folder / row["voice"]) for row in chosen]
    label = np.array([row["gender"] == "f" for row in chosen])
    assert np.mean((np.array([h.female for h in heard]) > 0.5) == label) >= 0.9
    assert min(h.speech for h in heard) > 0.2 and np.mean([h.speech > 0.5 for h in heard]) >= 0.9
    import torch

    faces = torch.from_numpy(np.stack([np.asarray(h.faces[0]) for h in heard]))
    assert hog.find(faces)[1].mean() >= 0.95
    seen = open_reader("trunk").read(reframed(faces, default.zoom)).female
    assert np.mean((np.asarray(seen) > 0.5) == label) >= 0.85


def test_speech2face_draws_whole_heads_of_128_pixels(default, clips):
    """On the default's voice encoder, at a strength that validation people chose."""
    model = VoiceToFace.from_pretrained("speech2face")
    info, config = model.checkpoint.info, model.checkpoint.generator_config
    assert config.type == "face_decoder" and config.side == 128 and model.zoom == 1.0
    assert "non-commercial" in info["licence"] and info["strength_chosen_on"]["people"] == "validation"
    ours, theirs = (m.encoder.state_dict() for m in (model, default))
    assert all((ours[name] == value).all() for name, value in theirs.items())
    faces = model.generate(clips[0], variants=3)
    assert [face.size for face in faces] == [(128, 128)] * 3
    assert np.abs(np.asarray(faces[0], float) - np.asarray(faces[1], float)).mean() > 1
    she, he = (np.asarray(model.generate(clips[0], gender=g)[0], float) for g in ("female", "male"))
    assert np.abs(she - he).mean() > 5
    text = json.dumps(model.checkpoint.config())
    assert "yt_" not in text and "id1" not in text and "/work" not in text
    assert "{" not in resource("assets", "speech2face/MODEL_CARD.md").read_text()


def test_wen2019_small_is_networks_of_2019_on_real_faces(clips):
    """Small, on the first edition's voice encoder, with its zoom; another voice, another face."""
    model, first = VoiceToFace.from_pretrained("wen2019-small"), load_checkpoint("r3gan")
    info, config = model.checkpoint.info, model.checkpoint.generator_config
    assert config.type == "wen2019" and config.side == 64 and model.zoom == 1.4
    assert resource("assets", "wen2019-small/model.safetensors").stat().st_size <= 8 * MEBIBYTE
    assert "non-commercial" in info["licence"] and info["strength_chosen_on"]["people"] == "validation"
    ours, theirs = model.encoder.state_dict(), first.encoder.state_dict()
    assert all((ours[name] == value).all() for name, value in theirs.items())
    she, he = (np.asarray(model.generate(clips[0], gender=g)[0], float) for g in ("female", "male"))
    assert np.abs(she - he).mean() > 5
    text = json.dumps(model.checkpoint.config())
    assert "yt_" not in text and "id1" not in text and "/work" not in text
    assert "{" not in resource("assets", "wen2019-small/MODEL_CARD.md").read_text()


def test_its_convolutions_lie_as_they_run():
    """Else each call copies all of them first."""
    generator = load_checkpoint("default").generator
    for part in (generator.diffusion.first, generator.refiner.smooth):
        assert part.weight.is_contiguous(memory_format=torch.channels_last)
        assert not part.weight.is_contiguous()


def test_training_from_it_goes_on_with_the_recipe_that_taught_its_diffusion():
    """A distilled diffusion has no teacher; it learns at all levels of noise again, and is drawn so."""
    from voice2face_gan.cli.commands.train import _recipe_of
    from voice2face_gan.models.checkpoint import load_checkpoint
    from voice2face_gan.models.generators.detail import SMALLEST

    own = load_checkpoint("default", need_generator=False).generator_config
    assert own.detail_steps == 1 and own.distilled
    recipe = _recipe_of("default", ("gan.batch=4",))
    assert recipe.name == "face-detail" and recipe.appearance_model.part == "detail" and recipe.gan.batch == 4
    made = recipe.model.generator
    assert made.detail_steps > 2 and made.detail_smallest == SMALLEST
    assert made.detail_channels == own.detail_channels and made.detail_noise == own.detail_noise
    assert recipe.face_embedding.space == "checkpoint"
