"""Face readers behind one interface.

"trunk" is the shipped face classifier; others are "dlib", a folder that train-face-classifier wrote, and any
"module:callable" or "file.py:callable" of the user's that gives a `FaceReader`."""

from pathlib import Path

from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation.readers.base import FaceReader, Reading, describe
from voice2face_gan.resources import resource

__all__ = ["FaceReader", "Reading", "describe", "open_reader"]

SHIPPED_READER = "face_classifier"


def open_reader(name: str = "trunk") -> FaceReader:
    """Open the face reader that the option --judge names.

    Raises:
        MetricError: no such face reader, its library is not installed, or the user's callable fails.
        CheckpointError: the folder of a face classifier is damaged.
    """
    from voice2face_gan.evaluation.readers.classifier import ClassifierReader

    if name == "trunk":
        return ClassifierReader.load(resource("assets", SHIPPED_READER))
    if name == "dlib":
        from voice2face_gan.evaluation.readers.dlib import DlibReader

        return DlibReader()
    if Path(name).is_dir():
        return ClassifierReader.load(name)
    if name.rpartition(":")[0] and name.rpartition(":")[2].isidentifier():
        from voice2face_gan.evaluation.readers.user import user_reader

        return user_reader(name)
    raise MetricError(
        f"There is no face reader '{name}'; choose trunk or dlib, or give a folder that "
        "train-face-classifier wrote, package.module:callable or path/file.py:callable."
    )
