"""A metric and a voice encoder added as CONTRIBUTING.md says, with the lines that it names and no others, and
used through the commands. What its documents name is there.
"""

import importlib
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import click
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from voice2face_gan import cli as command_line
from voice2face_gan.cli.commands import evaluate as evaluate_command
from voice2face_gan.errors import RecipeError
from voice2face_gan.evaluation import METRICS, readers
from voice2face_gan.evaluation.protocol import generate_eval_set
from voice2face_gan.models import registry
from voice2face_gan.models.checkpoint import load_checkpoint
from voice2face_gan.models.settings import Settings
from voice2face_gan.pipeline import VoiceToFace
from voice2face_gan.training.recipe.recipe import load_recipe
from voice2face_gan.training.run import tracked_metrics

ROOT = Path(__file__).parent.parent
DOCUMENTS = ("CONTRIBUTING.md", "experiments/README.md", "CHANGELOG.md", "assets/README.md")
ROOMS = "audio|faces|synthetic|models|data|training|evaluation|publish|bench|environment|cli"

METRIC = '''
"""Brightness of the generated faces."""

from voice2face_gan.evaluation.eval_set import EvalSet
from voice2face_gan.evaluation.registry import Options, clip_figures, metric
from voice2face_gan.results import Figure


@metric("brightness")
def brightness(eval_set: EvalSet, options: Options) -> dict[str, Figure]:
    values = eval_set.generated.float().mean(dim=(1, 2, 3)).numpy()
    return clip_figures(eval_set, "brightness", values, "mean of all pixels, 0 to 255", options)
'''


@pytest.fixture(autouse=True)
def judged_by(judge_folder, monkeypatch):
    """A small judge made here instead of the shipped one."""
    monkeypatch.setattr(readers, "resource", lambda kind, name: judge_folder)


# A metric


