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
def l1(eval_set: EvalSet, options: Options) -> dict[str, Figure]:
    values = np.full(len(eval_set.generated), np.nan)
    for clips, mine in eval_set.speakers():
        made, real = (x.flatten(1).float() for x in (eval_set.generated[clips], eval_set.real[mine]))
        values[clips] = (torch.cdist(made, real, p=1).mean(dim=1) / made.shape[1]).numpy()
    protocol = "mean absolute pixel difference (0-255) of a clip's face and its speaker's own faces"
    return clip_figures(eval_set, "l1", values, protocol, options)
