"""A face decoder trained before any voice encoder, on the feature of a face reader: by the command, on a
store of faces without voices."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from voice2face_gan.data.store import Store
from voice2face_gan.data.synthetic import synthetic_store
from voice2face_gan.errors import CheckpointError
from voice2face_gan.face_to_face import FaceToFace
from voice2face_gan.faces.mean_shape import MEAN_SHAPE
from voice2face_gan.models.checkpoint import load_checkpoint
from voice2face_gan.models.face_readers.vggface import LAYERS, VggFace, VggFaceReader
from voice2face_gan.models.generators.face_decoder import FaceDecoder, FaceDecoderConfig
from voice2face_gan.models.reader_space import ReaderSpace
from voice2face_gan.models.registry import face_space_class
from voice2face_gan.training.engine.warm_start import given_encoder
from voice2face_gan.training.fits.linear_face import fit_linear_face
from voice2face_gan.training.recipe.recipe import load_recipe
from voice2face_gan.training.run.folder import Run

HIDDEN = 12
SMALL = {
    "model.generator.side": 64,
    "model.generator.narrow": 4,
    "gan.batch": 4,
    "run.precision": "fp32",
    "run.tensorboard": "false",
}


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    """Two narrow networks as `convert vggface` writes them: reader, other."""
    folder = tmp_path_factory.mktemp("readers")
    for seed, name in enumerate(("reader", "other")):
        torch.manual_seed(seed)
        net = VggFace((4, 4, 6, 6, 8), HIDDEN, 5)
        for layer in LAYERS:
            torch.nn.init.kaiming_normal_(getattr(net, layer).weight, nonlinearity="relu")
        VggFaceReader(net, "deepface").save(folder / name)
    return folder


@pytest.fixture(scope="module")
def faces(own_cache, tmp_path_factory):
    """The folder of a store of faces with landmarks, and without a voice."""
    made = synthetic_store("synthetic:10", clips=0)
    folder = Path(shutil.copytree(made.folder, tmp_path_factory.mktemp("faces") / "faces.store"))
    moved = np.random.default_rng(0).normal(0, 0.01, (len(made.faces), 68, 2))
    np.save(folder / "landmarks.npy", (MEAN_SHAPE + moved).astype(np.float32))
    assert not Store(folder).has_voice.any()
    return folder


def train(cli, *arguments, **settings):
    options = [x for key, value in (SMALL | settings).items() for x in ("--set", f"{key}={value}")]
    return cli("train", *arguments, *options, "-o", "runs", "--json")


def sentence(result) -> str:
    assert result.code == 2, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    return line


@pytest.fixture
def decoder(cli, faces, readers):
    """The run of two iterations."""
    space = {"face_embedding.space": json.dumps(str(readers / "reader"))}
    done = train(cli, "--recipe", "face-decoder", "--data", faces, "--iterations", 2, **space)
    assert done.code == 0, done.stderr
    (run,) = (cli.here / "runs").iterdir()
    return run


def test_faces_of_224_pixels_from_images_to_a_reconstruction(cli, faces, readers):
    """Speech2Face's own size, by the keys of the sides."""
    store, photos = Store(faces), cli.here / "photos"
    photos.mkdir()
    names = [f"{k}.png" for k in range(len(store.faces))]
    for name, face in zip(names, store.faces, strict=True):
        Image.fromarray(face).resize((224, 224), Image.Resampling.BICUBIC).save(photos / name)
    (photos / "labels.csv").write_text("\n".join(["file", *names]))
    made = cli("prepare", "faces", "photos", "--side", 224, "--detector", "none", "-o", "big.store")
    assert made.code == 0, made.stderr
    big = Store(cli.here / "big.store")
    assert big.faces.shape[1:] == (224, 224, 3)
    np.save(big.folder / "landmarks.npy", np.repeat(MEAN_SHAPE[None], len(big.faces), 0).astype(np.float32))
    own = {
        "face_embedding.space": json.dumps(str(readers / "reader")),
        "model.generator.side": 224,
        "gan.batch": 2,
    }
    done = train(cli, "--recipe", "face-decoder", "--data", big.folder, "--iterations", 1, **own)
    assert done.code == 0, done.stderr
    (run,) = (cli.here / "runs").iterdir()
    done = cli("reconstruct", photos / names[0], "-o", "face.png", "--checkpoint", run, "--detector", "none")
    assert done.code == 0 and Image.open(cli.here / "face.png").size == (224, 224), done.stderr


