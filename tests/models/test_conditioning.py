"""Strength, soft clip and noise scale: the distance from the average face, and what makes variants differ."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from voice2face_gan import VoiceToFace
from voice2face_gan.errors import CheckpointError, VoiceToFaceError
from voice2face_gan.models.checkpoint import Checkpoint
from voice2face_gan.models.conditioning import Controls, condition
from voice2face_gan.models.encoders.conv import ConvEncoderConfig
from voice2face_gan.models.generators.r3gan import R3GANGeneratorConfig
from voice2face_gan.models.registry import build_encoder, build_generator

FREE = Controls(normalise_embedding=False, embedding_noise_std=0.0)


# Length and noise


def test_a_condition_has_unit_norm():
    e = torch.tensor([[3.0, 4.0], [0.0, -2.0]])
    assert torch.allclose(condition(e, Controls()), torch.tensor([[0.6, 0.8], [0.0, -1.0]]))


def test_noise_is_added_to_the_unit_embedding_and_the_sum_normalised():
    e, noise = torch.tensor([[10.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    made = condition(e, Controls(embedding_noise_std=0.05), noise)
    assert torch.allclose(made, torch.tensor([[1.0, 0.05]]) / (1 + 0.05**2) ** 0.5)
    assert torch.allclose(condition(e, Controls(), noise, scale=1.0), torch.full((1, 2), 0.5**0.5))


def test_the_level_of_the_noise():
    """0.05 N(0, 1) on each of 64 numbers of a unit vector: cosine 1 / sqrt(1 + 64 x 0.05^2) on average."""
    e = F.normalize(torch.randn(20_000, 64), dim=1)
    cosine = (condition(e, Controls(embedding_noise_std=0.05), torch.randn(20_000, 64)) * e).sum(dim=1)
    assert abs(float(cosine.mean()) - (1 + 63 * 0.05**2) ** -0.5) < 2e-3


def test_without_noise_nothing_is_added():
    e, noise = torch.randn(4, 64), torch.randn(4, 64)
    assert torch.equal(condition(e, Controls(embedding_noise_std=0.0), noise), condition(e, Controls()))
    assert torch.equal(condition(e, Controls(), noise, scale=0), condition(e, Controls()))


def test_the_papers_raw_embedding():
    controls = FREE
    e, noise = torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, -1.0]])
    assert torch.equal(condition(e, controls), e)
    assert torch.equal(condition(e, controls, noise), e)
    # A level asked for is relative to |e| = 5.
    assert torch.allclose(condition(e, controls, noise, scale=0.1), torch.tensor([[3.5, 3.5]]))


# Strength and soft clip


def test_it_is_a_factor():
    e = torch.randn(5, 6)
    controls = FREE
    assert torch.equal(condition(e, controls), e)
    torch.testing.assert_close(condition(e, replace(controls, strength=2.5)), 2.5 * e)
    assert not condition(e, replace(controls, strength=0.0)).any()


def test_limits_bend_what_is_large_and_leave_the_rest():
    controls = replace(FREE, soft_clip=(1.0, 1.0, 2.0, 2.0, 2.0, 2.0))
    e = torch.tensor([[0.5, -0.6, 1.1, -50.0, 50.0, 0.0]])
    bent = condition(e, controls)
    torch.testing.assert_close(bent, torch.tensor([[0.5, -0.6, 1.1, -2.0, 2.0, 0.0]]))
    # Rising everywhere, without a kink where the bend begins, and odd.
    line = torch.linspace(0, 4, 4001, dtype=torch.float64)[:, None].expand(-1, 6)
    bent = condition(line, controls)
    slope = bent.diff(dim=0) / line.diff(dim=0)
    assert (slope >= 0).all() and (slope <= 1 + 1e-9).all() and slope.diff(dim=0).abs().max() < 0.01
    torch.testing.assert_close(condition(-line, controls), -bent)


def test_limits_come_after_the_strength():
    controls = replace(FREE, soft_clip=(1.0,) * 6, strength=3.0)
    torch.testing.assert_close(condition(torch.full((1, 6), 0.1), controls), torch.full((1, 6), 0.3))
    assert (condition(torch.full((1, 6), 5.0), controls) <= 1).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"strength": -1.0}, "strength must not be negative"),
        (
            {"strength": 2.0, "normalise_embedding": True},
            "strength other than 1 needs normalise_embedding = false",
        ),
        ({"soft_clip": (0.0,) * 6}, "soft_clip must be above 0 for each element"),
        (
            {"soft_clip": (1.0,) * 6, "normalise_embedding": True},
            "soft_clip needs normalise_embedding = false",
        ),
        ({"residual_std": (2.0,) * 6}, "residual_std must be from 0 to 1"),
        ({"residual_std": (-0.1,) * 6}, "residual_std must be from 0 to 1"),
        ({"embedding_noise_std": -0.1}, "embedding_noise_std must not be negative"),
        ({"gain": 3}, "The table controls has no setting 'gain'"),
    ],
)
def test_settings_that_cannot_be(settings, words):
    with pytest.raises(CheckpointError, match=words):
        Controls.from_dict(FREE.to_dict() | settings)


def test_they_are_of_the_embeddings_size():
    Controls().check_size(6)
    for settings in ({"soft_clip": (1.0,) * 5}, {"residual_std": (0.5,) * 7}):
        (name,) = settings
        with pytest.raises(CheckpointError, match=rf"controls.{name} must be empty or as long .* \(6\)"):
            replace(FREE, **settings).check_size(6)


def test_controls_survive_json():
    controls = replace(FREE, soft_clip=(1.0, 2.0), residual_std=(0.5, 1.0), strength=3.0)
    assert Controls.from_dict(json.loads(json.dumps(controls.to_dict()))) == controls
    assert "type" not in controls.to_dict()


def test_noise_is_relative_to_what_is_taken():
    e, noise = torch.randn(3, 64), torch.randn(3, 64)
    noisy = 2.5 * e + 0.1 * (2.5 * e).norm(dim=1, keepdim=True) * noise
    torch.testing.assert_close(condition(e, replace(FREE, strength=2.5), noise, 0.1), noisy)
    torch.testing.assert_close(condition(e, Controls()), e / e.norm(dim=1, keepdim=True))


@pytest.fixture(scope="module")
def checkpoint():
    """A generator that depends on e, with a gender probe along the first element."""
    torch.manual_seed(0)
    first = ConvEncoderConfig(channels=(8, 8, 8, 8), embedding=6)
    second = R3GANGeneratorConfig(embedding=6, width=4, z_dim=4)
    controls = replace(FREE, residual_std=(0.0, 0.5, 1.0, 1.0, 1.0, 1.0))
    encoder, generator = build_encoder(first).eval(), build_generator(second).eval()
    for block in generator.blocks:
        for layer in block:
            torch.nn.init.normal_(layer.second.weight, std=0.2)
            torch.nn.init.normal_(layer.gain.weight, std=0.3)
    torch.nn.init.normal_(generator.to_rgb.weight, std=0.1)
    probe = torch.tensor([2.0, 0, 0, 0, 0, 0, 0.3])
    made = Checkpoint(first, encoder, second, generator, controls, probe)
    for net in (encoder, generator):
        net.requires_grad_(False)
    return made


@pytest.fixture(scope="module")
def model(checkpoint):
    return VoiceToFace(checkpoint, "small")


def with_settings(checkpoint, **changes):
    return VoiceToFace(replace(checkpoint, controls=replace(checkpoint.controls, **changes)), "small")


# The pipeline


def test_nought_is_the_average_face_whoever_speaks(model, clips):
    first, second = (np.asarray(model.generate(clip, strength=0)[0]) for clip in clips[:2])
    assert np.array_equal(first, second)
    one, other = (np.asarray(model.generate(clip, strength=1)[0], dtype=int) for clip in clips[:2])
    assert np.abs(one - other).max() > 0


def test_more_of_it_leads_further_away(model, clips):
    mel = torch.randn(64, 300, generator=torch.Generator().manual_seed(1))
    e = [model.generator_input(mel, strength) for strength in (1, 2, 4)]
    torch.testing.assert_close(e[1], 2 * e[0])
    torch.testing.assert_close(e[2], 4 * e[0])
    faces = [np.asarray(model.generate(clips[0], strength=x)[0], dtype=int) for x in (0, 1, 4)]
    assert np.abs(faces[2] - faces[0]).mean() > np.abs(faces[1] - faces[0]).mean() > 0


def test_the_predicted_gender_does_not_depend_on_it(model, clips):
    female = [model.generate_detailed(clips[0], strength=x).female for x in (0.5, 1, 3)]
    assert female[0] == female[1] == female[2]


def test_a_gender_asked_for_is_got(model):
    e, _ = model.encode(torch.randn(64, 300))
    female, male = (model.female(model.reflect_gender(e, gender)) for gender in ("female", "male"))
    assert female > 0.5 > male


def test_a_call_leaves_the_model_as_it_was(model, clips):
    """Two requests at once, of other strength and noise, each get the images that they get alone."""
    requests = [{"strength": 0.0}, {"strength": 4.0, "variants": 2}, {"variants": 2, "noise_scale": 0.0}, {}]
    before, alone = model.controls, [images(model, clips[0], request) for request in requests]
    assert len({content for contents in alone for content in contents}) >= 4
    with ThreadPoolExecutor(4) as threads:
        at_once = list(threads.map(lambda request: images(model, clips[0], request), 3 * requests))
    assert at_once == 3 * alone
    assert model.controls is before and images(model, clips[0], {}) == alone[-1]


def images(model, clip, request) -> list[bytes]:
    return [image.tobytes() for image in model.generate(clip, **request)]


def test_without_noise_all_variants_are_the_plain_answer(model, clips):
    plain, *others = images(model, clips[0], {"variants": 3, "noise_scale": 0.0})
    assert others == [plain, plain] and images(model, clips[0], {}) == [plain]
    assert len(set(images(model, clips[0], {"variants": 3}))) == 3


@pytest.mark.parametrize("scale", [-1.0, float("nan"), float("inf")])
def test_a_noise_scale_that_cannot_be(model, clips, scale):
    with pytest.raises(VoiceToFaceError, match="noise_scale must be 0 or more"):
        model.generate(clips[0], noise_scale=scale)


def test_variants_differ_by_the_residual(model):
    e = torch.tensor([1.0, -1, 0, 0, 0, 0])
    variants = model.variant_embeddings(e, 2000, seed=0)
    assert torch.equal(variants[0], e)
    assert (variants[:, 0] == 1).all(), "nothing is open there"
    deviation = variants[1:].std(0)
    assert deviation[2:].mean() == pytest.approx(2 * float(deviation[1]), rel=0.1) and deviation[1] > 0.1
    half = model.variant_embeddings(e, 2000, seed=0, noise_scale=0.5)
    torch.testing.assert_close(half - e, (variants - e) / 2)
    assert torch.equal(variants[:7], model.variant_embeddings(e, 2000, seed=0)[:7])
    assert not torch.equal(variants[1], model.variant_embeddings(e, 2000, seed=1)[1])


def test_without_a_residual_variants_are_not_strengthened_again(checkpoint):
    model = with_settings(checkpoint, strength=3.0, residual_std=(), soft_clip=(0.5,) * 6)
    e = torch.tensor([0.4, -0.4, 0.2, 0.1, 0.3, 0])
    torch.testing.assert_close(model.variant_embeddings(e, 1, seed=0)[0], e)


def test_a_strength_that_cannot_be_set_is_refused(model_folder, model, clips):
    without = VoiceToFace.from_pretrained(model_folder)
    assert without.strength is None
    with pytest.raises(CheckpointError, match="has no strength to set"):
        without.generate(clips[0], strength=2)
    for strength in (-0.5, 11, float("nan")):
        with pytest.raises(VoiceToFaceError, match="strength must be from 0"):
            model.generate(clips[0], strength=strength)


def test_on_the_command_line(cli, checkpoint, clips, tmp_path):
    folder = str(checkpoint.save(tmp_path / "model"))
    for strength in ("0", "3"):
        out = str(tmp_path / f"{strength}.png")
        assert cli("generate", clips[0], "--checkpoint", folder, "--strength", strength, "-o", out).code == 0
    assert (tmp_path / "0.png").read_bytes() != (tmp_path / "3.png").read_bytes()
    assert cli("generate", clips[0], "--checkpoint", folder, "--strength", "-1").code == 2
    variants = ("--variants", "2", "--noise-scale", "0", "-o", str(tmp_path / "v.png"))
    assert cli("generate", clips[0], "--checkpoint", folder, *variants).code == 0
    first, second = (np.asarray(Image.open(tmp_path / f"v-{k}.png")) for k in (1, 2))
    assert np.array_equal(first, second)
