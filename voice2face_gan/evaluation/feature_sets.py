"""Sets of features to compare: generated against real images in equal numbers, and real against real.

The features of a case's real images are kept in $V2F_CACHE/statistics, so that the next checkpoint judged
on the same data need not wait for them; means and covariances follow from them, whichever part is asked for.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from voice2face_gan.data.cache import kept
from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation.eval_set import EvalSet
from voice2face_gan.evaluation.features import Feature
from voice2face_gan.evaluation.registry import Options

_MAX_PAIRWISE_IMAGES = 10_000  # images of each kind, at most, where every one meets every other


@dataclass
class FeatureSet:
    """Features of some images.

    Attributes:
        features: float32 (N, D).
        identity: (N,) whose image each is.
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
        suffix: of a figure's name: "", ", female" or ", male".
        generated, real: as many of the one as of the other.
        halves: real images against as many other real images, or None where there are too few.
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
    """The whole case, then each gender that has images enough; images are drawn with the options' seed.

    Args:
        least: images of each kind needed.
        most: images of each kind to use at most.
    Raises:
        MetricError: the whole case has too few.
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
        half = min(len(order) // 2, count)  # no more than above: the distance depends on the number
        halves = (real[order[:half]], real[order[half : 2 * half]]) if half >= min_images else None
        yield FeaturePair(suffix, made[drawn], real[order[:count]], halves)


def pairwise(
    eval_set: EvalSet, feature: Feature, options: Options, min_images: int = 2
) -> Iterator[FeaturePair]:
    """`pairs` for a metric in which every image meets every other."""
    return pairs(eval_set, feature, options, min_images, _MAX_PAIRWISE_IMAGES)


def compared(feature: Feature, options: Options, what: str, count: int) -> str:
    """The protocol of a comparison: the feature, what it means, and how many images.

    Args:
        what: the figure's published name, with which a stand-in's must not be confused.
    """
    text = f"{count} generated against {count} real images in {feature.about}"
    if feature.stand_in:
        why = (
            " (pytorch-fid's Inception weights are not on this machine)" if options.feature == "auto" else ""
        )
        text += f", a stand-in{why}: not comparable with published {what}"
    return text


def features_of(eval_set: EvalSet, which: str, feature: Feature) -> np.ndarray:
    """Features float32 (N, D) of the "generated" or the "real" faces of a case; computed once, and those of
    real faces once for all cases."""
    key = (which, feature.hash)
    if key not in eval_set._features:
        faces = getattr(eval_set, which)
        real = which == "real"
        eval_set._features[key] = (
            kept(feature.hash, faces, feature.extract) if real else feature.extract(faces)
        )
    return eval_set._features[key]
