"""Cosine of face embeddings of a fixed face reader.

For each clip, the cosine of its generated face's embedding and that of every real face of the speaker, mean
over the faces, then over the speaker's clips, then over speakers. Higher is nearer. `other` is the same with
the faces of other speakers of the same gender: the value of a model that predicts the gender alone.
Source: Ain Shams poster 2023, Table 2 (its encoder is not stated).
"""

import numpy as np

from voice2face_gan.data.records import GENDERS
from voice2face_gan.evaluation.eval_set import EvalSet
from voice2face_gan.evaluation.registry import Options, clip_figures, metric
from voice2face_gan.results import Figure


@metric("cosine")
def cosine(eval_set: EvalSet, options: Options) -> dict[str, Figure]:
    generated, real = eval_set.reading("generated").unit(), eval_set.reading("real").unit().astype(np.float64)
    real_gender = eval_set.real_gender
    own, other = np.full((2, len(generated)), np.nan)
    # The mean of cosines with many faces is the product with the mean of their unit vectors.
    of_gender = {g: (real[real_gender == g].sum(axis=0), (real_gender == g).sum()) for g in GENDERS}
    for clips, mine in eval_set.speakers():
        total = real[mine].sum(axis=0)
        own[clips] = generated[clips] @ total / len(mine)
        gender = eval_set.generated_gender[clips[0]]
        if gender in GENDERS and of_gender[gender][1] > len(mine):
            everyone, faces = of_gender[gender]
            other[clips] = generated[clips] @ (everyone - total) / (faces - len(mine))
    protocol = f"cosine of a clip's face and its speaker's own faces in {eval_set.reader.name}"
    figures = clip_figures(eval_set, "cosine", own, protocol, options)
    if np.isfinite(other).any():
        protocol = f"cosine of a clip's face and same-gender others' faces in {eval_set.reader.name}"
        figures |= clip_figures(eval_set, "other", other, protocol, options)
    return figures
