"""Every number with its protocol. One file a metric; importing this package registers them."""

from voice2face_gan.evaluation import cosine, fid, gender, l1  # noqa: F401  (each registers itself)
from voice2face_gan.evaluation.registry import METRICS, Figure, compute

__all__ = ["METRICS", "Figure", "compute"]
