"""`v2f-gan generate` with folders, several recordings of one speaker, streams and JSON lines."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def generate(cli, model_folder):
    """Function (*arguments) -> Result, with the tests' checkpoint."""

    def call(*arguments, **more):
        return cli("generate", "--checkpoint", model_folder, *arguments, **more)

    call.here = cli.here
    return call


@pytest.fixture
def recordings(generate, clips):
    """rec: spk0.wav, sub/spk1.wav, sub/deep/memo (no ending), notes, an image, a hidden clip."""
    folder = generate.here / "rec"
    (folder / "sub" / "deep").mkdir(parents=True)
    shutil.copy(clips[0], folder / "spk0.wav")
    shutil.copy(clips[1], folder / "sub" / "spk1.wav")
    shutil.copy(clips[2], folder / "sub" / "deep" / "memo")
    shutil.copy(clips[3], folder / ".hidden.wav")
    (folder / "spk0.txt").write_text("what was said\n")
    Image.new("RGB", (8, 8)).save(folder / "sub" / "photo.png")
    return folder


def files(folder) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


# Folders


def test_a_folder_in_and_a_folder_out(generate, recordings, clips):
    result = generate("rec", "-o", "faces", "--json")
    assert result.code == 0, result.stderr
    assert files(generate.here / "faces") == ["spk0.png", "sub/deep/memo.png", "sub/spk1.png"]
    assert "3 made, 2 skipped (no recordings), 0 failed in " in result.stderr
    told = json.loads(result.stdout)
    assert [face["clip"] for face in told["faces"]] == [
        "rec/spk0.wav",
        "rec/sub/spk1.wav",
        "rec/sub/deep/memo",
    ]
    assert told["skipped"] == 2 and told["kept"] == told["errors"] == [] and told["seconds"] > 0
    generate(clips[2])
    alone = pixels(generate.here / "spk2.png")
    assert np.abs(pixels(generate.here / "faces/sub/deep/memo.png") - alone).max() <= 1


def test_a_broken_recording_fails_and_other_files_are_skipped(generate, recordings):
    (recordings / "broken.mp3").write_text("no sound")
    (recordings / "sub" / "empty.wav").write_bytes(b"")
    result = generate("rec", "-o", "faces")
    assert result.code == 2 and "3 made, 2 skipped (no recordings), 2 failed" in result.stderr
    assert "Error: rec/broken.mp3: is text, not a recording" in result.stderr
    assert "Error: rec/sub/empty.wav: " in result.stderr and "spk0.txt" not in result.stderr


def test_an_interrupted_folder_goes_on(generate, recordings):
    assert generate("rec", "-o", "faces").code == 0
    (generate.here / "faces/spk0.png").write_text("mine")
    (generate.here / "faces/sub/spk1.png").unlink()
    result = generate("rec", "-o", "faces")
    assert result.code == 2 and result.stderr.count("exists and is kept; add --force") == 2
    assert (
        "--skip-existing" in result.stderr and "1 made, 2 skipped (no recordings), 2 failed" in result.stderr
    )
    (generate.here / "faces/sub/spk1.png").unlink()
    result = generate("rec", "-o", "faces", "--skip-existing", "--json")
    assert result.code == 0 and "1 made, 2 kept, 2 skipped (no recordings), 0 failed" in result.stderr
    assert json.loads(result.stdout)["kept"] == ["rec/spk0.wav", "rec/sub/deep/memo"]
    assert (generate.here / "faces/spk0.png").read_text() == "mine"
    (recordings / "spk0.txt").unlink()
    (recordings / "sub/photo.png").unlink()
    result = generate("rec", "-o", "faces", "--skip-existing", "--checkpoint", "nothing-is-loaded")
    assert result.code == 0 and "0 made, 3 kept, 0 failed" in result.stderr
    assert generate("rec", "-o", "faces", "--force").code == 0
    assert (generate.here / "faces/spk0.png").read_bytes().startswith(PNG)
    assert generate("rec", "--force", "--skip-existing").code == 2


def test_of_variants_the_missing_ones_are_made(generate, clips):
    assert generate(clips[0], "--variants", 3).code == 0
    whole = pixels(generate.here / "spk0-2.png")
    (generate.here / "spk0-1.png").write_text("mine")
    (generate.here / "spk0-2.png").unlink()
    assert generate(clips[0], "--variants", 3, "--skip-existing").code == 0
    assert (generate.here / "spk0-1.png").read_text() == "mine"
    assert np.array_equal(pixels(generate.here / "spk0-2.png"), whole)


