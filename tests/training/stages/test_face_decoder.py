"""The stage of the face decoder on the small world: its targets, its losses, what counts, what is refused."""

import json

import numpy as np
import pytest
import torch

from voice2face_gan.errors import DataError
from voice2face_gan.faces.mean_shape import MEAN_SHAPE, MIRROR, mirrored
from voice2face_gan.models.checkpoint import load_checkpoint
from voice2face_gan.models.generators.face_decoder import FaceDecoder, FaceDecoderConfig
from voice2face_gan.training.engine.train import train
from voice2face_gan.training.fits.linear_face import fit_linear_face
from voice2face_gan.training.recipe.recipe import load_recipe
from voice2face_gan.training.run.folder import Run
from voice2face_gan.training.stages.face_decoder import FaceDecoderStage, SpaceReader
from voice2face_gan.training.stages.speech2face_losses import embedding_loss, landmark_loss, texture_loss

CPU = torch.device("cpu")
SMALL = (
    "model.generator.side=64",
    "model.generator.narrow=4",
    "gan.batch=6",
    "gan.iterations=4",
    "run.log_every=1",
    "run.precision='fp32'",
    "run.tensorboard=false",
)


@pytest.fixture
def make_stage(marked, space_folder, space_encoder):
    """Function (*overrides, data) -> a new stage."""

    def make(*overrides: str, data=marked) -> FaceDecoderStage:
        folder = f"face_embedding.space={json.dumps(str(space_folder))}"
        recipe = load_recipe("face-decoder", (*SMALL, folder, *overrides))
        encoder = load_checkpoint(space_encoder, need_generator=False)
        return FaceDecoderStage(data.of_split("train"), data.of_split("val"), encoder, recipe, 0, CPU)

    return make


def test_landmarks_are_mirrored_with_their_faces(make_stage, marked):
    bank = make_stage().batches.faces
    items = np.array([3, 3])
    plain, other = bank.landmarks_of(items, np.array([False, True]))
    wanted = marked.of_split("train")
    wanted = wanted.landmarks[wanted.select(wanted.has_face).face_index[3]]
    torch.testing.assert_close(plain.numpy(), wanted)
    torch.testing.assert_close(other[16], torch.tensor([1.0, 0.0]) + torch.tensor([-1.0, 1.0]) * plain[0])
    assert sorted(MIRROR) == list(range(68)) and np.allclose(mirrored(mirrored(MEAN_SHAPE)), MEAN_SHAPE)
    assert np.abs(mirrored(MEAN_SHAPE) - MEAN_SHAPE).max() < 1e-3, "the mean shape is symmetric"


@pytest.mark.parametrize(("share", "read_ones"), [(1.0, 6), (0.5, 3)])
def test_the_losses_are_those_of_the_text(make_stage, share, read_ones):
    """Of the first iteration, written out one face at a time; images are read of the share."""
    stage = make_stage("face_embedding.simulated_l1=0.25", f"face_decoder.embedding_share={share}")
    batch = stage.batches.draw(0)
    assert batch.own_e.any() and not batch.own_e.all()
    decoder, terms = stage.generator, dict.fromkeys(("texture", "landmarks", "embedding"), 0.0)
    total = dict.fromkeys(terms, 0.0)
    reader = SpaceReader(stage.space, stage.streams.zooms(0))
    with torch.no_grad():
        decoded = decoder.decoded(batch.e)
        read = reader(decoded.image).feature
        for i in range(6):
            counts = 1.0 if batch.own_e[i] else 0.25
            marks = 64 * batch.landmarks[i : i + 1]
            wanted = decoder.warp.to_mean(batch.real[i : i + 1], marks)
            shown = (decoder.warp.to_mean(batch.visible[i : i + 1], marks) > 0.99).float()
            target = stage.space.target(batch.e[i : i + 1])[0] - stage.space.centre
            one = {
                "texture": texture_loss(decoded.texture[i : i + 1], wanted, shown),
                "landmarks": landmark_loss(decoded.landmarks[i : i + 1], marks, 64),
                "embedding": embedding_loss(read[i : i + 1], target),
            }
            if i >= read_ones:
                del one["embedding"]
            for name, value in one.items():
                total[name] += counts
                terms[name] += counts * float(value)
    losses = stage.step(0)
    assert losses.keys() == {"G_texture", "G_landmarks", "G_embedding"}
    for name, value in terms.items():
        assert float(losses[f"G_{name}"]) == pytest.approx(value / total[name], rel=1e-4), name


