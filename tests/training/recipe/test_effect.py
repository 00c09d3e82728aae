"""Every key of every shipped recipe changes what training does, and so does what an error advises to set."""

import hashlib
import json
import re

import pytest
import torch

from voice2face_gan.errors import TrainingError, VoiceToFaceError
from voice2face_gan.training.recipe.recipe import load_recipe, recipe_names
from voice2face_gan.training.run.tensorboard import installed
from voice2face_gan.training.stages.distillation import DistillationStage
from voice2face_gan.training.stages.r3gan import R3GANStage
from voice2face_gan.training.stages.speaker_classification import SpeakerClassificationStage
from voice2face_gan.training.stages.wen2019 import Wen2019Stage

# A key -> another value than that of the small recipes, or a function of that value.
OTHER = {
    "model.encoder.mel_bins": 40,
    "model.encoder.embedding": 32,
    "model.encoder.channels": [4, 4, 4, 8],
    "model.encoder.width": 0.03125,
    "model.encoder.ast": {"num_hidden_layers": 2},
    "model.encoder.norms": "esc-50",
    "model.encoder.type": lambda now: {"lstm": "conv"}.get(now, "lstm" if now != "statistics" else "conv"),
    "model.generator.type": lambda now: {"wen2019": "r3gan", "r3gan": "wen2019"}[now],
    "model.generator.channels": [8, 8, 8, 8, 4],
    "model.generator.trunk_channels": [4, 4, 4, 4, 8],
    "model.generator.kernel": lambda now: 7 - now,
    "model.generator.norm": lambda now: {"none": "batch", "batch": "none"}[now],
    "model.generator.output": lambda now: {"linear": "tanh", "tanh": "linear"}[now],
    "model.controls.embedding_noise_std": 0.5,
    "model.generator.z_dim": 6,
    "model.generator.width": 4,
    "model.generator.side": 128,
    "model.generator.replicate_border": 2,
    "model.generator.linear_side": lambda now: 8 if now != 8 else 16,
    "data.gender": lambda now: "male" if now != "male" else "female",
    "data.split": lambda now: "all" if now == "train" else "train",
    "data.crop_frames": [50, 60],
    "encoder.iterations": 3,
    "encoder.batch": 6,
    "encoder.lr": lambda now: 3 * now,
    "encoder.betas": [0.4, 0.5],
    "encoder.weight_decay": 0.5,
    "encoder.crop_frames": [50, 60],
    "encoder.augment": lambda now: 0.9 if now else 0.8,
    "encoder.augment_snr": [-20.0, -19.0],
    "encoder.augment_speed": 0.3,
    "encoder.speeds": [0.6, 1.0],
    "gan.iterations": 3,
    "gan.batch": 6,
    "gan.lr": lambda now: 3 * now,
    "gan.betas": [0.3, 0.4],
    "gan.d_lr_factor": lambda now: 0.2 * now,
    "gan.d_identity": lambda now: now + 0.7,
    "gan.g_adversarial": lambda now: now + 0.7,
    "gan.g_identity": lambda now: now + 0.7,
    "gan.l1": lambda now: now + 3.0,
    "gan.lr_decay": 1.0,
    "gan.ema_decay": 0.05,
    "r3gan.loss": "softplus",
    "r3gan.gamma": lambda now: now + 5.0,
    "r3gan.gamma_end": lambda now: now + 5.0,
    "r3gan.penalty_share": 1.0,
    "r3gan.augment": 0.9,
    "r3gan.embedding_loss": lambda now: now + 2.0,
    "face_embedding.identity_loss": lambda now: now + 2.0,
    "face_embedding.identity_loss_from": 0.4,
    "face_embedding.perceptual_loss": lambda now: now + 2.0,
    "face_embedding.l1_left": 0.9,
    "face_embedding.simulated_l1": 0.9,
    "face_embedding.simulated_voices": 1.0,
    "face_embedding.strength_range": [5.0, 6.0],
    "face_embedding.fully_visible": 0.5,
    "speech2face.pairing": lambda now: "all-to-mean" if now else "all-to-all",
    "speech2face.layer_loss": 0.5,
    "speech2face.feature_loss": 5.0,
    "speech2face.classes_loss": 3.0,
    "speech2face.temperature": 4.0,
    "speech2face.lr_decay": 0.1,
    "speech2face.lr_decay_every": 2,
    "speech2face.pretrained": "./nowhere",
    "speech2face.head_iterations": 2,
    "speech2face.head_lr": 0.1,
    "run.precision": "bf16",
    "run.checkpoint_every": 2,
    "run.grid_every": 1,
    "run.log_every": 2,
    "run.keep": 1,
    "run.evaluate_every": 2,
    "run.best": lambda now: {"fid_trunk": "kid", "eer_noisy": "eer"}[now],
    "run.tensorboard": True,
}
# What a key needs besides, on both sides, to show in two iterations.
WITH = {
    "r3gan.same_identity": ("model.generator.projection=false",),
    "run.checkpoint_every": ("run.checkpoint_every=1",),
    "run.keep": ("run.checkpoint_every=1",),
    "run.log_every": ("run.log_every=1",),
    "run.grid_every": ("run.grid_every=2", "run.tensorboard=true"),
    "run.evaluate_every": ("run.evaluate_every=1",),
    "run.best": ("run.evaluate_every=1",),
}
# Keys whose effect is that other data or another machine is asked for; with the recipe, if of it alone.
REFUSED = ("model.encoder.mel_bins", "model.generator.side", "face_embedding.space", "encoder.space")
REFUSED += (
    "model.encoder.last_relu",  # e of these faces has negative numbers
    "speech2face.pretrained",
    "speaker-encoder speech2face.pairing",  # it goes with a face decoder
    "default-encoder data.gender",
    "default-encoder run.precision",
    "model.encoder.type",  # the small nets' other settings are of the first type
    "model.generator.type",
)  # some processors have no bfloat16 LSTM layers
# Of classes that these tests' face reader has not; tests/training/stages/test_speech2face.py has them.
OF_CLASSES = ("speech2face.classes_loss", "speech2face.temperature")
QUICK = {  # the others, whose effect is the same code's, are slow
    "wen2019": ("",),
    "r3gan": (
        "r3gan.",
        "model.generator.z_dim",
        "model.generator.width",
        "model.generator.side",
        "model.generator.full_res_block",
        "model.generator.replicate_border",
    )
    + ("model.generator.film", "model.generator.projection", "model.controls.embedding_noise_std"),
    "r3gan-face-embedding": (
        "face_embedding.space",
        "face_embedding.identity_loss",
        "face_embedding.simulated_voices",
        "face_embedding.strength_range",
        "face_embedding.fully_visible",
    ),
    "voice-to-face": (
        "face_embedding.space",
        "face_embedding.perceptual_loss",
        "face_embedding.l1_left",
        "face_embedding.simulated_l1",
        "gan.l1",
        "gan.g_adversarial",
        "model.encoder.type",
    ),
    "default-encoder": ("encoder.iterations", "encoder.lr", "encoder.betas"),
    "speaker-encoder": ("encoder.augment",),
    "speech2face": ("speech2face.pairing", "speech2face.layer_loss", "model.encoder.width"),
}


