"""--audio-track, --start and --end of the commands that take recordings."""

import json
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from voice2face_gan.cli._clip_options import clip_options

sys.path.append(str(Path(__file__).parents[1] / "audio"))


@click.command()
@clip_options
def show(audio_track, start, end):
    click.echo(json.dumps([audio_track, start, end]))


def parsed(*arguments):
    result = CliRunner().invoke(show, arguments)
    return json.loads(result.stdout) if result.exit_code == 0 else (result.exit_code, result.output)


@pytest.mark.parametrize("text, seconds", [
    ("80", 80), ("80.5", 80.5), (".5", 0.5), ("1:20", 80), ("01:20.25", 80.25), ("1:02:03", 3723),
    ("0:00:01.5", 1.5),
    ("125:00", 7500), ("1:60", None), ("1:60:00", None), ("-1", None), ("1h", None),
    ("", None), ("1:2:3:4", None), ("nan", None),
])  # fmt: skip
def test_times(text, seconds):
    found = parsed("--start", text, "--end", text)
    if seconds is None:
        assert found[0] == 2 and "is no time; give seconds (80 or 80.5), 1:20 or 1:02:03." in found[1]
    else:
        assert found == [None, seconds, seconds]


def test_tracks_are_counted_from_one():
    assert parsed() == [None, None, None] and parsed("--audio-track", "2") == [2, None, None]
    assert parsed("--audio-track", "0")[0] == 2


@pytest.fixture
def film(tmp_path):
    from odd_recordings import SILENCE, mono, tracks

    (tmp_path / "film.mp4").write_bytes(tracks([SILENCE, mono()]))
    return tmp_path / "film.mp4"


def test_generate_says_which_track_it_heard(cli, model_folder, film):
    result = cli("generate", "--checkpoint", model_folder, film, "--json", "--start", "0:01", "--end", "3.5")
    (face,) = json.loads(result.stdout)["faces"]
    assert result.code == 0 and face["seconds"] == 2.5
    assert (face["audio_tracks"], face["audio_track"]) == (2, 2) and "track 1 is silent" in face["audio_note"]
    assert "sound track 2 of 2 is heard, for track 1 is silent." in result.stderr


def test_generate_of_one_track_says_nothing_of_it(cli, model_folder, clips):
    result = cli("generate", "--checkpoint", model_folder, clips[0], "--json", "--audio-track", 1)
    (face,) = json.loads(result.stdout)["faces"]
    assert result.code == 0 and not [key for key in face if key.startswith("audio")]


@pytest.mark.parametrize("arguments, words", [
    (["--audio-track", 3], "has 2 sound tracks, no track 3; ask for one from 1 to 2."),
    (["--audio-track", 1], "film.mp4, sound track 1 of 2: 0.00 s of speech found"),
    (["--start", 9], "the start, 9 s, lies beyond its end at 5.02 s"),
    (["--start", 3, "--end", 2], "the start, 3 s, is not before the end, 2 s."),
])  # fmt: skip
def test_generate_refuses(cli, model_folder, film, arguments, words):
    result = cli("generate", "--checkpoint", model_folder, film, *arguments)
    assert result.code == 2 and words in result.stderr and not list(cli.here.iterdir())
