"""`v2f-gan morph`: a strip of images from one voice to another."""

import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def morph(cli, model_folder):
    """Function (*arguments) -> Result, with the tests' checkpoint."""

    def call(*arguments, **more):
        return cli("morph", "--checkpoint", model_folder, *arguments, **more)

    call.here = cli.here
    return call


def test_a_strip(morph, clips, model):
    done = morph(clips[0], clips[1], "-o", "strip.png", "--steps", 3, "--json")
    assert done.code == 0, done.stderr
    image = Image.open(morph.here / "strip.png")
    image.load()
    assert image.size == (3 * 64 + 2 * 2, 64)
    wanted = model.interpolate(clips[0], clips[1], 3)
    for k, face in enumerate(wanted):
        assert np.array_equal(np.asarray(image)[:, 66 * k : 66 * k + 64], np.asarray(face))
    assert image.text["Synthetic"].startswith("yes") and image.text["Morph"] == "1 to 3"
    told = json.loads(done.stdout)
    assert told["file"] == "strip.png" and told["steps"] == 3 and told["checkpoint"] == "painter"


def test_what_exists_is_kept(morph, clips):
    (morph.here / "morph.png").write_bytes(b"mine")
    done = morph(clips[0], clips[1])
    assert done.code == 2 and "morph.png exists and is kept; add --force" in done.stderr
    assert (morph.here / "morph.png").read_bytes() == b"mine"
    assert morph(clips[0], clips[1], "--force", "--steps", 2).code == 0
    assert (morph.here / "morph.png").read_bytes().startswith(b"\x89PNG")


def test_wrong_recordings_are_a_sentence(morph, clips):
    (morph.here / "letter.wav").write_text("Dear Sir or Madam,")
    done = morph(clips[0], morph.here / "letter.wav")
    assert done.code == 2 and "letter.wav" in done.stderr and "Traceback" not in done.stderr
    assert not (morph.here / "morph.png").exists()
    assert morph(clips[0]).code == 2 and morph(clips[0], clips[1], "--steps", 1).code == 2
    assert morph(clips[0], clips[1], "-o", "a.jpg").code == 2
