"""Sets of features to compare: generated and real images in equal numbers, and real against real.

The features of real images are cached in $V2F_CACHE/statistics, for the next checkpoint that is evaluated on
the same data. Means and covariances follow from them, for all images and for each gender.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from voice2face_gan.data.cache import cached
from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation.eval_set import EvalSet
from voice2face_gan.evaluation.features import Feature
from voice2face_gan.evaluation.registry import Options

_MAX_PAIRWISE_IMAGES = 10_000  # images of each kind, where every image is compared with every other


@dataclass
class FeatureSet:
    """Features of images.

    Attributes:
        features: float32 (N, D).
        identity: (N,), the identity of each image.
    """

    features: np.ndarray
    identity: np.ndarray

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, keep) -> "FeatureSet":
        return FeatureSet(self.features[keep], self.identity[keep])


@dataclass
class FeaturePair:
    """Two sets to compare.

    Attributes:
        suffix: end of a figure's name: "", ", female" or ", male".
        generated, real: equally many of both.
        halves: real images, and equally many other real images; None where there are too few.
    """

    suffix: str
    generated: FeatureSet
    real: FeatureSet
    halves: tuple[FeatureSet, FeatureSet] | None

    def __len__(self) -> int:
        return len(self.real)


def pairs(
    eval_set: EvalSet, feature: Feature, options: Options, min_images: int = 2, max_images: int | None = None
) -> Iterator[FeaturePair]:
    """Pairs of the whole set and of each gender with enough images, drawn with the options' seed.

    Args:
        min_images: smallest number of images of each kind.
        max_images: largest number of images of each kind; None for no limit.
    Raises:
        MetricError: the whole set has too few.
    """
    made = FeatureSet(features_of(eval_set, "generated", feature), eval_set.generated_identity)
    real = FeatureSet(features_of(eval_set, "real", feature), eval_set.real_identity)
    for suffix, clips, faces in eval_set.masks():
        count = min(clips.sum(), faces.sum(), max_images or len(clips))
        if count < min_images:
            if not suffix:
                raise MetricError(
                    f"{min_images} images or more of each kind are needed, and there are {count}."
                )
            continue
        random = np.random.default_rng(options.seed)
        order = random.permutation(np.flatnonzero(faces))
        drawn = random.permutation(np.flatnonzero(clips))[:count]
        half = min(len(order) // 2, count)  # not more than `count`: the distance depends on the number
        halves = (real[order[:half]], real[order[half : 2 * half]]) if half >= min_images else None
        yield FeaturePair(suffix, made[drawn], real[order[:count]], halves)


def pairwise(
    eval_set: EvalSet, feature: Feature, options: Options, min_images: int = 2
) -> Iterator[FeaturePair]:
    """`pairs` for a metric that compares every image with every other."""
    return pairs(eval_set, feature, options, min_images, _MAX_PAIRWISE_IMAGES)


def compared(feature: Feature, options: Options, what: str, count: int) -> str:
    """Protocol of a comparison: the feature, its comparability, and the number of images.

    Args:
        what: published name of the figure; a stand-in's figure is not comparable with it.
    """
    text = f"{count} generated against {count} real images in {feature.about}"
    if feature.stand_in:
        why = (
            " (pytorch-fid's Inception weights are not on this machine)" if options.feature == "auto" else ""
        )
        text += f", a stand-in{why}: not comparable with published {what}"
    return text


def features_of(eval_set: EvalSet, which: str, feature: Feature) -> np.ndarray:
    """Features float32 (N, D) of the "generated" or the "real" faces of an evaluation set.

    They are computed once, those of real faces once for all sets.
    """
    key = (which, feature.hash)
    if key not in eval_set._features:
        faces = getattr(eval_set, which)
        real = which == "real"
        eval_set._features[key] = (
            cached(feature.hash, faces, feature.extract) if real else feature.extract(faces)
        )
    return eval_set._features[key]
