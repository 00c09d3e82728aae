"""Sets of features to compare: generated against real images in equal numbers, and real against real.

The features of a case's real images are kept in $V2F_CACHE/statistics, so that the next checkpoint judged
on the same data need not wait for them; means and covariances follow from them, whichever part is asked for.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from voice2face_gan.data.cache import cached
from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation.eval_set import EvalSet
from voice2face_gan.evaluation.features import Feature
from voice2face_gan.evaluation.registry import Options

_PAIRWISE = 10_000  # images of each kind, at most, where every one meets every other


@dataclass
class Set:
    """Features of some images.

    Attributes:
        features: float32 (N, D).
        identity: (N,) whose image each is.
    """

    features: np.ndarray
    identity: np.ndarray

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, keep) -> "Set":
        return Set(self.features[keep], self.identity[keep])


@dataclass
class Pair:
    """Two sets to compare.

    Attributes:
        suffix: of a figure's name: "", ", female" or ", male".
        generated, real: as many of the one as of the other.
        halves: real images against as many other real images, or None where there are too few.
    """

    suffix: str
    generated: Set
    real: Set
    halves: tuple[Set, Set] | None

    def __len__(self) -> int:
        return len(self.real)


def pairs(
    case: EvalSet, feature: Feature, options: Options, least: int = 2, most: int | None = None
) -> Iterator[Pair]:
    """The whole case, then each gender that has images enough; images are drawn with the options' seed.

    Args:
        least: images of each kind needed.
        most: images of each kind to use at most.
    Raises:
        MetricError: the whole case has too few.
    """
    made = Set(features_of(case, "generated", feature), case.generated_identity)
    real = Set(features_of(case, "real", feature), case.real_identity)
    for suffix, clips, faces in case.masks():
        count = min(clips.sum(), faces.sum(), most or len(clips))
        if count < least:
            if not suffix:
                raise MetricError(f"{least} images or more of each kind are needed, and there are {count}.")
            continue
        random = np.random.default_rng(options.seed)
        order = random.permutation(np.flatnonzero(faces))
        drawn = random.permutation(np.flatnonzero(clips))[:count]
        half = min(len(order) // 2, count)  # no more than above: the distance depends on the number
        halves = (real[order[:half]], real[order[half : 2 * half]]) if half >= least else None
        yield Pair(suffix, made[drawn], real[order[:count]], halves)


def pairwise(case: EvalSet, feature: Feature, options: Options, least: int = 2) -> Iterator[Pair]:
    """`pairs` for a metric in which every image meets every other."""
    return pairs(case, feature, options, least, _PAIRWISE)


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


def features_of(case: EvalSet, which: str, feature: Feature) -> np.ndarray:
    """Features float32 (N, D) of the "generated" or the "real" faces of a case; computed once, and those of
    real faces once for all cases."""
    key = (which, feature.hash)
    if key not in case._features:
        faces = getattr(case, which)
        real = which == "real"
        case._features[key] = cached(feature.hash, faces, feature.extract) if real else feature.extract(faces)
    return case._features[key]
