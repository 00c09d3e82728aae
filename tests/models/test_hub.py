"""Names that mean a model on the Hugging Face hub, what is taken from there, and what goes there."""

import json
import os
import sys
import time
from pathlib import Path

import pytest
import torch

from voice2face_gan.errors import CheckpointError
from voice2face_gan.models import hub
from voice2face_gan.models.checkpoint import CONFIG, WEIGHTS, find_checkpoint, load_checkpoint
from voice2face_gan.models.hub import MARK, HubName, download, hub_name, upload
from voice2face_gan.pipeline import VoiceToFace


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder: a name is a path first."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def same(a, b) -> bool:
    a, b = a.tensors(), b.tensors()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# Names


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("owner/name", HubName("owner/name")),
        ("owner/na.me-1@v1.0", HubName("owner/na.me-1", "v1.0")),
        ("default", None),
        ("./owner/name", None),
        ("../name", None),
        ("./name", None),
        (".owner/name", None),
        ("/owner", None),
        ("~/name", None),
        ("~owner/name", None),
        ("owner/name/", None),
        ("runs/a/b", None),
        ("owner\\name", None),
        ("owner/na me", None),
        ("owner/name@", None),
        ("owner/name@a/b", None),
        ("", None),
        (Path("owner/name"), None),
    ],
)
def test_which_names_mean_a_model_on_the_hub(here, name, meant):
    assert hub_name(name) == meant


