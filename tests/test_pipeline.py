"""The Python API, called by `generate`, notebooks and the web page."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import voice2face_gan
from voice2face_gan import VoiceToFace, VoiceToFaceError, load_audio
from voice2face_gan.audio.decoding.info import AudioInfo
from voice2face_gan.audio.level import TARGET_LEVEL_DB
from voice2face_gan.audio.voice import VoiceFeatures, voice_features
from voice2face_gan.errors import AudioError, CheckpointError, NoSpeechError, OutputError
from voice2face_gan.faces.png import write_png
from voice2face_gan.models.checkpoint import load_checkpoint
from voice2face_gan.models.conditioning import Controls
from voice2face_gan.recording_warnings import recording_warning
from voice2face_gan.results import Generation


def apart(a: Image.Image, b: Image.Image) -> int:
    """The largest difference of two images."""
    return int(np.abs(np.asarray(a, dtype=int) - np.asarray(b, dtype=int)).max())


def test_the_public_names():
    assert set(dir(voice2face_gan)) == set(voice2face_gan.__all__)
    assert voice2face_gan.VoiceToFace is VoiceToFace and callable(load_audio)
    with pytest.raises(AttributeError, match="no attribute 'Voice2Face'"):
        voice2face_gan.Voice2Face  # noqa: B018


def test_images(model, clips):
    (face,) = model.generate(clips[0])
    assert isinstance(face, Image.Image) and face.size == (64, 64) and face.mode == "RGB"
    assert len(model.generate(clips[0], variants=3)) == 3
    assert model.generate(clips[0], size=128)[0].size == (128, 128)
    assert face.info["Synthetic"].startswith("yes")


def test_a_face_is_written_with_its_metadata(model, clips, tmp_path):
    face = model.generate(clips[0], variants=2, seed=3)[1]
    write_png(tmp_path / "new" / "face.png", face)
    with Image.open(tmp_path / "new" / "face.png") as read:
        assert read.text == face.info and apart(read, face) == 0
        assert read.text["Checkpoint"] == "painter" and (read.text["Seed"], read.text["Variant"]) == (
            "3",
            "2",
        )
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_png(tmp_path / "file" / "face.png", face)


def test_a_generation_as_json():
    audio = AudioInfo(tracks=2, track=1, notes=["track 1 of 2"])
    made = Generation(
        "a.wav", 3.00049, 2.0, 0.12345, [], "odd", speech=0.5, audio=audio, speech_level_db=-20.04
    )
    assert json.loads(json.dumps(made.to_dict())) == {
        "seconds": 3.0,
        "speech_seconds": 2.0,
        "speech_level_db": -20.0,
        "female_probability": 0.1235,
        "speech_probability": 0.5,
        "child_probability": None,
        "several_voices_probability": None,
        "audio_tracks": 2,
        "audio_track": 1,
        "audio_note": "track 1 of 2",
        "warning": "odd",
    }
    assert "audio_note" not in Generation("a.wav", 1.0, 1.0, None, []).to_dict()


def test_a_clip_may_come_in_any_form(model, clips, voices):
    (face,) = model.generate(clips[0])
    content = clips[0].read_bytes()
    for other in (str(clips[0]), content, (load_audio(clips[0]), 16_000)):
        assert apart(model.generate(other)[0], face) <= 1
    with clips[0].open("rb") as file:
        assert apart(model.generate(file)[0], face) <= 1
    assert apart(model.generate((voices[0], 16_000))[0], face) <= 4  # not rounded to 16 bits


def test_a_clip_alone_and_among_others(model, clips):
    together = [
        generation.faces for generation in model.generate_many(clips, variants=4)
    ]  # more than one batch
    for clip, faces in zip(clips, together, strict=True):
        assert max(apart(*pair) for pair in zip(model.generate(clip, variants=4), faces, strict=True)) <= 1


def test_errors_come_in_their_place(model, clips, tmp_path):
    silence = (np.zeros(48_000, dtype=np.float32), 16_000)
    generation = list(model.generate_many([clips[0], tmp_path / "none.wav", silence, clips[1]]))
    assert isinstance(generation[1], AudioError) and isinstance(generation[2], NoSpeechError)
    assert [generation[0].name, generation[3].name] == ["spk0.wav", "spk1.wav"]
    assert list(model.generate_many([])) == []
    with pytest.raises(NoSpeechError) as caught:
        model.generate(silence)
    assert caught.value.found == 0 and caught.value.needed > 0


def test_clips_are_asked_for_as_they_are_needed(model, clips):
    """Memory is bounded: a thousand clips are not opened before the first face is given."""
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield clips[0]

    generation = model.generate_many(endless())
    next(generation)
    assert len(taken) <= 16


def test_a_generation_holds_what_was_found(model, clips):
    generation = model.generate_detailed(clips[0])
    assert (
        generation.seconds == pytest.approx(3, abs=0.01)
        and 1 < generation.speech_seconds <= generation.seconds
    )
    assert 0 <= generation.female <= 1 and generation.warning == ""


# Warnings


@pytest.fixture
def probed(model):
    """Function (speech=..., child=...) -> the model with probes that always give these probabilities."""

    def make(**wanted: float) -> VoiceToFace:
        other = copy.copy(model)
        other.checkpoint = copy.copy(model.checkpoint)
        size = model.checkpoint.encoder_config.feature_size + 1
        other.checkpoint.probes = {k: torch.zeros(size) for k in wanted}
        for name, value in wanted.items():
            other.checkpoint.probes[name][-1] = float(torch.logit(torch.tensor(value)))
        return other

    return make


def test_without_probes_there_are_no_probabilities(model, clips):
    generation = model.generate_detailed(clips[0])
    assert generation.speech is None and generation.child is None


@pytest.mark.parametrize(
    ("speech", "child", "warning"),
    [
        (0.51, 0.79, ""),
        (0.49, 0.1, "it does not sound like speech; the face means little"),
        (0.49, 0.99, "it does not sound like speech; the face means little"),
        (0.9, 0.81, "this may be a child's voice; the face shown is a young adult's"),
    ],
)
def test_probabilities_of_the_probes_become_warnings(probed, model, clips, speech, child, warning):
    generation = probed(speech=speech, child=child).generate_detailed(clips[0])
    assert generation.speech == pytest.approx(speech, abs=1e-4) and generation.child == pytest.approx(
        child, abs=1e-4
    )
    assert generation.warning == warning
    assert apart(generation.faces[0], model.generate(clips[0])[0]) == 0  # probes change no face


def test_the_probes_read_the_features_of_this_voice(model, probed, clips):
    other = probed(speech=0.5)
    torch.manual_seed(0)
    weights = other.checkpoint.probes["speech"][:-1].normal_()
    for generation, clip in zip(other.generate_many(clips), clips, strict=True):
        features = model.encoder.features(voice_features(clip).encoder_input[None])[0]
        assert generation.speech == pytest.approx(float(torch.sigmoid(features @ weights)), abs=1e-5)
        assert generation.child is None


def test_several_speakers_are_warned_of(model, clips):
    """The probe reads the similarity of the segments."""
    other = copy.copy(model)
    other.checkpoint = copy.copy(model.checkpoint)
    other.encoder = copy.copy(model.encoder)
    agreement = torch.tensor([0.6])
    other.encoder.with_agreement = lambda mel: (*model.encoder.with_features(mel), agreement)
    other.checkpoint.probes = {"several": torch.tensor([-20.0, 16.0])}
    generation = other.generate_detailed(clips[0])
    assert generation.several == pytest.approx(float(torch.sigmoid(torch.tensor(4.0))), abs=1e-5)
    assert generation.warning.startswith("more than one person seems to speak") and generation.child is None
    assert apart(generation.faces[0], model.generate(clips[0])[0]) == 0
    agreement += 0.1
    assert other.generate_detailed(clips[0]).warning == ""


def test_steady_noise_is_warned_of_at_any_probability(model, probed):
    noise = 0.1 * np.random.default_rng(0).standard_normal(80_000).astype(np.float32)
    for other in (model, probed(speech=0.9), probed(child=0.1), probed(speech=0.1)):
        assert "steady noise" in other.generate_detailed((noise, 16_000)).warning


def test_little_variation_is_steady_noise_only_without_a_probe():
    voice = VoiceFeatures(torch.zeros(64, 1), 3.0, 3.0, 0.9, variety=0.6)
    assert "steady noise" in recording_warning(voice) and recording_warning(voice, speech=0.9) == ""
    short = VoiceFeatures(torch.zeros(64, 1), 3.0, 0.4, 2.0, variety=0.2, bands=2)
    assert recording_warning(short).startswith("only 0.4 s")


def test_the_level_of_the_speech_is_given(model, voices):
    loud, soft = (model.generate_detailed((voices[0] * np.float32(k), 16_000)) for k in (1, 0.5))
    assert -60 < loud.speech_level_db < 0
    assert soft.speech_level_db == pytest.approx(loud.speech_level_db - 6, abs=0.5)


def test_very_soft_speech_is_warned_of():
    warnings = [
        recording_warning(VoiceFeatures(torch.zeros(64, 1), 3.0, 3.0, 2.0, speech_level_db=level))
        for level in (-61, -59, None)
    ]
    assert warnings == ["the speech is very soft (-61 dB); a louder recording gives a steadier face", "", ""]


def test_the_shipped_model_raises_soft_speech():
    """The default does; the model of the synthetic world, trained on synthetic voices alone, does not."""
    assert load_checkpoint("default").vad["target_level_db"] == TARGET_LEVEL_DB
    assert "target_level_db" not in load_checkpoint("synthetic").vad


def test_a_checkpoint_decides_whether_soft_speech_is_raised(model_folder, voices):
    checkpoint = load_checkpoint(model_folder)
    soft = (voices[0] * np.float32(0.004), 16_000)
    checkpoint.vad = dict.fromkeys(("target_level_db",), -20.0)
    raised = VoiceToFace(checkpoint, "raised")
    checkpoint.vad = {}
    plain = VoiceToFace(checkpoint, "plain")
    assert raised.vad.target_level_db == -20 and plain.vad.target_level_db is None
    assert raised.generate_detailed(soft).speech_seconds > plain.generate_detailed(soft).speech_seconds + 0.2


def test_little_speech_of_a_child_is_two_warnings(probed, voices):
    generation = probed(speech=0.9, child=0.95).generate_detailed((voices[0][:16_000], 16_000))
    assert generation.speech_seconds < 2
    assert (
        "s of speech; 2 s or more" in generation.warning
        and "; this may be a child's voice" in generation.warning
    )


@pytest.mark.parametrize(("seconds", "said"), [(1.98, "only 1.9 s"), (0.3, "only 0.3 s"), (2.0, "")])
def test_seconds_of_speech_are_rounded_down(seconds, said):
    """ "Only 2.0 s, 2 s or more are better" would be nonsense."""
    warning = recording_warning(VoiceFeatures(torch.zeros(64, 1), 3.0, seconds, 2.0))
    assert warning.startswith(said) and bool(warning) == bool(said)


def test_less_than_three_tenths_of_a_second_of_speech_is_refused(model, voices):
    def parts():
        for start in range(0, 32_000, 1600):
            for samples in range(1600, 16_000, 800):
                yield voices[0][start : start + samples], 16_000

    refused, made = [], []
    for part in parts():
        try:
            made.append(voice_features(part).speech_seconds)
        except NoSpeechError as error:
            refused.append(error.found)
            with pytest.raises(NoSpeechError, match="0.30 s needed"):
                model.generate_detailed(part)
        if len(refused) > 3 and len(made) > 3 and max(refused) > 0.2:
            break
    assert max(refused) < 0.3 <= min(made)


@pytest.mark.parametrize("options", [{"variants": 0}, {"gender": "woman"}, {"variants": -1}])
def test_wrong_options_are_refused(model, clips, options):
    with pytest.raises(VoiceToFaceError):
        model.generate(clips[0], **options)


def test_variants_are_as_far_from_the_voice_as_training_was(model):
    torch.manual_seed(0)
    e = F.normalize(torch.randn(64), dim=0)
    made = model.variant_embeddings(e, 400, seed=0)
    assert torch.allclose(made[0], e, atol=1e-6)
    assert torch.allclose(made.norm(dim=1), torch.ones(400), atol=1e-5)
    assert float((made[1:] @ e).mean()) == pytest.approx((1 + 63 * 0.05**2) ** -0.5, abs=0.005)
    assert torch.equal(
        model.variant_embeddings(e, 5, seed=0), made[:5]
    )  # more variants leave the first as they were


def test_a_model_without_noise_of_its_own_varies_too(model, clips):
    paper = copy.copy(model)
    paper.controls = Controls(normalise_embedding=False, embedding_noise_std=0.0)
    e = torch.randn(64) * 3
    made = paper.variant_embeddings(e, 200, seed=1)
    assert torch.equal(made[0], e)
    assert float(((made[1:] - e) / e.norm()).std()) == pytest.approx(0.05, rel=0.1)


# Gender


@pytest.fixture
def with_probe(model):
    """Function (weights, bias, normalise) -> the model with such a probe."""

    def make(weights: torch.Tensor, bias: float, normalise: bool = True) -> VoiceToFace:
        other = copy.copy(model)
        other.checkpoint = copy.copy(model.checkpoint)
        other.checkpoint.gender_probe = torch.cat([weights, torch.tensor([bias])])
        other.controls = replace(model.controls, normalise_embedding=normalise)
        return other

    return make


@pytest.mark.parametrize("share", [0.0, 0.4, -0.4, 0.85, -0.85])
@pytest.mark.parametrize("normalise", [True, False])
def test_gender_moves_to_the_side_asked_for(with_probe, share, normalise):
    """Wherever the boundary lies: `share` is its distance from the origin, the voices' is 1."""
    torch.manual_seed(0)
    weights = torch.randn(64) * 30
    model = with_probe(weights, float(share * weights.norm()), normalise)
    direction = weights / weights.norm()
    for _ in range(50):
        # Near the boundary, as voices are, on either side of it.
        along = (-share + 0.03 * torch.randn(())).clamp(-0.99, 0.99)
        across = torch.randn(64)
        across = F.normalize(across - (across @ direction) * direction, dim=0)
        e = along * direction + (1 - along**2).sqrt() * across
        margin = float(e @ weights + share * weights.norm())
        for gender, sign in (("female", 1), ("male", -1)):
            moved = model.reflect_gender(e, gender)
            new = float(moved @ weights + share * weights.norm())
            assert new * sign > 0
            if margin * sign > 0:
                assert torch.equal(moved, e)
            else:
                assert new == pytest.approx(-margin, rel=1e-2, abs=1e-2)
                left, was = moved - (moved @ direction) * direction, e - along * direction
                assert float(F.cosine_similarity(left, was, dim=0)) == pytest.approx(1, abs=1e-4)
            if normalise:
                assert float(moved.norm()) == pytest.approx(1, abs=1e-4)
        assert torch.equal(model.reflect_gender(e, "auto"), e)