def test_from_faces_alone_to_a_reconstruction(cli, decoder, readers, faces, clips):
    made = load_checkpoint(decoder)
    assert made.encoder_config.type == "none" and made.encoder_config.embedding == HIDDEN
    assert not made.encoder.state_dict() and made.gender_probe is None
    assert face_space_class(made.face_space) is ReaderSpace
    assert "simulated_voices" not in made.info["recipe"].get("face_embedding", {})

    # The image grid: real faces above, what is made of their own e below.
    store = Store(faces)
    grid = np.asarray(Image.open(sorted((decoder / "grids").glob("*.png"))[-1]))
    held_out = next(part for part in map(store.of_split, ("val", "test", "train")) if part.has_face.any())
    names = sorted(set(held_out.identity))[:8]
    first = held_out.faces[held_out.face_index[np.flatnonzero(held_out.identity == names[0])[0]]]
    gap = np.flatnonzero((grid[:, :, :] != grid[0, 0]).any(axis=(1, 2)))[0]
    assert np.array_equal(grid[gap : gap + 64, gap : gap + 64], first)

    # Reconstruction, by the reader that the recipe names.
    photo = cli.here / "photo.png"
    Image.fromarray(np.asarray(store.faces[0])).save(photo)
    options = ("--checkpoint", decoder, "--detector", "none")
    assert cli("reconstruct", photo, "-o", "face.png", *options).code == 0
    f2f = FaceToFace.from_pretrained(decoder)
    e = f2f.read(torch.from_numpy(np.array(store.faces[:1])))
    torch.testing.assert_close(
        e, f2f.space(torch.from_numpy(np.array(store.faces[:1])).permute(0, 3, 1, 2) / 127.5 - 1)
    )
    with torch.no_grad():
        wanted = made.generator(e)
    got = np.asarray(Image.open(cli.here / "face.png")).astype(float)
    assert np.abs(got - ((wanted[0].permute(1, 2, 0) + 1) * 127.5).clamp(0, 255).numpy()).max() <= 1.0
    torch.testing.assert_close(f2f.condition_read(e[0], 0.0), f2f.space.centre, msg="the average face")

    other = cli("reconstruct", photo, "-o", "x.png", *options, "--reader", readers / "other")
    assert "is the face reader" in sentence(other)
    missing = cli("reconstruct", photo, "-o", "x.png", *options, "--reader", cli.here / "gone")
    assert "--reader FOLDER" in sentence(missing) and not (cli.here / "x.png").exists()
    given = cli("reconstruct", photo, "-o", "y.png", *options, "--reader", readers / "reader")
    assert given.code == 0 and np.array_equal(
        np.asarray(Image.open("y.png")), np.asarray(Image.open("face.png"))
    )

    # Nothing answers voices.
    told = [
        sentence(cli("generate", clips[0], "-o", "x.png", "--checkpoint", decoder)),
        sentence(cli("generate", *clips[:2], "--together", "-o", "x.png", "--checkpoint", decoder)),
        sentence(cli("embed", clips[0], "-o", "e.npy", "--checkpoint", decoder)),
        sentence(cli("bench", "generate", "--checkpoint", decoder, "--runs", 3, "--seconds", 1)),
        sentence(cli("export", "onnx", decoder, "-o", "onnx")),
        sentence(cli("evaluate", "--data", "synthetic:20", "--checkpoint", decoder, "--metric", "l1")),
    ]
    for line in told:
        assert "no voice encoder" in line and "v2f-gan reconstruct" in line and "--recipe speech2face" in line
    with pytest.raises(CheckpointError, match="no voice encoder"):
        made.encoder(torch.zeros(1, 64, 100))
    report = cli("report", decoder, "--data", "synthetic:20", "--metric", "l1", "-o", "r.html")
    assert "no voice encoder" in sentence(report) and not (cli.here / "r.html").exists()
    with pytest.raises(CheckpointError, match="no voice encoder"):  # nor is it one for others
        given_encoder(Run(None, load_recipe("face-decoder"), {"encoder": str(decoder)}), store)
    assert "takes 12 numbers" in sentence(cli("face-space", faces, "-o", "space", "--for", decoder))
    composed = cli("compose", decoder, decoder, "--data", faces, "--judge", "trunk", "-o", "new")
    assert "recipe default-encoder" in sentence(composed)
    assert cli("push", decoder, "me/mine", "--dry-run").code == 0
    assert cli("runs", "runs").code == 0

    # It is fine-tuned with its own recipe.
    tuned = cli("train", "--init", decoder, "--data", faces, "--iterations", 1, "-o", "tuned", "--json")
    assert tuned.code == 0, tuned.stderr
    (run,) = (cli.here / "tuned").iterdir()
    assert load_checkpoint(run).encoder_config.type == "none"


