"""Archives in parts, as VoxCeleb is published: one sentence with the commands that join them."""

import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import trees

from voice2face_gan.data.layouts import LAYOUTS, find_layout
from voice2face_gan.data.layouts.reading.parts import refuse_parts
from voice2face_gan.data.open import open_source
from voice2face_gan.errors import DataError


def parts(folder: Path, name: str, content: bytes = b"PK\x03\x04" + bytes(40)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    third = -(-len(content) // 3)
    for k, letter in enumerate("abc"):
        (folder / f"{name}_parta{letter}").write_bytes(content[k * third : (k + 1) * third])


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_refuses_them(name, tmp_path):
    parts(tmp_path / "vox", "vox1_dev_wav")
    (tmp_path / "vox" / "vox1_meta.csv").write_text("kept beside them")
    for call in (find_layout(name).records, find_layout(name).report):
        with pytest.raises(DataError, match="holds parts of archives") as caught:
            call([tmp_path / "vox"])
        command = "cat vox1_dev_wav_part* > vox1_dev_wav.zip && unzip vox1_dev_wav.zip"
        assert str(caught.value).endswith(f"in that folder run: {command}")


def test_training_and_the_command_line_give_the_same_message(tmp_path, cli):
    parts(tmp_path / "vox", "vox2_dev_aac")
    command = "cat vox2_dev_aac_part* > vox2_dev_aac.zip && unzip vox2_dev_aac.zip"
    with pytest.raises(DataError, match="joined and unpacked first") as caught:
        open_source(tmp_path / "vox")
    assert command in str(caught.value)
    result = cli("prepare", "voxceleb2", tmp_path / "vox", "-o", tmp_path / "store")
    assert result.code == 2 and "vox2_dev_aac_part*" in result.stderr
    result = cli("train", "--data", tmp_path / "vox", "--out", tmp_path / "run")
    assert result.code == 2 and "vox2_dev_aac_part*" in result.stderr and not (tmp_path / "run").exists()


def test_the_command_does_what_it_says(tmp_path):
    """Parts of two real archives, one level below, with a name that a shell would take apart."""
    places = {"vox1": "vox1_dev_wav", "vox 2": "vox2_dev aac"}
    for place, name in places.items():
        with zipfile.ZipFile(tmp_path / "whole.zip", "w") as archive:
            archive.writestr(f"wav/{name}.wav", b"sound" * 500)
        parts(tmp_path / "set" / place, name, (tmp_path / "whole.zip").read_bytes())
    with pytest.raises(DataError) as caught:
        refuse_parts(tmp_path / "set")
    command = str(caught.value).partition(" run: ")[2]
    # Not every machine has unzip.
    script = f'unzip() {{ {shlex.quote(sys.executable)} -m zipfile -e "$1" "$3"; }}; {command}'
    subprocess.run(["sh", "-c", script], cwd=tmp_path / "set", check=True)
    for place, name in places.items():
        assert (tmp_path / "set" / place / "wav" / f"{name}.wav").read_bytes() == b"sound" * 500
    refuse_parts(tmp_path / "set")  # there is something to read now


def test_what_is_joined_is_only_to_be_unpacked(tmp_path):
    parts(tmp_path, "vox1_dev_wav")
    (tmp_path / "vox1_dev_wav.zip").touch()
    with pytest.raises(DataError, match="run: unzip vox1_dev_wav.zip$"):
        refuse_parts(tmp_path)


@pytest.mark.parametrize("name", ["voxceleb1", "avspeech-parquet", "folders"])
def test_parts_beside_data_are_no_trouble(name, tmp_path):
    tree = trees.BUILDERS[name](tmp_path)
    parts(Path(tree.sources[0]), "vox1_dev_wav")
    assert len(list(find_layout(name).records(tree.sources))) >= tree.voices
