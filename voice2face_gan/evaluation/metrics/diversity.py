"""Diversity: distance of faces, 1 - cosine of a face reader's embeddings, within and between speakers.

    within a speaker       faces from different clips of one speaker
    variants of a clip     faces from one clip with different noise, as `generate --variants` makes them
    between speakers       faces from clips of different speakers

and the same for the real faces. A model that generates one face for all voices has less than the real faces
between speakers. A model that depends on the recording rather than on the voice has more within a speaker.
Between speakers of both genders the distance is mostly that of the genders; each gender alone is given too.
"""

import numpy as np
import torch

from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation.eval_set import EvalSet, generate_framed
from voice2face_gan.evaluation.protocol import generator_inputs
from voice2face_gan.evaluation.registry import Options, mean_over_identities, metric
from voice2face_gan.results import Figure

VARIANTS = 4  # variants of a clip
_MAX_SPEAKERS = 100  # speakers whose first clip is generated in variants


@metric("diversity")
def diversity(eval_set: EvalSet, options: Options) -> dict[str, Figure]:
    figures = {}
    protocol = f"mean 1 - cosine in {eval_set.reader.name} between"
    kinds = {
        "": (eval_set.reading("generated").unit(), eval_set.generated_identity, "clips"),
        "real ": (eval_set.reading("real").unit(), eval_set.real_identity, "images"),
    }
    for suffix, clips, faces in eval_set.masks():
        for prefix, (unit, identity, counted) in kinds.items():
            chosen = faces if prefix else clips
            within, between = pairwise_distances(unit[chosen], identity[chosen])
            for name, what, values in (
                ("within a speaker", f"faces of one speaker, from different {counted}", within),
                ("between speakers", "faces of different speakers", between),
            ):
                figure = _figure(values, identity[chosen], f"{protocol} {what}", counted, options)
                if figure is not None:
                    figures[prefix + name + suffix] = figure
    if eval_set.model is not None and eval_set.voices is not None:
        values, identity = variants_apart(eval_set, options.seed)
        what = f"{VARIANTS} variants of the first clip of each of {len(values)} speakers"
        figures["variants of a clip"] = _figure(values, identity, f"{protocol} {what}", "clips", options)
    if not figures:
        raise MetricError("diversity needs two clips of a speaker or two speakers, and there are none.")
    return figures


def pairwise_distances(unit: np.ndarray, identity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean distance 1 - cosine of each unit vector to the others of its identity, and to those of all others.

    Args:
        unit: (N, D).
        identity: (N,).
    Returns:
        float64 (N,) and (N,), NaN where there are no others.
    """
    names, labels, counts = np.unique(identity, return_inverse=True, return_counts=True)
    unit = unit.astype(np.float64)
    sums = np.zeros((len(names), unit.shape[1]))
    np.add.at(sums, labels, unit)  # a mean of cosines is the product with a mean of unit vectors
    own, all_of_them = sums[labels], sums.sum(axis=0)
    fellows, others = counts[labels] - 1, len(unit) - counts[labels]
    with np.errstate(invalid="ignore", divide="ignore"):
        within = 1 - (unit * (own - unit)).sum(axis=1) / fellows
        between = 1 - (unit * (all_of_them - own)).sum(axis=1) / others
    return np.where(fellows > 0, within, np.nan), np.where(others > 0, between, np.nan)


def variants_apart(eval_set: EvalSet, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean distance of a clip's variants to each other, for the first clip of each of the first speakers.

    Returns:
        float64 (speakers,), and the identities (speakers,).
    """
    _, first = np.unique(eval_set.generated_identity, return_index=True)
    first = np.sort(first)[:_MAX_SPEAKERS]
    keep = np.zeros(len(eval_set.generated_identity), dtype=bool)
    keep[first] = True
    embedded = generator_inputs(eval_set.model, eval_set.voices.select(keep), strength=eval_set.strength)
    # The noise of e has its full scale, that of z the set's.
    faces = generate_framed(
        eval_set.model,
        torch.cat([eval_set.model.variant_embeddings(e, VARIANTS, seed) for e in embedded]),
        noise_scale=eval_set.noise_scale,
    )
    whose = np.repeat(np.arange(len(first)), VARIANTS)
    within, _ = pairwise_distances(eval_set.reader.read(faces).unit(), whose)
    return within.reshape(-1, VARIANTS).mean(axis=1), eval_set.generated_identity[first]


def _figure(values, identity, protocol: str, counted: str, options: Options) -> Figure | None:
    known = np.isfinite(values)
    if not known.any():
        return None
    mean, low, high = mean_over_identities(values[known], identity[known], options.seed)
    return Figure(mean, int(known.sum()), counted, protocol, low=low, high=high)
