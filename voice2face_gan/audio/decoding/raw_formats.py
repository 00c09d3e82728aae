"""Sound without a header: telephone formats in which any bytes are sound.

They are read only where each frame carries a mark that can be checked, which is so for GSM full rate alone.
For the others a file's ending is no proof: a letter named `a.ul` would become noise, and the noise a face. So
they are refused, with the line that turns them into a WAV file.
"""

from __future__ import annotations

import os
import shlex

from voice2face_gan.audio.decoding.source import RecordingFile

_GSM_FRAME = 33  # bytes, of 20 ms; the first four bits of each are 1101 (ETSI TS 101 318, section 5.1)
_GSM_MIN_FRAMES = 20  # chance gives so many marks once in 10^24; of more, one in 50 may be damaged
_GSM_MAX_FRAMES = 500  # read, 10 s

_TELEPHONE = {
    "µ-law": ("ul u ulaw mulaw pcmu", "-f mulaw -ar 8000"),
    "A-law": ("al alaw pcma", "-f alaw -ar 8000"),
    "G.722": ("g722 722", "-f g722"),
    "G.723.1": ("g723_1 g723 rco tco", "-f g723_1"),
    "G.726": ("g726", "-f g726 -ar 8000"),
    "G.728": ("g728", "-f g728"),
    "G.729": ("g729", "-f g729"),
    "GSM": ("gsm", "-f gsm"),
    "iLBC": ("lbc", "-f ilbc"),
    "SBC": ("sbc", "-f sbc"),
    "16-bit": ("sw sln slin raw pcm s16 s16le", "-f s16le -ar 8000"),
    "unsigned 16-bit": ("uw", "-f u16le -ar 8000"),
    "8-bit": ("ub u8", "-f u8 -ar 8000"),
    "signed 8-bit": ("sb s8", "-f s8 -ar 8000"),
}
_OPTIONS = {end: (what, line) for what, (ends, line) in _TELEPHONE.items() for end in ends.split()}


def headerless_format(file: RecordingFile) -> str | None:
    """FFmpeg's name of the headerless format that the content proves: "gsm", or None."""
    data = file.head(_GSM_FRAME * _GSM_MAX_FRAMES)
    marks = data[: len(data) - len(data) % _GSM_FRAME : _GSM_FRAME]
    wrong = sum(mark >> 4 != 0xD for mark in marks)
    if len(marks) >= _GSM_MIN_FRAMES and 50 * wrong <= len(marks) and len(set(data)) > 4:
        return "gsm"
    return None


def conversion(name: str) -> str | None:
    """Message for an unknown file with the ending of a headerless format, or None."""
    base, ending = os.path.splitext(name)
    what, line = _OPTIONS.get(ending[1:].lower(), (None, None))
    if what is None:
        return None
    names = f"{shlex.quote(name)} {shlex.quote(base + '.wav')}"
    return f"nothing in it shows that it is {what} sound; convert it: ffmpeg {line} -i {names}"
