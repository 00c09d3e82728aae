"""Every command of the README and of the model cards is typed here, on small data with the names used there.

Fenced blocks are found by the words after the backticks: `bash main` and `bash test` are the two set-up
commands, `console` and `python` are executed in their order, `bash api` and `python api` by
tests/web/test_readme.py, and `text` holds no commands. What trains for
hours is shortened by further options (SHORT), nothing else of a line is changed.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
HOST = ("fetch", "push")  # commands that need another host: named, not run
ENDLESS = ("serve",)  # runs until Ctrl-C: tests/web/test_process.py
TINY = "--set gan.batch=4 --set data.crop_frames=[100,200] --set run.precision=fp32"
# Lines that take half a minute or more even so: run with -m slow, with all the others.
LONG = (
    "torchrun",
    "face-space",
    "--recipe default-encoder",
    "--recipe r3gan-face-embedding",
    "v2f-gan compose",
    "v2f-gan report",
    "export onnx",
)
# What stands in a line -> what is added to it. The first that fits counts.
SHORT = {
    "--resume": "--iterations 3",
    "torchrun": f"--iterations 1 {TINY}",
    "--recipe default-encoder": "--iterations 1 --set encoder.teacher=teacher.pt",
    "--recipe r3gan-face-embedding": "--iterations 1",
    "--recipe speaker-encoder": "--iterations 2",
    "--init default": "--iterations 2 --set gan.batch=4",
    "--encoder": f"--iterations 1 --set model.generator.width=8 {TINY}",
    "train --data mine.store": "--iterations 1 --set gan.batch=4",
    "v2f-gan train": "--iterations 2 --set gan.batch=4",
    "v2f-gan report": "--metric l1",
}


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def commands(text: str = README) -> list[str]:
    """The lines of the console blocks, without their comments."""
    lines = [
        re.split(r"\s+#\s", line)[0].strip()
        for block in blocks("console", text)
        for line in block.splitlines()
    ]
    return [line for line in lines if line]


def run(command: list[str] | str, folder: Path, **options) -> subprocess.CompletedProcess:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", **options.get("env", {})}
    options |= {"env": environment, "stdin": subprocess.DEVNULL}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, **options)


@pytest.fixture
def desk(tmp_path) -> Path:
    """A folder with all that the README's commands name."""
    folder = tmp_path / "readme"
    folder.mkdir()
    (folder / "assets").mkdir()
    sample = folder / "assets" / "sample.wav"
    shutil.copy(ROOT / "assets" / "sample.wav", sample)
    (folder / "recordings" / "more").mkdir(parents=True)
    for place in ("recordings/one.wav", "recordings/more/two.wav", "a.wav", "b.wav"):
        shutil.copy(sample, folder / place)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tests" / "data" / "layouts"))
        import trees
    from voice2face_gan.audio.decode import load_audio

    images = [people[0][None].repeat(20, axis=0) for people in trees.people().images[:1]]
    trees.write_film(folder / "film.mp4", load_audio(sample), images[0], fps=4)
    _people(folder, trees)
    _stores(folder)
    _released(folder)
    Image.open(folder / "my-people" / "person0" / "faces" / "0.png").convert("RGB").save(folder / "photo.jpg")
    return folder