def test_what_needs_a_voice_encoder_is_refused(cli, faces, readers):
    space = {"face_embedding.space": json.dumps(str(readers / "reader"))}
    arguments = ("--recipe", "face-decoder", "--data", faces, "--iterations", 1)
    line = sentence(train(cli, *arguments, **space, **{"face_embedding.simulated_voices": 0.5}))
    assert "simulated_voices has no effect" in line and "--encoder" in line
    line = sentence(train(cli, *arguments))
    assert "--encoder" in line and "face_embedding.space=FOLDER" in line, "the space of which encoder?"
    assert not (cli.here / "runs").exists()


def test_a_reader_is_for_decoders_alone(cli, store, readers, tmp_path):
    line = sentence(
        cli(
            *("train", "--recipe", "r3gan", "--data", "synthetic:20", "--encoder", "synthetic"),
            *("--set", f"face_embedding.space={json.dumps(str(readers / 'reader'))}", "--iterations", 1),
        )
    )
    assert "a face decoder alone takes" in line


def test_the_linear_part_of_a_feature_larger_than_the_stem():
    """Textures and landmarks that are linear in the leading direction of 1,100 numbers come out so."""
    torch.manual_seed(0)
    count, size = 300, 1100
    leading = torch.nn.functional.normalize(torch.randn(size), dim=0)
    place = torch.randn(count)
    e = 0.02 * torch.randn(count, size) + 5 * place[:, None] * leading + 2
    faces = (0.1 * place)[:, None, None, None].expand(-1, 3, 32, 32)
    landmarks = torch.from_numpy(MEAN_SHAPE).float() + 0.01 * place[:, None, None]

    class Bank:
        def batch(self, items, flips=None):
            return faces[torch.from_numpy(items)], None

        def landmarks_of(self, items, flips=None):
            return landmarks[torch.from_numpy(items)]

    class Batches:
        pass

    batches = Batches()
    batches.e, batches.faces = e, Bank()
    decoder = FaceDecoder(FaceDecoderConfig(embedding=size, side=32, narrow=4, linear=6))
    fit_linear_face(decoder, batches, flip=False)
    with torch.no_grad():
        got = decoder.decoded(e[:50])
    assert (got.texture - faces[:50]).abs().mean() < 0.1 * faces[:50].abs().mean()
    error = (got.landmarks - 32 * landmarks[:50]).abs().mean()
    assert error < 0.1 * (32 * landmarks[:50] - decoder.warp.mean).abs().mean()


def test_a_voice_encoder_is_trained_for_it_by_equation_3(cli, decoder, readers, clips):
    """The paper's order to its end: decoder, then voice encoder beside it, then a face from a voice."""
    small = {
        "model.encoder.type": "lstm",
        "model.encoder.channels": "[4,8,8,8]",
        "encoder.batch": 2,
        "encoder.crop_frames": "[100,120]",
        "run.precision": "fp32",
        "run.tensorboard": "false",
    }
    options = [x for key, value in small.items() for x in ("--set", f"{key}={value}")]
    options += ["--iterations", 2, "-o", "voices", "--json"]
    done = cli("train", "--recipe", "speech2face", "--init", decoder, "--data", "synthetic:10", *options)
    assert done.code == 0, done.stderr
    (run,) = (cli.here / "voices").iterdir()
    made = load_checkpoint(run)
    assert made.encoder_config.type == "lstm" and made.encoder_config.embedding == HIDDEN
    assert len(made.controls.residual_std) == HIDDEN and face_space_class(made.face_space) is ReaderSpace
    logged = [json.loads(line) for line in (run / "train.jsonl").read_text().splitlines()]
    assert any("classes" in key for line in logged for key in line), "the reader's classes are distilled"
    assert cli("generate", clips[0], "-o", "face.png", "--checkpoint", run).code == 0
    assert Image.open(cli.here / "face.png").size == (64, 64)
    photo = cli.here / "photo.png"
    Image.open(cli.here / "face.png").save(photo)
    again = cli("reconstruct", photo, "-o", "again.png", "--checkpoint", run, "--detector", "none")
    assert again.code == 0, again.stderr
