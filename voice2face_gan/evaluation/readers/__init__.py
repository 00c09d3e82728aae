"""Judges behind one interface: "trunk" (shipped), "dlib", a folder that train-face-classifier wrote, or any
"module:callable" or "file.py:callable" of the user's that gives a `FaceReader`."""

from pathlib import Path

from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation.readers.base import FaceReader, Reading, describe
from voice2face_gan.resources import resource

__all__ = ["FaceReader", "Reading", "describe", "open_reader"]

SHIPPED = "face_classifier"


def open_reader(name: str = "trunk") -> FaceReader:
    """The judge that --judge names.

    Raises:
        MetricError: no such judge, what it needs is not installed, or a judge of the user's fails.
        CheckpointError: the folder of a judge trunk is damaged.
    """
    from voice2face_gan.evaluation.readers.classifier import ClassifierReader

    if name == "trunk":
        return ClassifierReader.load(resource("assets", SHIPPED))
    if name == "dlib":
        from voice2face_gan.evaluation.readers.dlib import DlibReader

        return DlibReader()
    if Path(name).is_dir():
        return ClassifierReader.load(name)
    if name.rpartition(":")[0] and name.rpartition(":")[2].isidentifier():
        from voice2face_gan.evaluation.readers.user import user_reader

        return user_reader(name)
    raise MetricError(
        f"There is no judge '{name}'; choose trunk or dlib, or give the folder of a judge, or "
        "package.module:callable or path/file.py:callable."
    )
