"""Every command and option that the README names for the default, with a checkpoint of a face decoder and
of an appearance model: each works, or refuses in one sentence."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from voice2face_gan.data.store import Store
from voice2face_gan.data.synthetic import synthetic_store
from voice2face_gan.faces.mean_shape import MEAN_SHAPE
from voice2face_gan.models.checkpoint import load_checkpoint
from voice2face_gan.models.conditioning import Controls
from voice2face_gan.models.face_embedding_space import FaceSpace
from voice2face_gan.models.registry import build_generator, face_space_class, generator_config
from voice2face_gan.pipeline import VoiceToFace
from voice2face_gan.training.recipe.recipe import load_recipe

SIZE = 64
TINY = ("model.generator.side=64", "gan.batch=4", "run.tensorboard=false")
APPEARANCE = {
    "texture_side": 64,
    "narrow": 4,
    "linear": 0,
    "shape_components": 4,
    "texture_components": 5,
    "flow_width": 16,
    "flow_blocks": 1,
    "flow_steps": 2,
    "channels": (4, 4, 4),
}
KINDS = {"face_decoder": {"narrow": 4}, "appearance_model": APPEARANCE}


@pytest.fixture(scope="module", params=list(KINDS))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def decoder(kind, trained, tmp_path_factory):
    """The folder of a checkpoint: the trained run's voice encoder and gender probe, a generator whose
    landmarks and texture differ from e to e, the classifier's face space."""
    given, kept = load_checkpoint(trained), load_checkpoint("synthetic")
    torch.manual_seed(5)
    config = generator_config({"type": kind, "side": 64, **KINDS[kind]})
    net = build_generator(config)
    if kind == "face_decoder":
        torch.nn.init.normal_(net.landmark_head[-1].weight, std=0.1)
        torch.nn.init.normal_(net.texture_head.to_rgb.weight, std=0.5)
    else:
        torch.nn.init.normal_(net.decoder.landmark_head[-1].weight, std=0.1)
        torch.nn.init.normal_(net.decoder.texture_head.to_rgb.weight, std=0.5)
        torch.nn.init.normal_(net.shape.weight, std=0.1)
        torch.nn.init.normal_(net.texture.weight, std=0.05)
        torch.nn.init.normal_(net.flow.last.weight, std=0.1)
        net.ears.layers.copy_(torch.tensor([0.5, 0.3, 0.2, 1.0])[:, None, None].expand_as(net.ears.layers))
    with torch.no_grad():  # its e was of length 1, and now has elements of about 1
        mels = torch.randn(8, 64, 300, generator=torch.Generator().manual_seed(0))
        length = given.encoder(mels).norm(dim=1).mean()
        last = given.encoder.get_submodule(given.encoder.last_name)
        for part in last.parameters():
            part.mul_(8 / length)
    probe = given.gender_probe.clone()
    probe[:-1] /= 8
    controls = Controls(
        strength=2.0,
        soft_clip=(3.0,) * SIZE,
        residual_std=tuple(np.linspace(0.3, 0.9, SIZE).round(4).tolist()),
        normalise_embedding=False,
        embedding_noise_std=0.0,
    )
    settings = [
        f"model.generator.{key}={list(v) if key == 'channels' else v}" for key, v in KINDS[kind].items()
    ]
    info = {
        **given.info,
        "recipe": load_recipe(kind.replace("_", "-"), (*TINY, *settings)).to_dict(),
        "face_space": kept.info["face_space"],
    }
    made = replace(
        given,
        generator_config=config,
        generator=net,
        controls=controls,
        gender_probe=probe,
        face_space=kept.face_space,
        info=info,
    )
    return made.save(tmp_path_factory.mktemp("decoder") / "decoder")


@pytest.fixture(scope="module")
def marked(store, tmp_path_factory):
    """The folder of the small world with landmarks."""
    folder = Path(shutil.copytree(store.folder, tmp_path_factory.mktemp("marked") / "marked.store"))
    moved = np.random.default_rng(0).normal(0, 0.01, (len(store.faces), 68, 2))
    np.save(folder / "landmarks.npy", (MEAN_SHAPE + moved).astype(np.float32))
    assert Store(folder).has_landmarks
    return folder


