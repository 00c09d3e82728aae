"""`v2f-gan generate`: what is written where, and what is said when nothing can be."""

import json
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from voice2face_gan.models.checkpoint import load_checkpoint


@pytest.fixture
def generate(cli, model_folder):
    """Function (*arguments) -> Result, with the tests' checkpoint."""

    def call(*arguments, **more):
        return cli("generate", "--checkpoint", model_folder, *arguments, **more)

    call.here = cli.here
    return call


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG" and image.mode == "RGB"
        return np.asarray(image).astype(int)


def files(folder) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def one_sentence(result) -> str:
    """The only error of a call that wrote nothing."""
    assert result.code == 2 and result.stdout == ""
    (line,) = [x for x in result.stderr.splitlines() if x.startswith("Error: ")]
    assert line.endswith((".", "?", ")"))
    return line


def test_one_clip(generate, clips):
    result = generate(clips[0])
    assert result.code == 0 and result.stdout == ""
    assert files(generate.here) == ["spk0.png"]
    assert pixels(generate.here / "spk0.png").shape == (64, 64, 3)
    assert re.search(r"s of speech in 3\.0 s, at -\d+ dB -> spk0\.png", result.stderr)
    assert "Synthetic" in result.stderr


def test_the_image_says_what_it_is(generate, clips):
    generate(clips[0], "--seed", 7, "--variants", 2)
    with Image.open(generate.here / "spk0-2.png") as image:
        text = image.text
    assert text["Synthetic"].startswith("yes") and text["Checkpoint"] == "painter"
    assert text["Seed"] == "7" and text["Variant"] == "2" and text["Software"].startswith("voice2face-gan 0")


def test_names_size_and_json(generate, clips):
    result = generate(clips[0], "-o", "new/face.png", "--size", 100, "--json")
    assert result.code == 0 and pixels(generate.here / "new" / "face.png").shape == (100, 100, 3)
    told = json.loads(result.stdout)
    assert told["checkpoint"] == "painter" and told["errors"] == []
    (face,) = told["faces"]
    assert face["files"] == ["new/face.png"] and face["clip"] == str(clips[0])
    assert face["seconds"] == pytest.approx(3) and 1 < face["speech_seconds"] <= 3
    assert -60 < face["speech_level_db"] < 0
    assert 0 <= face["female_probability"] <= 1
    told = [face[f"{name}_probability"] for name in ("speech", "child", "several_voices")]
    assert told == [None] * 3  # no probes


def test_many_clips_into_a_folder(generate, clips):
    result = generate(*clips, "-o", "faces", "--json")
    assert result.code == 0 and "6 made, 0 failed" in result.stderr
    assert files(generate.here) == [f"faces/spk{i}.png" for i in range(6)]
    assert len(json.loads(result.stdout)["faces"]) == 6
    faces = [pixels(generate.here / "faces" / f"spk{i}.png") for i in range(6)]
    assert all(np.abs(faces[i] - faces[j]).max() > 20 for i in range(6) for j in range(i))


def test_neighbours_do_not_matter(generate, clips, tmp_path):
    generate(*clips, "-o", "together")
    (tmp_path / "bad.wav").write_text("no sound")
    generate(clips[5], tmp_path / "bad.wav", clips[3], clips[1], "-o", "some")
    for i in range(6):
        generate(clips[i], "-o", "alone")
        alone = pixels(generate.here / "alone" / f"spk{i}.png")
        for other in ("together", "some"):
            path = generate.here / other / f"spk{i}.png"
            if path.exists():
                assert np.abs(pixels(path) - alone).max() <= 1


def test_variants_differ_and_a_seed_repeats_them(generate, clips):
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert generate(clips[0], "--variants", 3, "--seed", seed, "-o", folder).code == 0
    a, b, c = ([pixels(generate.here / f / f"spk0-{k}.png") for k in (1, 2, 3)] for f in "abc")
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert all(np.abs(a[i] - a[j]).max() > 3 for i in range(3) for j in range(i))
    assert np.abs(a[1] - c[1]).max() > 3
    generate(clips[0], "-o", "plain")
    assert (
        np.abs(pixels(generate.here / "plain" / "spk0.png") - a[0]).max() <= 1
    )  # the first is the plain answer
    assert np.array_equal(a[0], c[0])


