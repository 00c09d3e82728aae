"""Every error that a user can cause. The command line prints the sentence and exits with code 2.

A message is one clear sentence: the problem, the file, and the remedy.
"""


class VoiceToFaceError(Exception):
    """Base class of all errors with a sentence meant for the user."""


class AudioError(VoiceToFaceError):
    """A recording cannot be opened or holds no sound."""


class NoSpeechError(VoiceToFaceError):
    """Too little speech in a recording.

    Attributes:
        found: seconds of speech found.
        needed: seconds of speech needed.
    """

    def __init__(self, found: float, needed: float, name: str = "the recording"):
        self.found = found
        self.needed = needed
        super().__init__(
            f"{name}: {found:.2f} s of speech found, {needed:.2f} s needed; "
            "give a longer or cleaner recording of one person speaking."
        )


class ImageError(VoiceToFaceError):
    """An image cannot be opened or is not what it should be."""


class StoreError(VoiceToFaceError):
    """A prepared store is missing, incomplete or does not fit what is asked of it."""


class DataError(VoiceToFaceError):
    """A data set lacks what is asked of it: an empty split, no voices, no such gender."""


class RecipeError(VoiceToFaceError):
    """A recipe does not exist, or a key or value in it is wrong."""


class CheckpointError(VoiceToFaceError):
    """A checkpoint is missing, incomplete or made for something else."""


class TrainingError(VoiceToFaceError):
    """Training cannot start, go on or be resumed."""


class DeviceError(VoiceToFaceError):
    """This machine has no such device."""


class OutputError(VoiceToFaceError):
    """A file cannot be written, or would replace one that exists."""


class DownloadError(VoiceToFaceError):
    """A file cannot be fetched: no network, a server that has it not, or sends something else."""


class ServeError(VoiceToFaceError):
    """The web studio cannot start: the address is taken, an extra is missing, a limit makes no sense."""


class MetricError(VoiceToFaceError):
    """A metric cannot be computed here: weights or data it needs are missing."""


def first_line(error: Exception) -> str:
    """First line of another library's message, at most 160 characters; the error's type where it is empty."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:160]
