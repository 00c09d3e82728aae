"""Cosine of face embeddings, in a fixed judge.

For each clip, the cosine of its generated face's embedding and that of every real face of the speaker, mean
over the faces, then over the speaker's clips, then over speakers. Higher is nearer; `other` is the same
with the faces of other speakers of the same gender, which is what a model that knows the gender alone gets.
Source: Ain Shams poster 2023, Table 2 (its embedder is not stated).
"""

import numpy as np

from voice2face_gan.evaluation.case import Case
from voice2face_gan.evaluation.registry import Figure, Options, clip_figures, metric


@metric("cosine")
def cosine(case: Case, options: Options) -> dict[str, Figure]:
    similarity = case.reading("generated").unit() @ case.reading("real").unit().T
    real_gender = case.real_gender
    own, other = [], []
    for row, name, sex in zip(similarity, case.generated_identity, case.generated_gender, strict=True):
        mine = case.real_identity == name
        own.append(row[mine].mean())
        rest = ~mine & (real_gender == sex)
        other.append(row[rest].mean() if rest.any() else np.nan)
    protocol = f"cosine of a clip's face and its speaker's own faces in {case.judge.name}"
    figures = clip_figures(case, "cosine", own, protocol, options)
    if np.isfinite(other).any():
        protocol = f"cosine of a clip's face and same-gender others' faces in {case.judge.name}"
        figures |= clip_figures(case, "other", other, protocol, options)
    return figures