def test_many_variants_go_in_several_batches(generate, clips):
    assert generate(clips[0], clips[1], "--variants", 20).code == 0
    assert len(files(generate.here)) == 40
    generate(clips[1], "--variants", 20, "-o", "alone")
    for k in (1, 17, 20):
        together, alone = (pixels(generate.here / f / f"spk1-{k}.png") for f in (".", "alone"))
        assert np.abs(together - alone).max() <= 1


def test_equal_stems_and_repeated_clips(generate, clips, tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        shutil.copy(clips[0], tmp_path / folder / "a.wav")
    os.chdir(tmp_path / "x")
    result = generate(
        "a.wav", "./a.wav", tmp_path / "y" / ".." / "x" / "a.wav", tmp_path / "y" / "a.wav", "-o", "out"
    )
    assert result.code == 0 and "2 made, 0 failed" in result.stderr
    assert files(tmp_path / "x" / "out") == ["x-a.png", "y-a.png"]


def test_a_grid(generate, clips):
    result = generate(*clips[:3], "--grid", "--variants", 2, "-o", "sheet.png", "--json")
    assert result.code == 0 and files(generate.here) == ["sheet.png"]
    sheet = pixels(generate.here / "sheet.png")
    assert sheet.shape == (3 * 66 - 2, 2 * 66 - 2, 3)
    assert json.loads(result.stdout)["grid"] == "sheet.png"
    generate(clips[1])
    assert np.abs(sheet[66:130, :64] - pixels(generate.here / "spk1.png")).max() <= 1
    with Image.open(generate.here / "sheet.png") as image:
        assert "Synthetic" in image.text
    assert generate(clips[0], "--grid").code == 0 and (generate.here / "grid.png").exists()
    assert "exists and is kept" in one_sentence(generate(clips[0], "--grid"))


def test_a_image_that_exists_is_kept(generate, clips):
    generate(clips[0], "-o", "face.png")
    before = (generate.here / "face.png").read_bytes()
    assert "face.png exists and is kept; add --force" in one_sentence(generate(clips[1], "-o", "face.png"))
    assert (generate.here / "face.png").read_bytes() == before
    assert generate(clips[1], "-o", "face.png", "--force").code == 0
    assert (generate.here / "face.png").read_bytes() != before
    assert files(generate.here) == ["face.png"]


def test_among_several_only_the_new_ones_are_written(generate, clips):
    (generate.here / "spk0.png").write_text("mine")
    result = generate(*clips[:3])
    assert result.code == 2 and "2 made, 1 failed" in result.stderr
    assert files(generate.here) == ["spk0.png", "spk1.png", "spk2.png"]
    assert (generate.here / "spk0.png").read_text() == "mine"
    (generate.here / "spk1-2.png").write_text("mine")  # one variant of several
    assert generate(clips[1], "--variants", 2).code == 2
    assert not (generate.here / "spk1-1.png").exists()


def test_gender_as_told(generate, clips, model_folder, model):
    from voice2face_gan.audio.voice import voice_features

    for gender in ("auto", "female", "male"):
        assert generate(*clips, "--gender", gender, "-o", gender).code == 0
    moved = 0
    for i, clip in enumerate(clips):
        e, _ = model.encode(voice_features(clip).encoder_input)
        auto, female, male = (pixels(generate.here / g / f"spk{i}.png") for g in ("auto", "female", "male"))
        same, other = (female, male) if model.female(e) > 0.5 else (male, female)
        assert np.array_equal(auto, same)
        moved += not np.array_equal(auto, other)
    assert moved >= 4


def test_a_checkpoint_of_one_gender(cli, model_folder, clips, tmp_path):
    checkpoint = load_checkpoint(model_folder)
    checkpoint.gender_probe = None
    checkpoint.info["gender"] = "female"
    folder = checkpoint.save(tmp_path / "women")
    assert cli("generate", clips[0], "--checkpoint", folder, "--gender", "female").code == 0
    result = cli("generate", clips[0], "--checkpoint", folder, "--gender", "male", "-o", "x")
    assert "trained on female voices and faces only" in one_sentence(result)
    checkpoint.info["gender"] = "all"
    checkpoint.save(folder)
    result = cli("generate", clips[0], "--checkpoint", folder, "--gender", "male", "-o", "x")
    assert "cannot choose a gender" in one_sentence(result)
    assert not (cli.here / "x").exists()


# Names as people have them


@pytest.mark.parametrize(
    "name", ["with space.wav", "Zoë 声.wav", "-dash.wav", "--force.wav", "a;b'c\"d.wav", "%d.wav"]
)
def test_odd_names(generate, clips, name):
    shutil.copy(clips[0], generate.here / name)
    result = generate(name, "--json")
    assert result.code == 0, result.stderr
    (face,) = json.loads(result.stdout)["faces"]
    assert (generate.here / face["files"][0]).is_file()
    assert os.path.basename(face["files"][0]) == name.replace(".wav", ".png")


def test_clips_whose_names_are_options(generate, clips):
    """A file named like an option of ours stays the option; others may follow --."""
    for name in ("-x", "-q1.wav"):
        shutil.copy(clips[0], generate.here / name)
    assert generate("-x", "-q1.wav", "-o", "out").code == 0
    assert files(generate.here / "out") == ["-q1.png", "-x.png"]
    assert generate("-o", "out2", "--", "-x").code == 0
    assert files(generate.here / "out2") == ["-x.png"]


def test_long_names(generate, clips):
    longest = "n" * 251  # with ".png" the most that file systems take
    shutil.copy(clips[0], generate.here / (longest + ".wav"))
    assert generate(longest + ".wav").code == 0
    assert (generate.here / (longest + ".png")).is_file()
    result = generate(longest + ".wav", clips[1], "--variants", 2)
    assert result.code == 2 and "cannot be written (File name too long)" in result.stderr
    assert (generate.here / "spk1-2.png").is_file()


def test_a_name_that_is_no_text(generate, clips):
    name = os.fsdecode(b"caf\xe9.wav")  # Latin-1 on a UTF-8 system
    shutil.copy(clips[0], generate.here / name)
    result = generate(name, "--json")
    assert result.code == 0
    assert json.loads(result.stdout)["faces"][0]["clip"] == name
    assert (generate.here / os.fsdecode(b"caf\xe9.png")).is_file()


# What cannot be heard


def broken(kind, folder, voices, write_wav):
    path = folder / f"{kind}.wav"
    if kind == "silence":
        write_wav(path, np.zeros(48_000))
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "header alone":
        write_wav(path, np.zeros(0))
    elif kind == "text":
        path.write_text("I am no sound at all.\n" * 50)
    elif kind == "short":
        write_wav(path, voices[0][:1600])
    elif kind == "mp4":
        from voice2face_gan.bench.generate import encode

        content = encode(voices[0], "m4a")
        path.write_bytes(content[: len(content) // 2])
    return path  # "missing": not made


@pytest.mark.parametrize("kind", ["silence", "empty", "header alone", "text", "short", "mp4", "missing"])
def test_what_cannot_be_heard_ends_in_one_sentence(generate, voices, write_wav, tmp_path, kind):
    path = broken(kind, tmp_path, voices, write_wav)
    assert path.name in one_sentence(generate(path))
    assert files(generate.here) == []
    result = generate(path, "-o", "new/face.png", "--json")
    assert result.code == 2 and files(generate.here) == [] and not (generate.here / "new").exists()
    told = json.loads(result.stdout)
    assert told["faces"] == [] and told["errors"][0]["clip"] == str(path)


def test_a_bad_clip_among_good_ones(generate, clips, tmp_path):
    (tmp_path / "bad.wav").write_text("no sound")
    result = generate(clips[0], tmp_path / "bad.wav", clips[1], tmp_path / "none.wav", clips[2], "--json")
    assert result.code == 2 and "3 made, 2 failed" in result.stderr
    assert files(generate.here) == ["spk0.png", "spk1.png", "spk2.png"]
    told = json.loads(result.stdout)
    assert [os.path.basename(e["clip"]) for e in told["errors"]] == ["bad.wav", "none.wav"]
    assert result.stderr.count("Error: ") == 2
    result = generate(tmp_path / "bad.wav", clips[3], "--grid")
    assert result.code == 2 and pixels(generate.here / "grid.png").shape == (64, 64, 3)


def test_white_noise_gives_a_face_with_a_warning_or_a_sentence(generate, write_wav, tmp_path):
    noise = np.random.default_rng(0).standard_normal(80_000)
    for level in (0.003, 0.1, 0.3):
        path = write_wav(tmp_path / f"noise{level}.wav", level * noise)
        result = generate(path, "--json")
        told = json.loads(result.stdout)
        if result.code == 0:
            assert "steady noise" in told["faces"][0]["warning"] and "Warning: " in result.stderr
        else:
            assert result.code == 2 and "s of speech found" in told["errors"][0]["error"]


def test_little_speech_is_warned_of(generate, voices, write_wav, tmp_path):
    result = generate(write_wav(tmp_path / "brief.wav", voices[0][:16_000]), "--json")
    assert (
        result.code == 0
        and "s or more give a steadier face" in json.loads(result.stdout)["faces"][0]["warning"]
    )


def test_what_probes_tell_is_printed(cli, model_folder, clips, tmp_path):
    import torch

    checkpoint = load_checkpoint(model_folder)
    size = checkpoint.encoder_config.feature_size + 1
    checkpoint.probes = {k: torch.zeros(size) for k in ("speech", "child")}
    checkpoint.probes["child"][-1] = 3.0
    folder = checkpoint.save(tmp_path / "probed")
    result = cli("generate", clips[0], "--checkpoint", folder, "--json")
    (face,) = json.loads(result.stdout)["faces"]
    assert face["speech_probability"] == 0.5 and face["child_probability"] == pytest.approx(0.9526, abs=1e-4)
    assert "Warning: " in result.stderr and "child's voice" in result.stderr


# Where nothing can be written


def test_a_folder_that_cannot_be_made(generate, clips):
    (generate.here / "file").write_text("x")
    for output in ("file/sub", "/proc/nowhere/face.png"):
        result = (
            generate(clips[0], clips[1], "-o", output)
            if output == "file/sub"
            else generate(clips[0], "-o", output)
        )
        assert result.code == 2 and "cannot be written" in result.stderr
    assert "is a file that exists" in one_sentence(generate(clips[0], "-o", "file"))
    assert files(generate.here) == ["file"]


def test_a_full_disk(generate, clips, full_disk):
    generate(clips[0])
    before = (generate.here / "spk0.png").read_bytes()
    with full_disk(500):
        result = generate(clips[0], clips[1], "--force")
    assert result.code == 2 and result.stderr.count("cannot be written (File too large)") == 2
    assert files(generate.here) == ["spk0.png"] and (generate.here / "spk0.png").read_bytes() == before


# Options


def test_wrong_checkpoints_and_devices(cli, clips, trained, tmp_path):
    for checkpoint, words in (
        (tmp_path / "none", "no such checkpoint"),
        (tmp_path, "not a checkpoint"),
        (trained / "encoder", "voice encoder alone"),
    ):
        assert words in one_sentence(cli("generate", clips[0], "--checkpoint", checkpoint))
    for device in ("gpu", "cuda:99", "xyz", ""):
        assert "no such device" in one_sentence(
            cli("generate", clips[0], "--checkpoint", trained, "--device", device)
        )
    assert files(cli.here) == []


def test_a_run_folder_is_a_checkpoint(cli, clips, trained):
    assert cli("generate", clips[0], "--checkpoint", trained).code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--variants", 0],
        ["--size", 3],
        ["--seed", -1],
        ["--seed", 10**20],
        ["--gender", "x"],
        ["--bogus"],
    ],
)
def test_wrong_options_are_refused(generate, clips, arguments):
    result = generate(*([clips[0]] if arguments else []), *arguments)
    assert result.code == 2 and "Usage" in result.stderr and files(generate.here) == []


def test_the_largest_seed(generate, clips):
    assert generate(clips[0], "--variants", 2, "--seed", 2**63 - 2).code == 0


def test_ctrl_c(cli, clips, monkeypatch):
    from voice2face_gan.pipeline import VoiceToFace

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(VoiceToFace, "from_pretrained", interrupt)
    result = cli("generate", clips[0])
    assert result.code == 130 and "Interrupted" in result.stderr