def keys_of(about: dict) -> dict[str, object]:
    """ "section.key" or "model.table.key" -> value."""
    parts = {section: part for section, part in about.items() if isinstance(part, dict)}
    parts |= {f"model.{table}": part for table, part in parts.pop("model", {}).items()}
    return {f"{section}.{key}": value for section, part in parts.items() for key, value in part.items()}


def figures(folder) -> dict:
    """A record in which each measure has another opinion of which checkpoint is best."""
    iteration = int(folder.name.rpartition("-")[2])
    names = {"fid": ("fid_trunk", "fid"), "kid": ("kid",), "equal_error_rate": ("clean", "noisy")}
    rises = {"fid_trunk": 1, "kid": -1, "clean": -1, "noisy": 1, "fid": 1}
    metrics = {m: {k: {"value": 50 + rises[k] * iteration} for k in keys} for m, keys in names.items()}
    return {"checkpoint": folder.name, "metrics": metrics}


def told(path) -> list:
    """A JSON file, or one of JSON lines, without what is of the moment and without the recipe itself."""
    drop = ("recipe", "per_second", "seconds_left", "voice2face_gan")
    text = path.read_text()
    parts = text.splitlines() if path.suffix == ".jsonl" else [text]
    return [{k: v for k, v in json.loads(part).items() if k not in drop} for part in parts]