def test_the_output_may_lie_among_the_recordings(generate, recordings):
    for _ in range(2):
        result = generate("rec", "-o", "rec/sub/faces", "--skip-existing")
        assert result.code == 0 and "2 skipped" in result.stderr
    assert files(recordings / "sub" / "faces") == ["spk0.png", "sub/deep/memo.png", "sub/spk1.png"]
    os.chdir(recordings)
    assert generate(".").code == 0  # beside the recordings
    result = generate(".", "--skip-existing")
    assert result.code == 0 and "0 made, 3 kept" in result.stderr
    assert (recordings / "sub/spk1.png").is_file() and not list(recordings.rglob("spk1.png.png"))


def test_folders_and_files_together(generate, recordings, clips):
    (generate.here / "more").mkdir()
    shutil.copy(clips[4], generate.here / "more" / "spk0.wav")
    assert generate("rec", clips[0], "more", "-o", "faces").code == 0
    assert files(generate.here / "faces") == [
        "more/spk0.png",
        "rec/spk0.png",
        "rec/sub/deep/memo.png",
        "rec/sub/spk1.png",
        "spk0.png",
    ]


def test_two_recordings_of_one_name(generate, clips):
    (generate.here / "rec").mkdir()
    for name in ("a.wav", "a.mp3", "b.wav"):  # told by content, not by the ending
        shutil.copy(clips[0], generate.here / "rec" / name)
    assert generate("rec", "-o", "faces").code == 0
    assert files(generate.here / "faces") == ["a.mp3.png", "a.wav.png", "b.png"]


def test_nothing_in_a_folder_is_a_sentence(generate):
    (generate.here / "rec").mkdir()
    result = generate("rec")
    assert result.code == 2 and "Error: rec: there are no files in this folder; give" in result.stderr
    (generate.here / "rec" / "notes.txt").write_text("x" * 100)
    result = generate("rec", "-o", "faces")
    assert result.code == 2 and "Error: rec: none of the 1 files is a recording." in result.stderr
    assert not (generate.here / "faces").exists()


def test_the_progress_bar_counts_all(generate, recordings, monkeypatch):
    from rich.console import Console

    from voice2face_gan.cli import _console

    shown = Console(stderr=True, force_terminal=True, width=80)
    monkeypatch.setattr(_console, "console", lambda: shown)
    monkeypatch.setattr("voice2face_gan.cli.commands.generate.console", lambda: shown)
    result = generate("rec", "-o", "faces")
    assert result.code == 0 and "3 made, 2 skipped" in result.stderr
    assert "5/5" in result.stderr


def test_a_folder_needs_a_folder(generate, recordings):
    result = generate("rec", "-o", "face.png")
    assert result.code == 2 and "-o face.png is one image, but a folder of clips is given" in result.stderr
    assert generate("rec", "--grid", "-o", "sheet.png").code == 0
    assert pixels(generate.here / "sheet.png").shape == (3 * 66 - 2, 64, 3)
    result = generate("rec", "--grid", "-o", "sheet.png", "--skip-existing")
    assert result.code == 0 and "sheet.png exists and is kept" in result.stderr


# One speaker


def test_one_face_from_several_recordings(generate, clips, model):
    result = generate(*clips[:3], "--together", "--json")
    assert result.code == 0, result.stderr
    assert files(generate.here) == ["together.png"]
    (face,) = json.loads(result.stdout)["faces"]
    assert face["clips"] == [str(clip) for clip in clips[:3]] and face["files"] == ["together.png"]
    assert face["seconds"] == pytest.approx(9) and 3 < face["speech_seconds"] <= 9
    (wanted,) = model.generate_together(clips[:3])
    assert np.abs(pixels(generate.here / "together.png") - np.asarray(wanted, dtype=int)).max() <= 1
    assert generate(*clips[:2], "--together", "-o", "x/her.png", "--variants", 2).code == 0
    assert files(generate.here / "x") == ["her-1.png", "her-2.png"]
    assert "exists and is kept" in generate(*clips[:2], "--together").stderr


def test_of_a_folder_together(generate, recordings):
    (recordings / "broken.wav").write_text("no sound")
    result = generate("rec", "--together", "-o", "faces", "--json-lines")
    assert result.code == 2 and files(generate.here / "faces") == ["rec.png"]
    error, face = map(json.loads, result.stdout.splitlines())
    assert error["clip"] == "rec/broken.wav" and "not a recording" in error["error"]
    assert len(face["clips"]) == 3
    assert "3 made, 2 skipped (no recordings), 1 failed" in result.stderr
    result = generate(recordings / "broken.wav", "--together", "-o", "none")
    assert result.code == 2 and not (generate.here / "none").exists()


# Streams


def test_standard_input(generate, clips, model):
    result = generate("-", "--json", input=clips[0].read_bytes())
    assert result.code == 0, result.stderr
    assert json.loads(result.stdout)["faces"][0]["clip"] == "standard input"
    assert files(generate.here) == ["stdin.png"] and "standard input: 3.0 s of speech" in result.stderr
    assert np.abs(pixels("stdin.png") - np.asarray(model.generate(clips[0])[0], dtype=int)).max() <= 1
    assert generate("-", clips[1], "-", "-o", "faces", input=clips[0].read_bytes()).code == 0
    assert files(generate.here / "faces") == ["spk1.png", "stdin.png"]


