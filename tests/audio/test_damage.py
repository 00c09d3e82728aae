"""Whatever the bytes are, nothing but a VoiceToFaceError leaves `load_audio`, soon and in bounded memory."""

import os
import signal
import sys
import time

import pytest
from damage import Child, count_fates, damaged_files, formats
from encoding import wav
from odd_recordings import mono

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


def test_a_hundred_damaged_files():
    fates, escaped = count_fates(damaged_files(100, seed=1))
    assert escaped == []
    assert sum(fates.values()) == 100 and fates["read"] > 20 and fates["refused"] > 10


@pytest.mark.slow
def test_thousands_of_damaged_files():
    fates, escaped = count_fates(damaged_files(4000))
    print(f"tried {sum(fates.values())} files of {len(formats())} formats: {dict(fates)}")
    assert escaped == []
    assert sum(fates.values()) == 4000 and fates["read"] > 1000 and fates["refused"] > 500


@pytest.mark.slow
def test_undamaged_files_are_read():
    """So that what is damaged above is a recording at all; and the child lives on from file to file."""
    child = Child()
    fates = {name: child.ask(make()) for name, make in formats().items()}
    child.close()
    assert set(fates.values()) == {"read"}, fates


def test_what_escapes_is_noticed():
    child = Child()
    assert child.ask(wav(mono())) == "read"
    os.kill(child.process.pid, signal.SIGSEGV)
    time.sleep(0.2)
    assert child.ask(wav(mono())) == "escaped: ended with -11"
    assert child.ask(wav(mono())) == "read"
    child.close()
    assert Child(memory=2**20).ask(wav(mono())).startswith("escaped: more than 0.00098 GiB")