def test_every_part_of_the_decoder_learns(make_stage):
    stage = make_stage("gan.ema_decay=0", "model.generator.linear=0")
    before = {n: p.clone() for n, p in stage.generator.named_parameters()}
    for iteration in range(3):  # the landmarks' last layer begins at 0 and holds back the others
        stage.step(iteration)
    assert not [n for n, p in stage.generator.named_parameters() if torch.equal(p, before[n])]


def test_a_run_makes_a_checkpoint_that_answers_voices(tmp_path, marked, space_folder, space_encoder):
    folder = f"face_embedding.space={json.dumps(str(space_folder))}"
    recipe = load_recipe("face-decoder", (*SMALL, folder))
    settings = {"data": "", "gender": "all", "seed": 0, "iterations": None, "encoder": str(space_encoder)}
    run = Run.create(tmp_path, recipe, settings)
    assert train(run, marked, CPU).finished
    made = load_checkpoint(run.folder)
    assert isinstance(made.generator, FaceDecoder) and made.generator_config.face_scale == marked.zoom
    with torch.no_grad():
        assert made.generator(torch.randn(2, 64)).shape == (2, 3, 64, 64)
    assert (run.folder / "grids" / "0000004.png").is_file()


def test_a_store_without_landmarks_is_refused_with_what_to_do(make_stage, read_store):
    with pytest.raises(DataError, match="--set faces.landmarks=true"):
        make_stage(data=read_store)


def test_faces_keep_their_zoom_and_the_space_is_moved_to_it(make_stage, marked):
    """The same faces, said to be 1.4 times as large: the network reads another part of the image."""
    assert marked.zoom == 1
    there = make_stage()
    marked.about = {**marked.about, "zoom": 1.4}
    moved = make_stage()
    assert moved.config.face_scale == moved.space.about["zoom"] == 1.4
    assert float(moved.space.chip[0]) == pytest.approx(1.4 * float(there.space.chip[0]))


def test_the_linear_part_begins_as_the_regression_on_e(make_stage, marked):
    """Textures and landmarks that are linear in e come out as they are, each pixel by the faces that show
    it."""
    plain = make_stage("model.generator.linear=64", "data.flip=false").batches
    torch.manual_seed(1)
    shape, colour = 0.01 * torch.randn(64, 136), 0.05 * torch.randn(64, 3)
    count, places = 200, torch.arange(200)
    plain.e = torch.randn(count, 64)
    landmarks = torch.from_numpy(MEAN_SHAPE).float() + (0.1 * plain.e @ shape).unflatten(1, (68, 2))
    faces = (plain.e @ colour)[:, :, None, None].expand(-1, -1, 64, 64).clone()
    faces[::2, :, :, 60:] = torch.nan  # half of the faces do not show the right border

    class Bank:
        def batch(self, items, flips=None):
            assert flips is None
            return faces[torch.from_numpy(items)], places

        def landmarks_of(self, items, flips=None):
            return landmarks[torch.from_numpy(items)]

    plain.faces = Bank()
    decoder = FaceDecoder(FaceDecoderConfig(side=64, narrow=4, linear=64))
    fit_linear_face(decoder, plain, flip=False)
    with torch.no_grad():
        got = decoder.decoded(plain.e)
    wanted = faces.nan_to_num() + (plain.e @ colour)[:, :, None, None] * faces.isnan()
    assert (got.texture - wanted).abs().mean() < 0.1 * wanted.abs().mean(), "less the ridge's shrinkage"
    error = (got.landmarks - 64 * landmarks).abs().mean()
    assert error < 0.1 * (64 * landmarks - decoder.warp.mean).abs().mean()


def test_the_linear_part_sees_every_second_face_mirrored(make_stage):
    """A mean face of mirrored and plain faces in equal numbers is symmetric."""
    decoder = make_stage("model.generator.linear=64").generator
    with torch.no_grad():
        mean = decoder.decoded(torch.zeros(1, 64)).texture
    other = make_stage("model.generator.linear=64", "data.flip=false").generator
    with torch.no_grad():
        plain = other.decoded(torch.zeros(1, 64)).texture
    asymmetry = [(x - x.flip(-1)).abs().mean() for x in (mean, plain)]
    assert asymmetry[0] < asymmetry[1]


def test_a_decoder_with_a_linear_part_learns_in_all_others(make_stage):
    stage = make_stage("gan.ema_decay=0", "model.generator.linear=8")
    before = {n: p.clone() for n, p in stage.generator.named_parameters()}
    for iteration in range(3):
        stage.step(iteration)
    still = [n for n, p in stage.generator.named_parameters() if torch.equal(p, before[n])]
    assert still and all(n.startswith("linear.") for n in still), "what was fitted stays"
