"""Judges behind one interface: "trunk" (shipped), "dlib", a folder that train-judge wrote, or any
"module:callable" or "file.py:callable" of the user's that gives a `FaceJudge`."""

from pathlib import Path

from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation.judges.base import FaceJudge, Reading
from voice2face_gan.resources import resource

__all__ = ["FaceJudge", "Reading", "open_judge"]

SHIPPED = "judge-builtin"


def open_judge(name: str = "trunk") -> FaceJudge:
    """The judge that --judge names.

    Raises:
        MetricError: no such judge, or what it needs is not installed.
        CheckpointError: the folder of a judge trunk is damaged.
    """
    from voice2face_gan.evaluation.judges.trunk import TrunkJudge

    if name == "trunk":
        return TrunkJudge.load(resource("assets", SHIPPED))
    if Path(name).is_dir():
        return TrunkJudge.load(name)
    raise MetricError(f"There is no judge '{name}'; choose trunk, or give the folder of a judge.")
