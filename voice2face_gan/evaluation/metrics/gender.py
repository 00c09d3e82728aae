"""Gender agreement of the generated face, as the face reader reads it, with its speaker.

Percent per clip, then speaker, then over speakers; overall and for each label. `generated` compares with the
speaker's gender label (Wen et al. 2019, section 4.3). `real` is the face reader's own accuracy on the real
faces of the same speakers: its ceiling. `real face` compares with the gender read in most of the speaker's
real faces, which needs no labels (Speech2Face, Oh et al. 2019, section 4.1).
"""

import numpy as np

from voice2face_gan.data.records import FEMALE, GENDERS
from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation.correlation import per_identity
from voice2face_gan.evaluation.eval_set import EvalSet
from voice2face_gan.evaluation.registry import Options, clip_figures, mean_over_identities, metric
from voice2face_gan.results import Figure


@metric("gender")
def gender(eval_set: EvalSet, options: Options) -> dict[str, Figure]:
    """generated and real where genders are labelled; real face.

    Raises:
        MetricError: the face reader reads no gender, or there are neither labels nor real faces.
    """
    generated, real = eval_set.reading("generated"), eval_set.reading("real")
    if generated.female is None or real.female is None:
        raise MetricError(f"the face reader {eval_set.reader.name} does not read gender.")
    figures = {}
    if np.isin(eval_set.generated_gender, GENDERS).any():
        protocol = f"generated faces in which {eval_set.reader.name} reads the labelled gender"
        right = agreement(generated.female, eval_set.generated_gender)
        figures |= clip_figures(eval_set, "generated", right, protocol, options, unit="%", chance=50.0)
    truth = eval_set.real_gender
    known = np.isin(truth, GENDERS)
    if known.any():
        right = agreement(real.female[known], truth[known])
        mean, low, high = mean_over_identities(right, eval_set.real_identity[known], options.seed)
        protocol = f"real faces in which {eval_set.reader.name} reads the labelled gender"
        figures["real"] = Figure(mean, int(known.sum()), "faces", protocol, "%", low, high, chance=50.0)
    reads = f"{eval_set.reader.name} reads"
    protocol = f"generated faces in which {reads} the gender that it reads in most of the speaker's real ones"
    same = as_real_faces(eval_set)
    if np.isfinite(same).any() or not figures:
        figures |= clip_figures(eval_set, "real face", same, protocol, options, unit="%", chance=50.0)
    return figures


def agreement(female: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Percent, float (N,): 100 where P(female) is on the label's side, 0 where not, NaN without a label."""
    right = np.where((female > 0.5) == (label == FEMALE), 100.0, 0.0)
    return np.where(np.isin(label, GENDERS), right, np.nan)


def as_real_faces(eval_set: EvalSet) -> np.ndarray:
    """Percent, float (clips,): 100 where the generated face is read as most of its speaker's real faces are,
    0
    where not, NaN without real faces. The mean probability decides where as many are read either way."""
    generated, real = eval_set.reading("generated").female, eval_set.reading("real").female
    names, place = np.unique(eval_set.generated_identity, return_inverse=True)
    votes = per_identity(real > 0.5, eval_set.real_identity, names)
    sure = per_identity(real, eval_set.real_identity, names)
    most = np.where(votes == 0.5, sure, votes)[place]
    return np.where(np.isfinite(most), np.where((generated > 0.5) == (most > 0.5), 100.0, 0.0), np.nan)
