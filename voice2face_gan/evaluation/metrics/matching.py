"""Voice-to-face matching: trials between the speaker's real face and that of an imposter.

A trial is a clip, a real face of its speaker and a real face of another identity. It is won where

    cos(generated, own) > cos(generated, other)

in the face reader's embeddings; a tie counts half. Every clip is tried with every pair of its own real faces
and the real faces of all other identities. Percent of trials won, mean over a clip's trials, then over a
speaker's clips, then over speakers. Chance is 50. U: any imposter. G: imposters of the speaker's own gender,
so that the right gender alone wins nothing. Source: Wen et al. 2019, Table 3; the score is their authors'
(issue 10 of their repository).

"centred": generated embeddings less the mean of all generated ones, real less the mean of all real ones,
before the cosine. This removes what all generated faces share, such as artefacts that the face reader
responds to. Each mean is the mean of the identities' means, so that an identity with many images weighs no
more than another. The means come from the test faces, without use of their identities' pairing.

"from e": instead of the generated face's embedding, one that is predicted from the voice's e
(evaluation/from_embedding.py). Where it wins and the image does not, the generator loses what e has.
"""

from dataclasses import dataclass

import numpy as np

from voice2face_gan.data.records import GENDERS
from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation.eval_set import EvalSet
from voice2face_gan.evaluation.from_embedding import training_part
from voice2face_gan.evaluation.registry import Options, clip_figures, metric
from voice2face_gan.results import Figure

ANY_IMPOSTER, SAME_GENDER = "U", "G"
_COSINES_PER_CHUNK = 1 << 23  # cosines held in memory together
_COSINE_DECIMALS = 9  # equal decimals are a tie: a product's last bits depend on its place in a matrix


@dataclass
class Trials:
    """Results of the trials of each clip.

    Attributes:
        won: float (clips,), percent won; NaN for a clip without trials.
        count: int64 (clips,), number of trials.
    """

    won: np.ndarray
    count: np.ndarray

    @classmethod
    def none(cls, clips: int) -> "Trials":
        return cls(np.full(clips, np.nan), np.zeros(clips, dtype=np.int64))


@metric("matching")
def matching(eval_set: EvalSet, options: Options) -> dict[str, Figure]:
    """U and G, both centred, and both from e, each overall and for speakers of either gender.

    Raises:
        MetricError: real faces of one identity alone, or of none of the speakers.
    """
    if len(np.unique(eval_set.real_identity)) < 2:
        raise MetricError("matching needs the real faces of two identities or more; these data have fewer.")
    generated, real = eval_set.reading("generated"), eval_set.reading("real")
    figures = {}
    for how in ("", " centred"):
        centres = (0.0, 0.0)
        if how:
            centres = (
                centre(generated.embedding, eval_set.generated_identity),
                centre(real.embedding, eval_set.real_identity),
            )
        trials = hold_trials(eval_set, generated.unit(centres[0]), real.unit(centres[1]))
        for kind, result in trials.items():
            if result.count.any():
                figures |= clip_figures(
                    eval_set, kind + how, result.won, _protocol(eval_set, kind, how), options,
                    unit="%", chance=50.0, counted="trials", counts=result.count,
                )  # fmt: skip
    figures |= _from_e(eval_set, options)
    if not figures:
        raise MetricError("matching needs real faces of the speakers, and these data have none.")
    return figures


def _from_e(eval_set: EvalSet, options: Options) -> dict[str, Figure]:
    """U and G of embeddings predicted from e; {} where there is nothing to fit on."""
    part = training_part(eval_set)
    if part is None:
        return {}
    targets = part.means(eval_set.reader.read(part.faces).unit())
    predicted = part.map_to(targets, eval_set.e)
    predicted /= np.linalg.norm(predicted, axis=1, keepdims=True) + 1e-12
    figures = {}
    for kind, result in hold_trials(eval_set, predicted, eval_set.reading("real").unit()).items():
        if result.count.any():
            protocol = _protocol(eval_set, kind, "").replace(
                "generated face", f"embedding predicted by {part.protocol}", 1
            )
            figures |= clip_figures(
                eval_set, f"{kind} from e", result.won, protocol, options,
                unit="%", chance=50.0, counted="trials", counts=result.count,
            )  # fmt: skip
    return figures


def hold_trials(eval_set: EvalSet, generated: np.ndarray, real: np.ndarray) -> dict[str, Trials]:
    """All trials of an evaluation set, by kind of imposter.

    Args:
        eval_set: its clips and faces.
        generated: (clips, D), of unit length.
        real: (faces, D), of unit length.
    Returns:
        "U" and "G".
    """
    generated, real = generated.astype(np.float64), real.astype(np.float64)
    trials = {kind: Trials.none(len(generated)) for kind in (ANY_IMPOSTER, SAME_GENDER)}
    real_gender, gender_of = eval_set.real_gender, eval_set.gender_of
    for clips, own in eval_set.speakers():
        others = np.ones(len(real), dtype=bool)
        others[own] = False
        gender = gender_of.get(str(eval_set.generated_identity[clips[0]]), "")
        imposters = {
            ANY_IMPOSTER: others,
            SAME_GENDER: others & (real_gender == gender) & (gender in GENDERS),
        }
        step = max(_COSINES_PER_CHUNK // len(real), 1)
        for start in range(0, len(clips), step):
            some = clips[start : start + step]
            cosine = np.round(generated[some] @ real.T, _COSINE_DECIMALS)
            for kind, chosen in imposters.items():
                if chosen.any():
                    trials[kind].won[some] = percent_won(cosine[:, own], cosine[:, chosen])
                    trials[kind].count[some] = len(own) * int(chosen.sum())
    return trials


def percent_won(own: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Percent of pairs (own, other) in which own is greater, ties half: (N, A), (N, B) -> float64 (N,).

    By rank in the sorted others, so that A x B pairs cost about A + B steps.
    """
    beaten = [
        np.searchsorted(row, mine, "left") + np.searchsorted(row, mine, "right")  # twice those below + ties
        for row, mine in zip(np.sort(others, axis=1), own, strict=True)
    ]
    return np.mean(beaten, axis=1) * 50 / others.shape[1]


def centre(embedding: np.ndarray, identity: np.ndarray) -> np.ndarray:
    """The mean of the identities' mean embeddings: (N, D), (N,) -> float64 (D,)."""
    _, labels, counts = np.unique(identity, return_inverse=True, return_counts=True)
    return (embedding / counts[labels, None]).sum(axis=0, dtype=np.float64) / len(counts)


def _protocol(eval_set: EvalSet, kind: str, how: str) -> str:
    imposter = "another identity of the same gender" if kind == SAME_GENDER else "any other identity"
    identities = len(np.unique(eval_set.real_identity))
    counts = (
        f"{len(eval_set.generated)} clips against {len(eval_set.real)} real faces of {identities} identities"
    )
    sentence = (
        f"generated face nearer to a real face of its speaker than to one of {imposter}, by cosine in "
        f"{eval_set.reader.name}; {counts}, every own face x every imposter's, ties half; mean per clip, "
        "per identity, over them"
    )
    if how:
        sentence += "; embeddings less the mean over identities, of generated and of real faces each"
    unknown = len(np.unique(eval_set.real_identity[~np.isin(eval_set.real_gender, GENDERS)]))
    if kind == SAME_GENDER and unknown:
        sentence += f"; {unknown} identities of unknown gender left out"
    return sentence
