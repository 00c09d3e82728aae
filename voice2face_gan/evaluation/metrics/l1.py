"""L1: mean absolute difference of pixel values, 0 to 255.

For each clip, its generated face against every real face of the speaker: mean over pixels and channels,
then over the faces, then over the speaker's clips, then over speakers. Lower is nearer.
Source: Ain Shams poster 2023, Table 2 (its scale and sample counts are not stated).
"""

import numpy as np
import torch

from voice2face_gan.evaluation.eval_set import EvalSet
from voice2face_gan.evaluation.registry import Options, clip_figures, metric
from voice2face_gan.results import Figure


@metric("l1")
def l1(case: EvalSet, options: Options) -> dict[str, Figure]:
    values = np.full(len(case.generated), np.nan)
    for clips, mine in case.speakers():
        made, real = (x.flatten(1).float() for x in (case.generated[clips], case.real[mine]))
        values[clips] = (torch.cdist(made, real, p=1).mean(dim=1) / made.shape[1]).numpy()
    protocol = "mean absolute pixel difference (0-255) of a clip's face and its speaker's own faces"
    return clip_figures(case, "l1", values, protocol, options)
