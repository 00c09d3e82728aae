"""Gender agreement: does the judge see in the generated face the gender its speaker is labelled with?

Per clip, then speaker, then over speakers, in percent; overall and for each label. `real` is the judge's own
accuracy on the real faces of the same speakers: the ceiling. Source: Wen et al. 2019, section 4.3.
"""

import numpy as np

from voice2face_gan.data.records import FEMALE, GENDERS
from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation.protocol import Case
from voice2face_gan.evaluation.registry import Figure, Options, mean_over_identities, metric
from voice2face_gan.faces.pixels import to_unit


@metric("gender")
def gender(case: Case, options: Options) -> dict[str, Figure]:
    label = dict(zip(case.generated_identity.tolist(), case.generated_gender.tolist(), strict=True))
    parts = {
        "generated": (case.generated, case.generated_identity),
        "real": (case.real, case.real_identity),
    }
    figures = {}
    for kind, (faces, identity) in parts.items():
        truth = np.array([label[name] for name in identity.tolist()])
        right = (case.judge.read(to_unit(faces))[1].numpy() > 0.5) == (truth == FEMALE)
        known = np.isin(truth, GENDERS)
        if not known.any():
            raise MetricError("gender agreement needs gender labels, and these data have none.")
        for group in ("all", *GENDERS) if kind == "generated" else ("all",):
            chosen = known if group == "all" else truth == group
            if not chosen.any():
                continue
            mean, low, high = mean_over_identities(100.0 * right[chosen], identity[chosen], options.seed)
            name = kind if group == "all" else f"{kind}, {group}"
            counted = "clips" if kind == "generated" else "faces"
            protocol = f"{kind} faces on which {case.judge.name} sees the labelled gender"
            figures[name] = Figure(mean, int(chosen.sum()), counted, protocol, "%", low, high, chance=50.0)
    return figures
