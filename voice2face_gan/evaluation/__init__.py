"""Evaluation: every figure with its protocol, one file a metric. Importing the package registers them."""

from voice2face_gan.evaluation.metrics import (  # noqa: F401  (each registers itself)
    age,
    cosine,
    craniofacial,
    detection,
    diversity,
    duration,
    fid,
    gender,
    identity,
    kid,
    l1,
    matching,
    memory,
    noise,
    prdc,
    recovery,
    retrieval,
)
from voice2face_gan.evaluation.registry import METRICS, compute
from voice2face_gan.results import Figure

__all__ = ["METRICS", "Figure", "compute"]
