"""Cosine of face embeddings, in a fixed judge trunk.

For each clip, the cosine of its generated face's embedding and that of every real face of the speaker, mean
over the faces, then over the speaker's clips, then over speakers. Higher is nearer; `other` is the same
with the faces of other speakers of the same gender, which is what a model that knows the gender alone gets.
Source: Ain Shams poster 2023, Table 2 (its embedder is not stated).
"""

import numpy as np
import torch.nn.functional as F

from voice2face_gan.evaluation.protocol import Case
from voice2face_gan.evaluation.registry import Figure, Options, mean_over_identities, metric
from voice2face_gan.faces.pixels import to_unit


@metric("cosine")
def cosine(case: Case, options: Options) -> dict[str, Figure]:
    generated, real = (
        F.normalize(case.judge.read(to_unit(f))[0], dim=1) for f in (case.generated, case.real)
    )
    similarity = (generated @ real.t()).numpy()
    gender = dict(zip(case.generated_identity.tolist(), case.generated_gender.tolist(), strict=True))
    real_gender = np.array([gender[name] for name in case.real_identity.tolist()])
    own, other = [], []
    for row, name, sex in zip(similarity, case.generated_identity, case.generated_gender, strict=True):
        mine = case.real_identity == name
        own.append(row[mine].mean())
        rest = ~mine & (real_gender == sex)
        other.append(row[rest].mean() if rest.any() else np.nan)
    figures = {}
    for name, values, whose in (
        ("cosine", own, "its speaker's own"),
        ("other", other, "same-gender others'"),
    ):
        kept = np.isfinite(values)
        if not kept.any():
            continue
        mean, low, high = mean_over_identities(
            np.array(values)[kept], case.generated_identity[kept], options.seed
        )
        protocol = f"cosine of a clip's face and {whose} faces in {case.judge.name}"
        figures[name] = Figure(mean, int(kept.sum()), "clips", protocol, low=low, high=high)
    return figures