def test_a_boundary_beyond_every_embedding(with_probe):
    """The nearest embedding is given, a vector of finite numbers."""
    weights = torch.zeros(64)
    weights[0] = 1.0
    model = with_probe(weights, 0.8)
    e = F.normalize(torch.tensor([1.0] + [0.1] * 63), dim=0)
    moved = model.reflect_gender(e, "male")
    assert moved.isfinite().all() and float(moved.norm()) == pytest.approx(1, abs=1e-5)
    assert float(moved[0]) == pytest.approx(-1)


def test_the_probability_agrees_with_the_side(model, clips):
    for generation in model.generate_many(clips):
        side = "female" if generation.female > 0.5 else "male"
        assert (
            apart(
                model.generate(next(c for c in clips if c.name == generation.name), gender=side)[0],
                generation.faces[0],
            )
            <= 1
        )


# Loading


def test_from_pretrained(model_folder, trained, tmp_path):
    assert VoiceToFace.from_pretrained(model_folder).name == "painter"
    assert VoiceToFace.from_pretrained(str(trained)).name == "gan-0000030"
    with pytest.raises(CheckpointError):
        VoiceToFace.from_pretrained(tmp_path / "none")


def test_wrong_vad_settings_are_a_sentence(model_folder):
    for vad in ({"agressiveness": 3}, {"aggressiveness": 9}):
        checkpoint = load_checkpoint(model_folder)
        checkpoint.vad = vad
        with pytest.raises(CheckpointError, match="vad settings"):
            VoiceToFace(checkpoint, "x")