def test_what_exists_is_a_path(here, fake_hub, model_folder):
    fake_hub.add("owner/name", model_folder)
    (here / "owner").mkdir()
    for make in (Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere")):
        path = here / "owner" / "name"
        make(path)
        assert hub_name("owner/name") is None
        with pytest.raises(CheckpointError):
            find_checkpoint("owner/name")
        path.rmdir() if path.is_dir() else path.unlink()
    assert fake_hub.requests == []
    assert hub_name("owner/name") is not None


def test_a_path_is_never_sent(here, fake_hub):
    for name in ("./owner/name", "~/no-such-name", "owner/name/x", "nowhere", Path("owner/name"), here / "x"):
        with pytest.raises(CheckpointError, match="no such checkpoint"):
            find_checkpoint(name)
    assert fake_hub.requests == []


# Taking


def test_a_model_is_loaded_and_nothing_else_is_taken(here, fake_hub, model_folder):
    model = fake_hub.add("owner/name", model_folder)
    model.commit({"README.md": b"x", "pytorch_model.bin": b"a pickle"})
    loaded = VoiceToFace.from_pretrained("owner/name")
    assert same(loaded.checkpoint, load_checkpoint(model_folder))
    assert loaded.name == "owner/name"
    assert loaded.checkpoint.folder.name == model.sha
    assert sorted(os.listdir(loaded.checkpoint.folder)) == [CONFIG, WEIGHTS]
    asked = {path.rsplit("/", 1)[1] for _, path in fake_hub.requests if "/resolve/" in path}
    assert asked == {CONFIG, WEIGHTS}
    assert all(method in ("GET", "HEAD") for method, _ in fake_hub.requests)


def test_both_files_are_of_one_commit(here, fake_hub, model_folder, monkeypatch):
    """Somebody uploads between the two downloads."""
    model = fake_hub.add("owner/name", model_folder)
    first, plain = model.sha, hub.download

    def slow(name, file, commit=None):
        path = plain(name, file, commit)
        model.commit({WEIGHTS: b"newer"})
        return path

    monkeypatch.setattr(hub, "download", slow)
    folder = find_checkpoint("owner/name")
    assert folder.name == first and sorted(os.listdir(folder)) == [CONFIG, WEIGHTS]
    assert same(load_checkpoint(folder), load_checkpoint(model_folder))


def test_a_revision(here, fake_hub, model_folder):
    model = fake_hub.add("owner/name", model_folder)
    model.tags["v1"] = model.sha
    config = json.loads(model.files[CONFIG])
    model.commit({CONFIG: json.dumps(config | {"iteration": 4711}).encode()})
    assert load_checkpoint("owner/name").info["iteration"] == 4711
    assert load_checkpoint("owner/name@v1").info["iteration"] == config["iteration"]
    assert VoiceToFace.from_pretrained("owner/name@v1").name == "owner/name@v1"
    with pytest.raises(CheckpointError, match=r"owner/name@v2: the model has no revision 'v2'"):
        load_checkpoint("owner/name@v2")


def test_from_the_cache_without_a_network(here, fake_hub, model_folder, monkeypatch):
    from huggingface_hub import constants

    fake_hub.add("owner/name", model_folder)
    folder = find_checkpoint("owner/name")
    fake_hub.broken = True
    assert find_checkpoint("owner/name") == folder
    fake_hub.broken = False
    fake_hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert find_checkpoint("owner/name") == folder
    with pytest.raises(
        CheckpointError, match=r"owner/other: .*config.json is not in the cache.*HF_HUB_OFFLINE"
    ):
        find_checkpoint("owner/other")
    assert fake_hub.requests == []


@pytest.mark.slow
def test_a_process_of_its_own_takes_it_then_works_offline(fake_hub, model_folder, clips, tmp_path, python):
    """As people use it: the command line, and huggingface_hub's environment variables."""
    fake_hub.add("owner/name", model_folder)
    command = ("-m", "voice2face_gan", "generate", clips[0], "--checkpoint", "owner/name", "-o")
    env = os.environ | {
        "HF_ENDPOINT": fake_hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "OMP_NUM_THREADS": "1",
    }
    first = python(*command, tmp_path / "a.png", env=env, cwd=tmp_path)
    assert first.code == 0, first.stderr
    fake_hub.close()
    second = python(*command, tmp_path / "b.png", env=env | {"HF_HUB_OFFLINE": "1"}, cwd=tmp_path)
    assert second.code == 0, second.stderr
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    missing = python(*command[:-2], "owner/other", env=env | {"HF_HUB_OFFLINE": "1"}, cwd=tmp_path)
    assert missing.code == 2 and missing.stderr.startswith("Error: owner/other: ")
    assert "Traceback" not in missing.stderr and "HF_HUB_OFFLINE" in missing.stderr


# What goes wrong


def error(name: str) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(name)
    said = str(caught.value)
    assert name in said and said.endswith(".") and "\n" not in said
    return said


def test_no_such_model(here, fake_hub):
    said = error("owner/nothing")
    assert "neither such a folder here nor such a model" in said and "hf auth login" in said


def test_private_and_gated_models_ask_for_a_token(here, fake_hub, model_folder, monkeypatch):
    fake_hub.add("owner/secret", model_folder, private=True)
    fake_hub.add("owner/gated", model_folder, gated=True)
    assert "private" in error("owner/secret")
    assert f"ask for it at {fake_hub.url}/owner/gated" in error("owner/gated")
    monkeypatch.setenv("HF_TOKEN", fake_hub.token)
    assert same(load_checkpoint("owner/secret"), load_checkpoint("owner/gated"))


def test_no_network(here, fake_hub, model_folder):
    fake_hub.add("owner/name", model_folder)
    fake_hub.close()
    start = time.perf_counter()
    assert "cannot be reached" in error("owner/name")
    assert time.perf_counter() - start < 5  # huggingface_hub alone would ask for half a minute


def test_files_that_are_missing(here, fake_hub, model_folder):
    model = fake_hub.add("owner/name", model_folder)
    del model.files[WEIGHTS]
    assert f"has no {WEIGHTS}" in error("owner/name")
    del model.files[CONFIG]
    fake_hub.models["owner/other"] = model
    assert f"has no {CONFIG}" in error("owner/other")


@pytest.mark.parametrize("config", [b'{"model_type": "bert"}', b"[]", b"{", b"\xff"])
def test_weights_of_another_librarys_model_are_not_taken(here, fake_hub, model_folder, config):
    fake_hub.add("owner/name", model_folder).commit({CONFIG: config})
    assert "is not that of a voice2face-gan checkpoint" in error("owner/name")
    assert not any(WEIGHTS in path or "elsewhere" in path for _, path in fake_hub.requests)


def test_damaged_weights_are_refused_by_the_models_name(here, fake_hub, model_folder):
    fake_hub.add("owner/name", model_folder).commit({WEIGHTS: b"\x80\x04pickle"})
    assert "cannot be read" in error("owner/name")


def test_without_huggingface_hub(here, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install 'voice2face-gan[hub]'" in error("owner/name")
    with pytest.raises(CheckpointError, match=r"owner/name.*voice2face-gan\[hub\]"):
        upload("owner/name", {}, "x")


def test_names_that_the_hub_does_not_allow(here, fake_hub):
    assert "allows" in error("owner/a--b")
    assert fake_hub.requests == []


# Uploading


def test_an_upload_is_one_commit(here, fake_hub, model_folder):
    files = {
        CONFIG: model_folder / CONFIG,
        WEIGHTS: model_folder / WEIGHTS,
        "README.md": b"---\nlicense: mit\n---\nx",
    }
    done = upload("me/new", files, "First", token=fake_hub.token)
    model = fake_hub.models["me/new"]
    assert model.messages == ["First"] and not model.private
    assert model.files == {k: v if isinstance(v, bytes) else v.read_bytes() for k, v in files.items()}
    assert done == {
        "repo": "me/new", "url": f"{fake_hub.url}/me/new", "commit": model.sha, "private": False,
        "files": [CONFIG, WEIGHTS, "README.md"],
    }  # fmt: skip


def test_what_is_to_be_private_is_never_uploaded_to_a_public_model(here, fake_hub, model_folder):
    upload("me/secret", {"a.txt": b"a"}, "x", private=True, token=fake_hub.token)
    assert fake_hub.models["me/secret"].private
    model = fake_hub.add("me/open", model_folder)
    before = model.sha
    with pytest.raises(CheckpointError, match="me/open is on the hub already and public"):
        upload("me/open", {"a.txt": b"a"}, "x", private=True, token=fake_hub.token)
    assert model.sha == before and len(model.commits) == 1


CARD = b"---\nlicense: mit\n---\n"


@pytest.mark.parametrize(
    ("there", "replaced"),
    [(CARD, True), (CARD + MARK.encode() + b"\nold", True), (CARD + b"# Mine", False), (b"# Mine", False)],
)
def test_a_card_written_by_hand_is_kept(here, fake_hub, model_folder, there, replaced):
    model = fake_hub.add("me/model", model_folder)
    model.commit({"README.md": there})
    files = {"README.md": CARD + b"new", "a.txt": b"a"}
    done = upload("me/model", files, "x", token=fake_hub.token)
    assert (model.files["README.md"] == files["README.md"]) == replaced == ("README.md" in done["files"])
    assert model.files["a.txt"] == b"a"
    upload("me/model", files, "x", token=fake_hub.token, replace_card=True)
    assert model.files["README.md"] == files["README.md"]


def refused(*arguments, **options) -> str:
    with pytest.raises(CheckpointError) as caught:
        upload(*arguments, **options)
    said = str(caught.value)
    assert said.endswith(".") and "\n" not in said
    return said


def test_uploads_that_are_refused(here, fake_hub):
    files = {"README.md": CARD}
    assert "hf auth login" in refused("me/model", files, "x")
    assert "hf auth login" in refused("me/model", files, "x", token="hf_wrong")
    said = refused("stranger/model", files, "x", token=fake_hub.token)
    assert "grants no right" in said and "don't have the rights" in said
    for name in ("model", "a/b/c", "me/model@v1", "me/a b", "./model", ""):
        assert "give OWNER/NAME" in refused(name, files, "x", token=fake_hub.token)
    assert fake_hub.models == {}
    said = refused("me/model", {"README.md": b"---\nlicense: beerware\n---\n"}, "x", token=fake_hub.token)
    assert '"license" must be one of' in said
    assert fake_hub.models["me/model"].commits == {}


def test_no_upload_without_a_network(here, fake_hub, monkeypatch):
    from huggingface_hub import close_session, constants

    fake_hub.close()
    assert "check the network" in refused("me/model", {"a": b"a"}, "x", token=fake_hub.token)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()
    assert "HF_HUB_OFFLINE" in refused("me/model", {"a": b"a"}, "x", token=fake_hub.token)


def test_the_files_of_a_download_are_in_the_cache(here, fake_hub, model_folder):
    fake_hub.add("owner/name", model_folder)
    path = download(HubName("owner/name"), CONFIG)
    assert path.is_relative_to(fake_hub.cache) and path.read_bytes() == (model_folder / CONFIG).read_bytes()
