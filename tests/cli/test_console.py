"""What all commands share: help, errors, exit codes, where words go."""

import click
import pytest

from voice2face_gan import __version__
from voice2face_gan.cli import main
from voice2face_gan.cli._console import Group, print_json
from voice2face_gan.errors import VoiceToFaceError


def commands(group=main, path=()):
    yield path
    if isinstance(group, click.Group):
        for name, command in group.commands.items():
            yield from commands(command, (*path, name))


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_every_command_has_help(cli, path):
    for option in ("--help", "-h"):
        result = cli(*path, option)
        assert result.code == 0 and result.stdout.startswith("Usage:") and result.stderr == ""
        assert len(result.stdout.splitlines()) > 4


def test_every_command_that_gives_a_result_gives_it_as_json():
    for path in commands():
        if path == ("serve",):  # it runs until Ctrl-C and gives no result
            continue
        command = main
        for name in path:
            command = command.commands[name]
        if not isinstance(command, click.Group):
            assert "--json" in {name for option in command.params for name in option.opts}, path


def test_the_version(cli):
    result = cli("--version")
    assert result.code == 0 and __version__ in result.stdout


def test_an_unknown_command(cli):
    result = cli("gnerate")
    assert result.code == 2 and "gnerate" in result.stderr


@pytest.fixture
def failing():
    """Function (exception) -> a command line whose command raises it."""

    def make(error):
        @click.group(cls=Group)
        def group():
            pass

        @group.command()
        def go():
            raise error

        return group

    return make


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (VoiceToFaceError("It is broken."), 2, "Error: It is broken."),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (OSError(28, "No space left on device", "a.bin"), 2, "Error: a.bin: No space left on device."),
        (PermissionError("not yours"), 2, "Error: not yours."),
    ],
)
def test_how_errors_end(failing, error, code, words):
    from click.testing import CliRunner

    result = CliRunner().invoke(failing(error), ["go"], catch_exceptions=False)
    assert result.exit_code == code and words in result.stderr and result.stdout == ""


def test_a_bug_is_not_hidden(failing):
    from click.testing import CliRunner

    with pytest.raises(ZeroDivisionError):
        CliRunner().invoke(failing(ZeroDivisionError()), ["go"], catch_exceptions=False)


def test_json_is_readable_where_it_can_be_and_escaped_where_not(capsysbinary, monkeypatch):
    print_json({"clip": "Zoë"})
    assert "Zoë".encode() in capsysbinary.readouterr().out
    print_json({"clip": "caf\udce9"})  # a name that is no text
    assert b"caf\\udce9" in capsysbinary.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ("generate", "a.wav", "--strength", "nan"),
        ("generate", "a.wav", "--noise-scale", "NaN"),
        ("train", "--minutes", "nan"),
        ("bench", "generate", "--seconds", "nan"),
    ],
)
def test_nan_is_no_number(cli, arguments):
    done = cli(*arguments)
    assert done.code == 2 and f"'{arguments[-1]}' is not a number." in done.stderr
