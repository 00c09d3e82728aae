"""`v2f-gan push`: what is published of a checkpoint, and what its card says."""

import json
import re
import shutil

import pytest
import torch

from voice2face_gan.models.checkpoint import CONFIG, WEIGHTS, load_checkpoint, weights_hash
from voice2face_gan.pipeline import VoiceToFace

SECTIONS = (
    "What it is", "Intended use", "Not for", "Data", "Figures", "How it was trained", "Failure cases", "Bias",
    "How to use", "Licence",
)  # fmt: skip


@pytest.fixture
def logged_in(fake_hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", fake_hub.token)
    return fake_hub


@pytest.fixture
def folder(model_folder, tmp_path):
    """A checkpoint folder of the test's own."""
    return shutil.copytree(model_folder, tmp_path / "mine")


def front_matter(card: str) -> dict:
    """Of the hub: YAML between the first two lines of three dashes."""
    import yaml

    return yaml.safe_load(re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)[1])


def section(card: str, title: str) -> str:
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", card, re.DOTALL | re.MULTILINE)[1]


def dry(cli, *arguments) -> str:
    result = cli("push", *arguments, "--dry-run")
    assert result.code == 0, result.stderr
    return result.stdout


# What is uploaded


def test_a_checkpoint_goes_up_and_comes_back(cli, logged_in, folder, clips):
    result = cli("push", folder, "me/voices", "--licence", "MIT", "--message", "One", "--json")
    assert result.code == 0, result.stderr
    model = logged_in.models["me/voices"]
    assert json.loads(result.stdout) == {
        "checkpoint": str(folder), "card": "written", "repo": "me/voices", "private": False,
        "url": f"{logged_in.url}/me/voices", "commit": model.sha, "files": [CONFIG, WEIGHTS, "README.md"],
    }  # fmt: skip
    assert sorted(model.files) == ["README.md", CONFIG, WEIGHTS] and model.messages == ["One"]
    for name in (CONFIG, WEIGHTS):
        assert model.files[name] == (folder / name).read_bytes()
    assert model.files["README.md"].decode() == dry(cli, folder, "me/voices", "--licence", "mit")
    ours, theirs = (VoiceToFace.from_pretrained(name).generate(clips[0])[0] for name in (folder, "me/voices"))
    assert ours.tobytes() == theirs.tobytes()


def test_private(cli, logged_in, folder):
    result = cli("push", folder, "me/secret", "--private")
    assert result.code == 0 and "private" in result.stderr and "states no licence" in result.stderr
    assert logged_in.models["me/secret"].private
    assert json.loads(cli("push", folder, "me/secret", "--json").stdout)["private"] is True


def test_the_folders_own_card_is_used(cli, logged_in, folder):
    own = "---\nlicense: mit\n---\n# Mine ä\n"
    (folder / "README.md").write_text(own, encoding="utf-8")
    (folder / "notes.pkl").write_bytes(b"not for others")
    assert json.loads(cli("push", folder, "me/voices", "--json").stdout)["card"] == "own"
    assert sorted(logged_in.models["me/voices"].files) == ["README.md", CONFIG, WEIGHTS]
    assert logged_in.models["me/voices"].files["README.md"].decode() == own
    result = cli("push", folder, "me/voices", "--licence", "mit")
    assert result.code == 2 and "in its front matter" in result.stderr


def test_a_card_that_somebody_wrote_on_the_hub_is_kept(cli, logged_in, folder):
    cli("push", folder, "me/voices")
    model = logged_in.models["me/voices"]
    model.commit({"README.md": b"# By hand"})
    result = cli("push", folder, "me/voices", "--licence", "mit")
    assert result.code == 0 and "change it there" in result.stderr
    assert model.files["README.md"] == b"# By hand"


@pytest.mark.parametrize("damage", [b"", b"\x80\x04a pickle"])
def test_what_cannot_be_read_is_not_published(cli, logged_in, folder, damage):
    (folder / WEIGHTS).write_bytes(damage)
    result = cli("push", folder, "me/voices", "--json")
    assert result.code == 2 and "cannot be read" in result.stderr and result.stdout == ""
    assert logged_in.requests == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["me/voices", "--licence", "My own!"], "not how the hub spells a licence"),
        (["me/voices", "--licence", "beerware"], '"license" must be one of'),
        (["voices"], "give OWNER/NAME"),
        (["stranger/voices"], "grants no right to write"),
    ],
)
def test_what_is_refused(cli, logged_in, folder, arguments, said):
    result = cli("push", folder, *arguments)
    assert result.code == 2 and result.stderr.startswith("Error: ") and said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not any(model.commits for model in logged_in.models.values())


def test_a_model_in_memory(logged_in, folder, cli):
    model = VoiceToFace.from_pretrained(folder)
    assert model.push_to_hub("me/voices", message="As it is") == f"{logged_in.url}/me/voices"
    there = logged_in.models["me/voices"]
    assert there.files[WEIGHTS] == (folder / WEIGHTS).read_bytes() and there.messages == ["As it is"]
    next(model.generator.parameters()).data.add_(1)
    model.push_to_hub("me/changed", private=True, token=logged_in.token, licence="mit")
    back = load_checkpoint("me/changed").tensors()
    now, before = model.checkpoint.tensors(), load_checkpoint(folder).tensors()
    assert all(torch.equal(back[name], now[name]) for name in now)
    assert [name for name in now if not torch.equal(back[name], before[name])] == [
        f"generator.{next(iter(dict(model.generator.named_parameters())))}"
    ]
    assert logged_in.models["me/changed"].private