def test_half_precision_gives_nearly_the_same_face(model_folder, model, clips, tmp_path):
    half = VoiceToFace.from_pretrained(load_checkpoint(model_folder).save(tmp_path / "half", half=True))
    assert apart(half.generate(clips[0])[0], model.generate(clips[0])[0]) <= 3


# What ships


@pytest.mark.parametrize("unit_norm", [True, False])
def test_a_morph_goes_from_one_plain_answer_to_the_other(model, clips, unit_norm):
    """Its ends are the faces of `generate`; between them the inputs of the generator are means."""
    v2f = copy.copy(model)
    v2f.controls = replace(model.controls, normalise_embedding=unit_norm)
    decoded = []
    v2f.decode = lambda e, *z, **options: decoded.append(e) or VoiceToFace.decode(v2f, e, *z, **options)
    images = v2f.interpolate(clips[0], clips[1], 5)
    assert len(images) == 5 and images[0].info["Morph"] == "1 of 5"
    for clip, image in ((clips[0], images[0]), (clips[1], images[-1])):
        assert apart(v2f.generate(clip)[0], image) <= 1  # decoded in a batch of another size
    a, b = (v2f.condition(v2f.embed_clip(clip)) for clip in clips[:2])
    middle = F.normalize((a + b) / 2, dim=0) if unit_norm else (a + b) / 2
    assert torch.allclose(decoded[0][2], middle, atol=1e-6)
    assert apart(images[2], images[0]) > 2 and apart(images[2], images[-1]) > 2


