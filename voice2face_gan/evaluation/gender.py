"""Gender agreement: does the judge see in the generated face the gender its speaker is labelled with?

Per clip, then speaker, then over speakers, in percent; overall and for each label. `real` is the judge's own
accuracy on the real faces of the same speakers: the ceiling. Source: Wen et al. 2019, section 4.3.
"""

import numpy as np

from voice2face_gan.data.records import FEMALE, GENDERS
from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation.case import Case
from voice2face_gan.evaluation.registry import Figure, Options, clip_figures, mean_over_identities, metric


@metric("gender")
def gender(case: Case, options: Options) -> dict[str, Figure]:
    generated, real = case.reading("generated"), case.reading("real")
    if generated.female is None:
        raise MetricError(f"the judge {case.judge.name} does not read gender.")
    if not np.isin(case.generated_gender, GENDERS).any():
        raise MetricError("gender agreement needs gender labels, and these data have none.")
    protocol = f"generated faces on which {case.judge.name} sees the labelled gender"
    right = agreement(generated.female, case.generated_gender)
    figures = clip_figures(case, "generated", right, protocol, options, unit="%", chance=50.0)
    truth = case.real_gender
    known = np.isin(truth, GENDERS)
    right = agreement(real.female[known], truth[known])
    mean, low, high = mean_over_identities(right, case.real_identity[known], options.seed)
    protocol = f"real faces on which {case.judge.name} sees the labelled gender"
    figures["real"] = Figure(mean, int(known.sum()), "faces", protocol, "%", low, high, chance=50.0)
    return figures


def agreement(female: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Percent, float (N,): 100 where P(female) is on the label's side, 0 where not, NaN without a label."""
    right = np.where((female > 0.5) == (label == FEMALE), 100.0, 0.0)
    return np.where(np.isin(label, GENDERS), right, np.nan)