# The card


def test_a_card_needs_neither_network_nor_hub(cli, fake_hub, folder):
    card = dry(cli, folder, "me/voices")
    assert fake_hub.requests == []
    assert front_matter(card) == {
        "license": "unknown",
        "library_name": "voice2face-gan",
        "tags": ["voice-to-face", "speech", "audio", "face-generation", "gan", "synthetic-media"],
    }
    assert [line[3:] for line in card.splitlines() if line.startswith("## ")] == list(SECTIONS)
    assert all(section(card, title).strip() for title in SECTIONS)
    assert "law enforcement" in section(card, "Not for") and "evidence" in section(card, "Not for")
    assert 'from_pretrained("me/voices")' in section(card, "How to use")
    assert front_matter(dry(cli, folder, "me/x", "--licence", "CC-BY-NC-4.0"))["license"] == "cc-by-nc-4.0"
    assert json.loads(cli("push", folder, "me/voices", "--dry-run", "--json").stdout)["readme"] == card


def test_counts_and_recipe_are_the_checkpoints(cli, folder):
    config = json.loads((folder / CONFIG).read_text())
    counts = {"female": 1234, "male": 5}
    data = {"identities": 1239, "voices": 20304, "faces": 7, "hours": 1.5, "identities_by_gender": counts}
    (folder / CONFIG).write_text(json.dumps(config | {"data": data}))
    card = dry(cli, folder, "me/voices")
    said = section(card, "Data")
    for row in ("People | 1,239", "Voices | 20,304", "Faces | 7", "Hours of speech | 1.5"):
        assert f"| {row} |" in said
    assert "labelled female | 1,234 |" in said and "states neither the recordings" in said
    trained = section(card, "How it was trained")
    assert "Recipe `wen2019`, stage gan, 30 iterations." in trained
    assert "[gan]\niterations = 30\n" in trained
    del config["data"], config["recipe"]
    (folder / CONFIG).write_text(json.dumps(config))
    card = dry(cli, folder, "me/voices")
    assert "not stated" in section(card, "Data") and "Recipe not stated" in section(
        card, "How it was trained"
    )


def test_figures_are_of_these_very_weights(cli, run_copy):
    checkpoint = run_copy / "checkpoints" / "gan-0000030"
    assert "Not measured" in section(dry(cli, run_copy, "me/voices"), "Figures")

    def record(value: float, weights: str, **about) -> str:
        figure = {"value": value, "n": 8, "counted": "clips", "protocol": "half | half", "unit": "%"}
        figure |= {"low": 50.0, "high": 75.5, "chance": 50.0}
        record = {"data": "/home/me/private/vox.store", "split": "test", "gender": "all", "weights": weights}
        record |= {
            "judge": {"name": "j", "trained_on": "renderings"},
            "identities": 2,
            "clips": 8,
            "faces": 4,
        }
        return json.dumps(record | {"metrics": {"matching": {"U": figure}}} | about) + "\n"

    ours = weights_hash(checkpoint)
    lines = [record(61.0, ours), record(62.25, ours), record(99.0, "0" * 16), record(33.0, ours, split="val")]
    (run_copy / "evaluation.jsonl").write_text("".join(lines) + "{cut off")
    said = section(dry(cli, run_copy, "me/voices"), "Figures")
    assert "### vox.store, split test, gender all" in said and "/home/me" not in said
    assert "2 people, 8 clips, 4 faces; face reader j, trained on renderings." in said
    assert "| matching | U | 62.250 % | 50.000 to 75.500 | 50 | 8 clips |" in said
    assert "### vox.store, split val, gender all" in said and "33.000 %" in said
    assert "61.000" not in said and "99.000" not in said
    assert "- matching, U: half | half." in said


def test_what_it_was_trained_on(cli, run_copy):
    assert "invented people" in section(dry(cli, run_copy, "me/voices"), "Data")
    about = json.loads((run_copy / "run.json").read_text())
    (run_copy / "run.json").write_text(json.dumps(about | {"data": "synthetic,/home/me/vox.store"}))
    said = section(dry(cli, run_copy, "me/voices"), "Data")
    assert (
        "synthetic, vox.store: recordings and photographs of real people" in said and "/home/me" not in said
    )
    # What the nets started from counts too, and may be anything.
    (run_copy / "run.json").write_text(json.dumps(about | {"init": "/home/me/other"}))
    said = section(dry(cli, run_copy, "me/voices"), "Data")
    assert "the data of other, which are not stated" in said and "invented" not in said


def test_an_encoder_alone(cli, logged_in, trained):
    result = cli("push", trained / "encoder", "me/ears", "--licence", "mit")
    assert result.code == 0, result.stderr
    card = logged_in.models["me/ears"].files["README.md"].decode()
    assert "gan" not in front_matter(card)["tags"] and "v2f-gan train --encoder me/ears" in card
    assert load_checkpoint("me/ears", need_generator=False).generator is None