def test_a_morph_takes_the_options_of_both(model, clips):
    images = model.interpolate(clips[0], clips[1], 2, gender="male", size=96, end=1.5)
    assert [image.size for image in images] == [(96, 96)] * 2
    for clip, image in zip(clips[:2], images, strict=True):
        assert apart(model.generate(clip, gender="male", size=96, end=1.5)[0], image) <= 1
    with pytest.raises(VoiceToFaceError, match="a morph has 2 images or more, not 1"):
        model.interpolate(clips[0], clips[1], 1)
    with pytest.raises(AudioError, match="no such file"):
        model.interpolate(clips[0], "nothing.wav")


def test_the_default_model_makes_faces(clips):
    """Right after installing: different people, in colour, not noise and not one grey."""
    model = VoiceToFace.from_pretrained("default")
    faces = [np.asarray(generation.faces[0], dtype=int) for generation in model.generate_many(clips)]
    assert model.name == "default"
    assert all(face.std() > 15 for face in faces)
    assert all(np.abs(np.diff(face, axis=0)).mean() < 25 for face in faces)
    assert all(np.abs(faces[i] - faces[j]).max() > 10 for i in range(6) for j in range(i))
    variants = model.generate(clips[0], variants=2)
    assert apart(*variants) > 3


@pytest.mark.slow
def test_the_synthetic_model_gets_the_gender_of_new_speakers():
    """At least nine of ten of 200 held-out synthetic speakers, as the shipped face classifier reads it."""
    from voice2face_gan.data.synthetic import synthetic_store
    from voice2face_gan.evaluation import compute
    from voice2face_gan.evaluation.protocol import generate_eval_set

    eval_set = generate_eval_set(VoiceToFace.from_pretrained("synthetic"), synthetic_store())
    assert eval_set.about["identities"] >= 200 and not eval_set.about["trained_on"]
    assert eval_set.reader.about["held_out"]["synthetic"]["gender_accuracy"] > 0.97
    assert compute("gender", eval_set)["generated"].value >= 90
