"""Age: correlation of the age read in the generated face with that read in the speaker's real faces.

The face reader reads an age in each image; an identity's age is the mean over its images. `r` is Pearson's r
over identities between the age in the generated faces and the age in the real ones, overall and within each
gender. `difference` is the distance in years, per clip, then speaker, then over speakers. Where the data know
ages, `r label` is r with the label, and `real` the face reader's own r with it on the real faces: the
ceiling. Source: attributes in Speech2Face, Oh et al. 2019, section 4.1, there in classes of ten years.
"""

import numpy as np

from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation.correlation import MIN_IDENTITIES, interval, per_identity, resampled_r
from voice2face_gan.evaluation.eval_set import EvalSet
from voice2face_gan.evaluation.registry import Options, clip_figures, metric
from voice2face_gan.results import Figure


@metric("age")
def age(eval_set: EvalSet, options: Options) -> dict[str, Figure]:
    """r and difference; r label and real where three identities' ages are known.

    Raises:
        MetricError: the face reader reads no age, or fewer than three identities have real faces.
    """
    generated, real = eval_set.reading("generated").age, eval_set.reading("real").age
    reader = eval_set.reader.name
    if generated is None or real is None:
        raise MetricError(f"the face reader {reader} does not read age.")
    names, first = np.unique(eval_set.generated_identity, return_index=True)
    made = per_identity(generated, eval_set.generated_identity, names)
    seen = per_identity(real, eval_set.real_identity, names)
    figures = {}
    protocol = f"Pearson's r over identities of the ages that {reader} reads in generated and in real faces"
    for suffix, clips in eval_set.genders():
        identities = clips[first]
        figures |= _r_figure(f"r{suffix}", made[identities], seen[identities], protocol, options)
    if not figures:
        raise MetricError(
            f"age needs {MIN_IDENTITIES} identities or more with real faces; these data have fewer."
        )
    _, place = np.unique(eval_set.generated_identity, return_inverse=True)
    protocol = f"years between the ages that {reader} reads in a clip's face and in its speaker's real faces"
    figures |= clip_figures(
        eval_set, "difference", np.abs(generated - seen[place]), protocol, options, unit="years"
    )
    if eval_set.real_age is not None:
        label = per_identity(eval_set.real_age, eval_set.real_identity, names)
        protocol = (
            f"Pearson's r over identities of the age that {reader} reads in generated faces and the label"
        )
        figures |= _r_figure("r label", made, label, protocol, options)
        known = np.isfinite(eval_set.real_age)
        seen = per_identity(real[known], eval_set.real_identity[known], names)
        protocol = f"Pearson's r over identities of the age that {reader} reads in real faces and the label"
        figures |= _r_figure("real", seen, label, protocol, options)
    return figures


def _r_figure(name: str, a: np.ndarray, b: np.ndarray, protocol: str, options: Options) -> dict[str, Figure]:
    """The figure of Pearson's r over identities with both values; none if they are fewer than three."""
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < MIN_IDENTITIES:
        return {}
    r, drawn = resampled_r(a[both], b[both], options.seed)
    low, high = interval(drawn)
    return {name: Figure(float(r), int(both.sum()), "people", protocol, "", low, high, chance=0.0)}
