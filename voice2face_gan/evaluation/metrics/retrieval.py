"""Retrieval: R@k, the rank of the speaker's real face in a gallery, ordered by distance to the generated
face.

Query: each clip's generated face. Gallery: one real face an identity, the speaker's among them. A query
counts 100 where fewer than k faces of others are nearer than the speaker's own, else 0; mean over a speaker's
clips, then over speakers. Distances are L1 or L2 of the face reader's embeddings as they are, or their
cosine. The image of an identity is drawn at random, and R@k is the mean over up to 20 such draws. Where a
gallery holds fewer than all identities, the others in it are any subset, and R@k is the exact mean over
subsets: with b of N others nearer and g - 1 others in the gallery,

    P(rank <= k) = P(X <= k - 1),  X ~ Hypergeometric(N, b, g - 1)

Equal distances are put in random order. Chance is 100 k / g, so a figure needs its gallery's size. Source:
Speech2Face, Oh et al. 2019, Table 3 (its chance row is that of a gallery of 100).
"""

import numpy as np
import torch

from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation.eval_set import EvalSet
from voice2face_gan.evaluation.registry import Options, clip_figures, metric
from voice2face_gan.results import Figure

RANKS = (1, 2, 5, 10)
DRAWS = 20  # draws of the image of an identity
_QUERIES_PER_CHUNK = 4096  # queries


@metric("retrieval")
def retrieval(eval_set: EvalSet, options: Options) -> dict[str, Figure]:
    """R@1, 2, 5 and 10 with cosine, L2 and L1, as far as they are smaller than the gallery.

    Raises:
        MetricError: fewer than two identities, or fewer than the gallery asks for.
    """
    identities = len(np.unique(eval_set.real_identity))
    size = options.gallery or identities
    if identities < 2 or not 2 <= size <= identities:
        raise MetricError(
            f"retrieval from a gallery of {size}: these data have real faces of {identities} identities; "
            "a gallery holds 2 or more and no more than there are."
        )
    generated, real = eval_set.reading("generated"), eval_set.reading("real")
    # L2 orders unit vectors as their cosine does.
    ways = {
        "cosine": (generated.unit(), real.unit(), 2.0),
        "L2": (generated.embedding, real.embedding, 2.0),
        "L1": (generated.embedding, real.embedding, 1.0),
    }
    figures = {}
    for way, (queries, faces, p) in ways.items():
        chances = found_within(queries, faces, eval_set, p, size, options.seed)
        for k, percent in chances.items():
            protocol = (
                f"speaker's real face among the {k} nearest to the generated face by {way} of embeddings in "
                f"{eval_set.reader.name}, gallery of {size} identities with one face each"
                + (f", of {identities} at random" if size < identities else "")
                + f"; chance {100 * k / size:.3g} %"
            )
            figures |= clip_figures(
                eval_set, f"R@{k} {way}", percent, protocol, options, unit="%", chance=100 * k / size
            )
    return figures


def found_within(
    queries: np.ndarray, faces: np.ndarray, eval_set: EvalSet, p: float, size: int, seed: int
) -> dict[int, np.ndarray]:
    """Percent of galleries in which each query finds its own among the k nearest.

    Args:
        queries: (clips, D). faces: (faces, D).
        eval_set: identities of the clips and faces.
        p: 1 for L1, 2 for L2.
        size: identities in a gallery.
        seed: seed of the images and of the order of ties.
    Returns:
        k -> float (clips,), for each of RANKS smaller than the gallery; NaN for speakers without a real face.
    """
    from scipy.stats import hypergeom  # slow to import

    names, owner, counts = np.unique(eval_set.real_identity, return_inverse=True, return_counts=True)
    column = np.searchsorted(names, eval_set.generated_identity).clip(max=len(names) - 1)
    known = names[column] == eval_set.generated_identity
    random = np.random.default_rng(seed)
    shuffled = random.permutation(len(owner))
    order, first = shuffled[np.argsort(owner[shuffled], kind="stable")], np.cumsum(counts) - counts
    draws = min(DRAWS, int(counts.max()))
    found = {k: np.where(known, 0.0, np.nan) for k in RANKS if k < size}
    others = len(names) - 1
    within = {k: hypergeom.cdf(k - 1, others, np.arange(others + 1), size - 1) for k in found}
    for draw in range(draws):
        gallery = faces[order[first + draw % counts]]  # each identity's images in turn
        nearer = others_nearer(queries[known], gallery, column[known], p, random)
        for k, percent in found.items():
            percent[known] += 100 / draws * within[k][nearer]
    return found


def others_nearer(
    queries: np.ndarray, gallery: np.ndarray, own: np.ndarray, p: float, random: np.random.Generator
) -> np.ndarray:
    """Number of others of a gallery that are nearer to each query than its own; ties in random order.

    Args:
        queries: (N, D). gallery: (G, D).
        own: int64 (N,), index of each query's own in the gallery.
        p: 1 for L1, 2 for L2.
    Returns:
        int64 (N,), 0 to G - 1.
    """
    below, ties = [], []
    for start in range(0, len(queries), _QUERIES_PER_CHUNK):
        part = slice(start, start + _QUERIES_PER_CHUNK)
        some, among = torch.from_numpy(queries[part]), torch.from_numpy(gallery)
        # Not by a matrix product: equal faces must have equal distances to the last bit.
        away = torch.cdist(some, among, p, "donot_use_mm_for_euclid_dist")
        limit = away.gather(1, torch.from_numpy(own[part])[:, None])
        below.append((away < limit).sum(dim=1))
        ties.append((away == limit).sum(dim=1) - 1)
    return torch.cat(below).numpy() + random.integers(torch.cat(ties).numpy() + 1)