def _people(folder: Path, trees) -> None:
    """my-people/NAME/voices and faces; speakers/ with its labels.csv."""
    people, rows = trees.people(), ["file,speaker"]
    for i in range(len(people.names)):
        for k in range(2):
            voice = folder / "my-people" / f"person{i}" / "voices" / f"{k}.wav"
            trees.write_wav(voice, people.waves[k][i])
            trees.write_image(voice.parent.with_name("faces") / f"{k}.png", people.images[k][i], 160)
            trees.write_wav(folder / "speakers" / f"{i}-{k}.wav", people.waves[k][i])
            rows.append(f"{i}-{k}.wav,speaker{i}")
    (folder / "speakers" / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _stores(folder: Path) -> None:
    """utk.store and vox.store: a synthetic world that keeps its speech."""
    from voice2face_gan.data.synthetic import synthetic_store

    made = synthetic_store("synthetic:50", keep_speech=True)
    for name in ("utk.store", "vox.store"):
        shutil.copytree(made.folder, folder / name)


def _released(folder: Path) -> None:
    """Weights as Wen et al. and GE2E's authors release theirs, drawn by chance."""
    import torch
    from torch import nn

    from voice2face_gan.models.encoders.conv import ConvEncoder, ConvEncoderConfig
    from voice2face_gan.models.generators.wen2019 import Wen2019Generator, Wen2019GeneratorConfig

    torch.manual_seed(0)
    encoder = ConvEncoder(ConvEncoderConfig(channels=(8, 8, 8, 8)))
    generator = Wen2019Generator(Wen2019GeneratorConfig(channels=(16, 16, 8, 8, 8)))
    for name, net in (("voice_embedding", encoder), ("generator", generator)):
        torch.save({f"module.{k}": v for k, v in net.state_dict().items()}, folder / f"{name}.pth")
    nets = {"lstm": nn.LSTM(40, 256, 3, batch_first=True), "linear": nn.Linear(256, 256)}
    state = {f"{name}.{k}": v for name, net in nets.items() for k, v in net.state_dict().items()}
    torch.save(
        {"step": 1, "model_state": {**state, "similarity_weight": torch.ones(1)}}, folder / "teacher.pt"
    )


def test_set_up_commands_come_first():
    main, test = blocks("bash main"), blocks("bash test")
    assert len(main) == len(test) == 1 and README.index(main[0]) < README.index(test[0])
    assert all(len(block.strip().splitlines()) == 1 for block in (*main, *test))
    assert "v2f-gan generate assets/sample.wav" in main[0] and "pytest" in test[0]
    assert README.index(test[0]) < README.index("```console")
    assert "`bash test`" not in README and "^```bash test$" in (ROOT / ".ci" / "run").read_text()


def test_it_is_short():
    assert len(README.splitlines()) <= 150


def test_every_block_is_executed_or_holds_no_command():
    kinds = set(re.findall(r"^```(.*)$", README, re.MULTILINE)) - {""}
    assert kinds <= {"bash main", "bash test", "console", "python", "text", "bash api", "python api"}
    assert not any("v2f-gan" in block for block in blocks("text"))


def test_every_command_is_named():
    """In the README's table, and shown in a line of it unless it needs another host."""
    from voice2face_gan.cli import main

    table = {
        name for row in README.splitlines() if row.startswith("|") for name in re.findall(r"`([a-z-]+)`", row)
    }
    assert set(main.commands) <= table
    shown = {line.split()[1] for line in commands() if line.startswith("v2f-gan")}
    assert set(HOST + ENDLESS).isdisjoint(shown) and len(shown) > 12


@pytest.mark.parametrize("everything", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_console_examples(desk, cli, monkeypatch, everything):
    """In this process where a line allows it, for each start takes seconds; in a shell where it redirects."""
    pytest.importorskip("face_recognition_models")
    monkeypatch.chdir(desk)
    lines = [line for line in commands() if everything or not any(words in line for words in LONG)]
    assert len(lines) > (28 if everything else 22)
    for line in lines:
        more = next((extra for words, extra in SHORT.items() if words in line), "")
        front, redirect, back = line.partition(" < ")
        words = shlex.split(f"{front} {more}")
        if words[0] == "v2f-gan" and not redirect:
            code, out, err = cli(*words[1:])
        else:
            done = run(f"{front} {more}{redirect}{back}", desk, shell=True)
            code, out, err = done.returncode, done.stdout, done.stderr
        assert code == 0, f"{line}\n{out}\n{err}"
    made = {path.relative_to(desk).as_posix() for path in desk.rglob("*") if path.suffix in (".png", ".npy")}
    assert {
        "sample.png",
        "faces/sample-1.png",
        "faces/sample-4.png",
        "she.png",
        "both.png",
        "again.png",
    } <= made
    assert {"part.png", "piped.png", "e.npy", "faces/one.png", "faces/more/two.png", "look.png"} <= made


def test_python_examples(desk):
    for block in blocks("python"):
        done = run([sys.executable, "-c", block], desk)
        assert done.returncode == 0, done.stderr
    assert (desk / "face.png").is_file()


@pytest.mark.slow
def test_first_command_on_a_fresh_copy(tmp_path):
    """Installs everything from the registry: minutes, gigabytes."""
    copy = tmp_path / "voice2face-gan"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(copy)], check=True)
    done = run(blocks("bash main")[0], copy, shell=True, env={"V2F_CACHE": str(tmp_path / "cache")})
    assert done.returncode == 0, done.stderr
    assert (copy / "face.png").read_bytes().startswith(b"\x89PNG")