def image(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def far(a, b) -> float:
    return float(np.abs(image(a) - image(b)).mean())


def told(result) -> dict:
    assert result.code == 0, result.stderr
    return json.loads(result.stdout)


def sentence(result) -> str:
    """The one line of an error."""
    assert result.code == 2
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert "Traceback" not in result.stderr
    return line


# generate


def test_variants_differ_by_the_residual(cli, decoder, clips):
    done = told(cli("generate", clips[0], "-o", "faces", "--variants", 3, "--checkpoint", decoder, "--json"))
    files = done["faces"][0]["files"]
    assert len(files) == 3 and far(files[0], files[1]) > 0 and far(files[1], files[2]) > 0
    assert cli("generate", clips[0], "-o", "plain.png", "--checkpoint", decoder).code == 0
    assert far("plain.png", files[0]) < 0.01, "the first is the plain answer, but for rounding"
    assert (
        cli(
            *("generate", clips[0], "-o", "same", "--variants", 2, "--noise-scale", 0),
            *("--checkpoint", decoder),
        ).code
        == 0
    )
    same = sorted(Path("same").iterdir())
    assert far(same[0], same[1]) == 0


def test_gender_is_reflected_in_e(cli, decoder, clips):
    for gender in ("auto", "female", "male"):
        done = cli("generate", clips[1], "-o", f"{gender}.png", "--gender", gender, "--checkpoint", decoder)
        assert done.code == 0, done.stderr
    assert far("female.png", "male.png") > 0
    assert 0 in (far("auto.png", "female.png"), far("auto.png", "male.png")), "one of them is as it was"
    model = VoiceToFace.from_pretrained(decoder)
    e = model.embed_clip(clips[1])
    assert (
        model.female(model.reflect_gender(e, "female")) > 0.5 > model.female(model.reflect_gender(e, "male"))
    )


def test_strength(cli, decoder, kind, clips):
    for strength in (0, 1, 2):
        for i in (0, 1):
            name = f"{strength}-{i}.png"
            done = cli("generate", clips[i], "-o", name, "--strength", strength, "--checkpoint", decoder)
            assert done.code == 0, done.stderr
    assert far("0-0.png", "0-1.png") == 0, "the average face"
    near, away = far("0-0.png", "1-0.png"), far("0-0.png", "2-0.png")
    assert near > 0 and away > 0
    if kind == "face_decoder":  # else what is drawn beside e makes them differ as much
        assert near < away
    assert cli("generate", clips[0], "-o", "own.png", "--checkpoint", decoder).code == 0
    assert far("own.png", "2-0.png") == 0, "the checkpoint's own is 2"


def test_size_and_grid_and_together(cli, decoder, clips):
    assert cli("generate", clips[0], "-o", "a.png", "--size", 100, "--checkpoint", decoder).code == 0
    assert Image.open("a.png").size == (100, 100)
    assert cli("generate", *clips[:2], "-o", "grid.png", "--grid", "--checkpoint", decoder).code == 0
    done = cli("generate", *clips[:2], "--together", "-o", "both.png", "--checkpoint", decoder)
    assert done.code == 0 and Image.open("both.png").size == (64, 64)


def test_images_have_the_size_that_the_checkpoint_says(cli, decoder, kind, clips, tmp_path):
    """Smaller ones are made from the network's own side."""
    made = load_checkpoint(decoder)
    assert made.generator_config.image_side == 64
    if kind != "appearance_model":
        return
    config = replace(made.generator_config, image_side=32)
    other = replace(made, generator_config=config).save(tmp_path / "other")
    for name, options in (("own", ()), ("whole", ("--size", 64))):
        done = cli("generate", clips[0], "-o", f"{name}.png", *options, "--checkpoint", other)
        assert done.code == 0, done.stderr
    assert Image.open("own.png").size == (32, 32) and Image.open("whole.png").size == (64, 64)
    assert cli("morph", *clips[:2], "-o", "strip.png", "--checkpoint", other).code == 0
    assert Image.open("strip.png").height == 32


def test_reconstruct(cli, decoder, store):
    for i in (0, 1):
        Image.fromarray(np.asarray(store.faces[30 * i])).save(f"{i}.png")
    done = cli("reconstruct", "0.png", "1.png", "-o", "out", "--detector", "none", "--checkpoint", decoder)
    assert done.code == 0, done.stderr
    assert far("out/0.png", "out/1.png") > 0


# embed, evaluate, report


def test_embed(cli, decoder, clips):
    assert cli("embed", *clips[:2], "-o", "e.npy", "--checkpoint", decoder).code == 0
    e = np.load("e.npy")
    assert e.shape == (2, SIZE)
    model = VoiceToFace.from_pretrained(decoder)
    np.testing.assert_allclose(e[0], model.embed_clip(clips[0]), atol=1e-5)


def test_evaluate(cli, decoder):
    metrics = ("matching", "detection", "l1", "diversity", "gender")
    options = [x for name in metrics for x in ("--metric", name)]
    made = told(
        cli(
            "evaluate",
            "--data",
            "synthetic:20",
            "--checkpoint",
            decoder,
            *options,
            "--judge",
            "trunk",
            "--json",
        )
    )
    assert set(metrics) <= made.keys() and made["matching"]


@pytest.mark.slow
def test_report(cli, decoder, kind):
    done = cli("report", decoder, "--data", "synthetic:20", "--metric", "l1", "-o", "report.html")
    assert done.code == 0 and kind in Path("report.html").read_text(), done.stderr


# publishing, export, speed, runs


def test_push_without_sending(cli, decoder, kind):
    done = cli("push", decoder, "me/mine", "--dry-run")
    assert done.code == 0, done.stderr
    assert kind in done.stdout or kind.replace("_", " ") in done.stdout


@pytest.mark.slow
def test_export_agrees_with_pytorch(cli, decoder):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    done = told(cli("export", "onnx", decoder, "-o", "onnx", "--json"))
    assert done["graphs"]["generator.onnx"]["max_abs_difference"] < 1e-3


def test_bench(cli, decoder):
    done = told(cli("bench", "generate", "--checkpoint", decoder, "--runs", 3, "--seconds", 2, "--json"))
    assert all(times["median_ms"] > 0 for times in done["steps"].values())


# training


def test_init_fine_tunes_it_with_its_own_recipe(cli, decoder, kind, marked):
    done = cli("train", "--init", decoder, "--data", marked, "--iterations", 2, "-o", "runs", "--json")
    assert done.code == 0, done.stderr
    (run,) = Path("runs").iterdir()
    about = json.loads((run / "run.json").read_text())
    assert kind.replace("_", "-") in json.dumps(about)
    before, after = load_checkpoint(decoder), load_checkpoint(run)
    change = [
        float((a - b).abs().max())
        for a, b in zip(before.generator.parameters(), after.generator.parameters(), strict=True)
    ]
    assert 0 < max(change) < 0.01, "from its weights, a little"
    assert after.face_space.keys() == before.face_space.keys()
    listed = told(cli("runs", "runs", "--json"))
    assert kind.replace("_", "-") in json.dumps(listed)


def test_init_on_a_store_without_landmarks_is_refused(cli, decoder):
    done = cli("train", "--init", decoder, "--data", "synthetic:20", "--iterations", 1)
    assert "--set faces.landmarks=true" in sentence(done)
    assert not Path("runs").exists(), "nothing is begun"


def test_compose_needs_an_encoder_of_a_distillation(cli, decoder, marked):
    done = cli("compose", decoder, decoder, "--data", marked, "--judge", "trunk", "-o", "new")
    assert "default-encoder" in sentence(done) and not Path("new").exists()


@pytest.mark.slow
def test_a_space_is_fitted_to_it(cli, decoder):
    """`face-space --for` fits dlib's components to any generator of 64 numbers."""
    pytest.importorskip("dlib")
    pytest.importorskip("face_recognition_models")
    world = shutil.copytree(synthetic_store("synthetic:45", clips=0).folder, "world.store")
    fitted = told(cli("face-space", world, "-o", "space", "--for", decoder, "--json"))
    made = load_checkpoint("space/checkpoint")
    assert made.info["face_space"]["name"] == fitted["name"] and "generated_r2" in fitted
    assert face_space_class(made.face_space) is FaceSpace
    image = Path("0.png")
    Image.fromarray(np.asarray(Store(world).faces[0])).save(image)
    options = ("--checkpoint", "space/checkpoint", "--detector", "none")
    assert cli("reconstruct", image, "-o", "out", *options).code == 0