@pytest.fixture
def brightness(tmp_path, monkeypatch):
    """The metric's file, imported, and the lines of `evaluate` and of the figures that runs are ranked by."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "brightness.py").write_text(METRIC)
    monkeypatch.setitem(METRICS, "brightness", None)  # taken out again afterwards
    monkeypatch.delitem(sys.modules, "brightness", raising=False)
    importlib.import_module("brightness")
    names = (*evaluate_command.METRIC_NAMES, "brightness")
    monkeypatch.setattr(evaluate_command, "METRIC_NAMES", names)
    option = next(p for p in evaluate_command.evaluate.params if p.name == "metrics")
    monkeypatch.setattr(option, "type", click.Choice([*names, "all"]))
    monkeypatch.setitem(
        tracked_metrics.MEASURES,
        "brightness",
        tracked_metrics.Measure("brightness", "brightness", higher=True),
    )


def test_a_new_metric_is_printed_with_its_protocol(brightness, cli, model_folder, store):
    made = cli("evaluate", "--data", "synthetic:20", "--checkpoint", model_folder, "--metric", "brightness")
    assert made.code == 0 and "brightness" in made.stdout + made.stderr
    done = cli(
        *("evaluate", "--data", "synthetic:20", "--checkpoint", model_folder),
        *("--metric", "brightness", "--json", "-o", "kept.json"),
    )
    assert done.code == 0, done.stderr
    figure = json.loads(done.stdout)["brightness"]["brightness"]
    eval_set = generate_eval_set(VoiceToFace.from_pretrained(model_folder), store)
    each = eval_set.generated.numpy().mean(axis=(1, 2, 3))
    people = [
        each[eval_set.generated_identity == name].mean() for name in np.unique(eval_set.generated_identity)
    ]
    assert figure["value"] == pytest.approx(np.mean(people), rel=1e-3)
    assert figure["low"] <= figure["value"] <= figure["high"] and figure["n"] == len(each)
    assert figure["protocol"] == "mean of all pixels, 0 to 255"
    kept = json.loads((cli.here / "kept.json").read_text())
    assert kept["metrics"]["brightness"]["brightness"] == figure


def test_a_new_metric_ranks_checkpoints(brightness, cli, tiny):
    settings = {"gan__iterations": 2, "encoder__iterations": 2, "run__evaluate_every": 2}
    done = cli("train", *tiny(**settings, run__best="brightness"), "-o", "runs", "--json")
    assert done.code == 0, done.stderr
    (best,) = cli.here.glob("runs/*/best.json")
    assert json.loads(best.read_text())["by"] == "brightness"


def test_a_metric_without_its_lines_is_refused(cli, model_folder):
    done = cli("evaluate", "--data", "synthetic:20", "--checkpoint", model_folder, "--metric", "brightness")
    assert done.code == 2 and "brightness" in done.stderr
    with pytest.raises(RecipeError, match="run.best names no figure, 'brightness'"):
        load_recipe("wen2019", ("run.best=brightness", "run.evaluate_every=5"))


# A voice encoder


@dataclass(frozen=True)
class PooledConfig(Settings):
    table: ClassVar[str] = "encoder"
    type: ClassVar[str] = "pooled"

    mel_bins: int = 64
    embedding: int = 64
    width: int = 16

    def __post_init__(self):
        self.check({"width must be 1 or more": self.width >= 1})

    @property
    def feature_size(self):
        return self.width


class PooledLinear(nn.Module):
    """A rectified linear layer on each frame, its mean over time, and a linear layer: the smallest voice
    encoder that has all that CONTRIBUTING.md asks for."""

    takes = "log_mel"
    recurrent = has_agreement = False
    last_name = "last"

    def __init__(self, config):
        super().__init__()
        self.frames = nn.Linear(config.mel_bins, config.width)
        self.last = nn.Linear(config.width, config.embedding)

    def forward(self, log_mel):
        return self.last(self.features(log_mel))

    def features(self, log_mel):
        return F.relu(self.frames(log_mel.transpose(1, 2))).mean(dim=1)

    def with_features(self, log_mel):
        features = self.features(log_mel)
        return self.last(features), features

    def frozen(self, dtype):
        return self


@pytest.fixture
def pooled(monkeypatch):
    """The entry of models/registry.py."""
    monkeypatch.setitem(registry.ENCODERS, "pooled", (PooledConfig, PooledLinear))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_new_voice_encoder_is_trained_kept_and_heard(pooled, cli, tiny, clips, precision):
    settings = {"gan__iterations": 2, "encoder__iterations": 30, "encoder__lr": 0.01}
    settings |= {"model__encoder__type": "pooled", "run__precision": precision}
    done = cli("train", *tiny(**settings), "-o", "runs", "--json")
    assert done.code == 0, done.stderr
    (run,) = cli.here.glob("runs/*")
    losses = [json.loads(line) for line in (run / "train.jsonl").read_text().splitlines()]
    losses = [x["cross_entropy"] for x in losses if x["stage"] == "encoder"]
    assert losses[-1] < losses[0]
    checkpoint = load_checkpoint(run)
    assert type(checkpoint.encoder) is PooledLinear
    assert checkpoint.config()["encoder"] == PooledConfig().to_dict()

    features = checkpoint.encoder_config.feature_size
    checkpoint.probes["speech"] = torch.cat([torch.zeros(features), torch.tensor([3.0])])
    folder = checkpoint.save(cli.here / "with-probe")
    v2f = VoiceToFace.from_pretrained(folder)
    voices = v2f.embed_clips(clips[:2])
    assert not torch.allclose(voices[0], voices[1], atol=1e-4)
    heard = v2f.generate_detailed(clips[0])
    assert heard.faces[0].size == (64, 64) and heard.speech == pytest.approx(0.9526, abs=1e-3)

    done = cli("generate", clips[0], "--checkpoint", folder, "-o", "face.png")
    assert done.code == 0, done.stderr
    done = cli("evaluate", "--data", "synthetic:20", "--checkpoint", folder, "--metric", "l1", "--json")
    assert done.code == 0, done.stderr
    done = cli("train", *tiny(**settings), "--encoder", run, "-o", "more", "--json")
    assert done.code == 0, done.stderr


def test_a_voice_encoder_without_its_entry_is_refused():
    with pytest.raises(RecipeError, match="model.encoder.type is 'pooled'; known are conv, lstm"):
        load_recipe("wen2019", ("model.encoder.type=pooled",))


def test_a_wrong_setting_of_a_new_voice_encoder_is_refused(pooled):
    with pytest.raises(RecipeError, match="model.encoder.width must be 1 or more"):
        load_recipe("wen2019", ("model.encoder.type=pooled", "model.encoder.width=0"))


# The documents


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_of_the_documents_exist(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    known = command_line.main.commands
    for name, sub in re.findall(r"v2f-gan ([a-z]+(?:-[a-z]+)*)(?: ([a-z]+)\b)?", text):
        assert name in known, f"{document}: v2f-gan {name}"
        if isinstance(known[name], click.Group) and sub:
            assert sub in known[name].commands, f"{document}: v2f-gan {name} {sub}"


def test_options_of_the_documents_exist():
    """Of `v2f-gan`; what other programs and scripts take stands in blocks of lines, which are left out."""
    known = {"--help", "--minutes", "--seeds", "--judge-only"}  # of ablate.py, the last three
    for command in command_line.main.commands.values():
        parts = command.commands.values() if isinstance(command, click.Group) else [command]
        known |= {option for part in parts for p in part.params for option in p.opts + p.secondary_opts}
    for document in DOCUMENTS:
        text = (ROOT / document).read_text(encoding="utf-8")
        for option in re.findall(r"`[^`\n]*?(--[a-z-]+)", text.replace("```", "")):
            assert option in known, f"{document}: {option}"


def test_files_that_the_map_names_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(rf"(?<![\w/.])(?:{ROOMS})/[\w/.]*\w/?", text)
    named += re.findall(r"`((?:experiments|tests|assets)?[\w/.]*\.(?:py|md|toml))`", text)
    package = ROOT / "voice2face_gan"
    assert len(named) > 50
    for name in named:
        if "NAME" in name:
            name = name.partition("NAME")[0].rpartition("/")[0]
        places = [base / (name + end) for base in (package, ROOT) for end in ("", ".py")]
        found = any(place.exists() for place in places) or "/" not in name and [*package.rglob(name)]
        assert found, f"CONTRIBUTING.md names {name}"


def test_labels_of_links_lead_somewhere():
    files = [*map(ROOT.joinpath, DOCUMENTS), *ROOT.glob("experiments/labbook/*.md")]
    links = [
        (file, link)
        for file in files
        for link in re.findall(r"\]\(([^)#:]+)\)", file.read_text(encoding="utf-8"))
    ]
    assert len(links) > 10
    for file, link in links:
        assert (file.parent / link).exists(), f"{file.name}: {link}"