def test_standard_input_of_mp4(generate, voices):
    """Its table of contents may stand at its end, so it must be wound back."""
    from voice2face_gan.bench.generate import encode

    assert generate("-", "-o", "face.png", input=encode(voices[0], "m4a")).code == 0


def test_standard_input_that_holds_nothing(generate):
    for content, words in (
        (b"", "is empty (0 bytes)"),
        (b"no sound at all" * 20, "is text, not a recording"),
    ):
        result = generate("-", input=content)
        assert result.code == 2 and f"Error: standard input: {words}" in result.stderr
    assert files(generate.here) == []


def test_a_terminal_is_refused(model_folder, clips, tmp_path):
    import pty

    ours, terminal = pty.openpty()
    for arguments, sentence in (
        (["-"], b"Error: standard input: is a terminal; pipe a recording in"),
        ([clips[0], "-o", "-"], b"Error: -o - would write a PNG to the terminal"),
    ):
        command = [
            sys.executable,
            "-m",
            "voice2face_gan",
            "generate",
            *arguments,
            "--checkpoint",
            model_folder,
        ]
        done = subprocess.run(
            list(map(str, command)), stdin=terminal, stdout=terminal, stderr=subprocess.PIPE, cwd=tmp_path
        )
        assert done.returncode == 2 and sentence in done.stderr
    os.close(ours)
    os.close(terminal)
    assert files(tmp_path) == []


def test_a_file_called_minus(generate, clips):
    shutil.copy(clips[0], generate.here / "-")
    assert "standard input: is empty" in generate("-").stderr
    assert generate("./-").code == 0 and files(generate.here) == ["-", "-.png"]


def test_an_image_on_standard_output(model_folder, clips, tmp_path):
    command = [
        sys.executable,
        "-m",
        "voice2face_gan",
        "generate",
        "-",
        "-o",
        "-",
        "--checkpoint",
        model_folder,
    ]
    done = subprocess.run(
        list(map(str, command)), input=clips[0].read_bytes(), capture_output=True, cwd=tmp_path
    )
    assert done.returncode == 0 and done.stdout.startswith(PNG) and done.stdout.endswith(b"IEND\xaeB`\x82")
    assert b"-> standard output" in done.stderr and files(tmp_path) == []


def test_what_does_not_go_with_standard_output(generate, clips):
    for arguments in (["--json"], ["--json-lines"], ["--variants", 2], [clips[1]]):
        result = generate(clips[0], "-o", "-", *arguments)
        assert result.code == 2 and "Error: " in result.stderr and result.stdout == ""
    (generate.here / "rec").mkdir()
    assert "a folder of clips is given" in generate("rec", "-o", "-").stderr


def test_an_address_is_to_be_downloaded_first(generate, clips):
    result = generate("https://example.org/a.mp3", clips[0], "-o", "faces")
    assert result.code == 2 and files(generate.here) == ["faces/spk0.png"]
    assert "https://example.org/a.mp3: is an address" in result.stderr and "yt-dlp" in result.stderr


# JSON lines


def test_json_lines(generate, clips, tmp_path):
    (tmp_path / "bad.wav").write_text("no sound")
    result = generate(clips[0], tmp_path / "bad.wav", clips[1], "--json-lines")
    assert result.code == 2
    first, bad, last = map(json.loads, result.stdout.splitlines())
    assert first["clip"] == str(clips[0]) and first["files"] == ["spk0.png"] and "female_probability" in first
    assert set(bad) == {"clip", "error"} and bad["clip"] == str(tmp_path / "bad.wav")
    assert last["clip"] == str(clips[1])
    lines = generate(*clips[:2], "--json-lines", "--skip-existing").stdout.splitlines()
    assert [json.loads(line)["kept"] for line in lines] == [True, True]
    for other in ("--json", "--grid"):
        assert generate(clips[0], "--json-lines", other).code == 2


def test_a_line_is_there_before_the_next_clip_is_read(start, model_folder, clips, tmp_path):
    pipe = tmp_path / "second.wav"
    os.mkfifo(pipe)
    running = start("generate", clips[0], pipe, "--json-lines", "--checkpoint", model_folder, cwd=tmp_path)
    # The second clip is a pipe that nobody has written to yet: it cannot have been read.
    line = json.loads(running.stdout.readline())
    assert line["clip"] == str(clips[0]) and (tmp_path / "spk0.png").is_file()
    pipe.write_bytes(clips[1].read_bytes())
    rest, errors = running.communicate(timeout=60)
    assert json.loads(rest)["files"] == ["second.png"] and running.returncode == 0, errors
