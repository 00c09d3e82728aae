"""L1: mean absolute difference of pixel values, 0 to 255.

For each clip, its generated face against every real face of the speaker: mean over pixels and channels,
then over the faces, then over the speaker's clips, then over speakers. Lower is nearer.
Source: Ain Shams poster 2023, Table 2 (its scale and sample counts are not stated).
"""

from voice2face_gan.evaluation.case import Case
from voice2face_gan.evaluation.registry import Figure, Options, clip_figures, metric


@metric("l1")
def l1(case: Case, options: Options) -> dict[str, Figure]:
    generated, real = case.generated.float(), case.real.float()
    own = case.own_faces()
    values = [float((real[mine] - face).abs().mean()) for face, mine in zip(generated, own, strict=True)]
    protocol = "mean absolute pixel difference (0-255) of a clip's face and its speaker's own faces"
    return clip_figures(case, "l1", values, protocol, options)