def digest(folder) -> dict[str, object]:
    """What a run left: names of files, losses, weights, images."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name == "run.json" or not path.is_file():
            continue
        if name.startswith("tensorboard"):
            found["tensorboard"] = path.stat().st_size
        elif path.suffix in (".json", ".jsonl"):
            found[name] = told(path)
        elif path.suffix in (".safetensors", ".png"):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "there"
    return found


@pytest.fixture(scope="module")
def outcome(two_iterations, tmp_path_factory):
    """Function (recipe, overrides, many clips a person) -> what its two iterations left, or the sentence
    that refuses them; remembered."""
    known = {}

    def make(name: str, overrides: tuple[str, ...], many: bool = False):
        if (name, overrides, many) in known:
            return known[name, overrides, many]
        compiled = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.nn.Module, "compile", lambda net: compiled.append(type(net).__name__))
            try:
                run, _ = two_iterations(name, overrides, tmp_path_factory.mktemp("effect"), figures, many)
                result = {**digest(run.folder), "compiled": compiled}
            except VoiceToFaceError as error:
                result = f"{type(error).__name__}: {error}"
        known[name, overrides, many] = result
        return result

    return make


def cases():
    for name in recipe_names():
        for key in keys_of(load_recipe(name).to_dict()):
            if key in OF_CLASSES:
                continue
            quick = any(key.startswith(start) for start in QUICK.get(name, ()))
            yield pytest.param(name, key, marks=() if quick else pytest.mark.slow, id=f"{name}-{key}")


@pytest.fixture(scope="module")
def folders(space_folder, other_teacher_file, tmp_path_factory):
    """Other values of keys that are folders and files."""
    import shutil

    from voice2face_gan.models.face_embedding_space import FaceSpace

    other = FaceSpace.load(shutil.copytree(space_folder, tmp_path_factory.mktemp("folders") / "space"))
    place = tmp_path_factory.mktemp("other")
    other.centre += 0.1
    other.save(place / "moved")
    other.basis[:] = other.basis.flip(1)
    other.save(place / "foreign")
    return {
        "encoder.space": str(place / "foreign"),
        "face_embedding.space": str(place / "moved"),
        "encoder.teacher": str(other_teacher_file),
    }


@pytest.mark.parametrize(("name", "key"), cases())
def test_each_key_of_each_recipe_has_an_effect(outcome, folders, name, key):
    if "run.tensorboard=true" in (f"{key}=true", *WITH.get(key, ())) and not installed():
        pytest.skip("TensorBoard is not installed")
    now = keys_of(load_recipe(name).to_dict())[key]
    other = {**OTHER, **folders}.get(key, (lambda now: not now) if isinstance(now, bool) else None)
    if other is None:
        pytest.fail(f"{key}: add another value of it to OTHER, for this test to show its effect")
    base, many = WITH.get(key, ()), key.startswith("data.")
    value = other(now) if callable(other) else other
    if (name, key) == (
        "wen2019-face-embedding",
        "face_embedding.space",
    ):  # Wen's losses ask the space for nothing
        value = folders["encoder.space"]
    before, after = (outcome(name, x, many) for x in (base, (*base, f"{key}={json.dumps(value)}")))
    assert isinstance(before, dict), before
    if isinstance(after, str):
        assert key in REFUSED or f"{name} {key}" in REFUSED, f"{key}: {after}"
    assert before != after, f"{key} has no effect in the recipe {name}"


# What errors advise


STAGES = {
    "wen2019": (SpeakerClassificationStage, Wen2019Stage),
    "r3gan": (SpeakerClassificationStage, R3GANStage),
    "r3gan-face-embedding": (R3GANStage,),
    "wen2019-face-embedding": (Wen2019Stage,),
    "default-encoder": (DistillationStage,),
}


def spoil(error):
    def step(self, iteration):
        if error is not None:
            raise error
        return {"D": torch.tensor(float("nan"))}

    return step


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(None, id="nan"),
        pytest.param(torch.OutOfMemoryError("none left"), id="memory", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    ("name", "stage"),
    [pytest.param(n, s, id=f"{n}-{s.__name__}") for n, kinds in STAGES.items() for s in kinds],
)
def test_what_a_spoilt_stage_advises_to_set_has_an_effect(
    two_iterations, outcome, name, stage, error, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(stage, "step", spoil(error))
        with pytest.raises(TrainingError) as raised:
            two_iterations(name, (), tmp_path)
    advised = re.findall(r"--set (\S+?)=(\S+?)[.,;]?(?:\s|$)", str(raised.value))
    assert advised, raised.value
    for key, value in advised:
        assert key in keys_of(load_recipe(name).to_dict()), f"{key}: {raised.value}"
        before, after = outcome(name, ()), outcome(name, (f"{key}={value}",))
        assert isinstance(after, dict) and before != after, key
