"""Age: does the generated face look as old as its speaker?

An age is what the judge reads, mean over a person's images. `r` is Pearson's r over people between the age
in the generated faces and the age in the real ones, overall and within either gender; `difference` is how
many years lie between, per clip, then speaker, then over speakers. Where the data know ages, `r label` is r
with the label, and `real` the judge's own r with it on the real faces: the ceiling. Source: attributes in
Speech2Face, Oh et al. 2019, section 4.1, there in classes of ten years.
"""

import numpy as np

from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation.correlation import FEWEST, interval, per_identity, resampled_r
from voice2face_gan.evaluation.eval_set import EvalSet
from voice2face_gan.evaluation.registry import Options, clip_figures, metric
from voice2face_gan.results import Figure


@metric("age")
def age(case: EvalSet, options: Options) -> dict[str, Figure]:
    """r and difference; r label and real where three people's ages are known.

    Raises:
        MetricError: the judge does not read age, or there are fewer than three people with real faces.
    """
    generated, real = case.reading("generated").age, case.reading("real").age
    judge = case.judge.name
    if generated is None or real is None:
        raise MetricError(f"the judge {judge} does not read age.")
    names, first = np.unique(case.generated_identity, return_index=True)
    made = per_identity(generated, case.generated_identity, names)
    seen = per_identity(real, case.real_identity, names)
    figures = {}
    protocol = f"Pearson's r over people of the ages that {judge} reads in generated and in real faces"
    for suffix, clips in case.genders():
        people = clips[first]
        figures |= _r(f"r{suffix}", made[people], seen[people], protocol, options)
    if not figures:
        raise MetricError(f"age needs {FEWEST} people or more with real faces; these data have fewer.")
    _, place = np.unique(case.generated_identity, return_inverse=True)
    protocol = f"years between what {judge} reads in a clip's face and in its speaker's real faces"
    figures |= clip_figures(
        case, "difference", np.abs(generated - seen[place]), protocol, options, unit="years"
    )
    if case.real_age is not None:
        label = per_identity(case.real_age, case.real_identity, names)
        protocol = f"Pearson's r over people of the age that {judge} reads in generated faces and the label"
        figures |= _r("r label", made, label, protocol, options)
        known = np.isfinite(case.real_age)
        seen = per_identity(real[known], case.real_identity[known], names)
        protocol = f"Pearson's r over people of the age that {judge} reads in real faces and the label"
        figures |= _r("real", seen, label, protocol, options)
    return figures


def _r(name: str, a: np.ndarray, b: np.ndarray, protocol: str, options: Options) -> dict[str, Figure]:
    """The figure of Pearson's r over those who have both values; none if they are fewer than three."""
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < FEWEST:
        return {}
    r, drawn = resampled_r(a[both], b[both], options.seed)
    low, high = interval(drawn)
    return {name: Figure(float(r), int(both.sum()), "people", protocol, "", low, high, chance=0.0)}
