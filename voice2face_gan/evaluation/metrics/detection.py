"""Detection: share of generated images in which a face detector finds a face.

dlib's HOG detector of frontal faces, on images enlarged to 256 pixels (64 pixels four times, bicubic).
Percent of images, mean over an identity's images, then over identities; `real` is the same for the real
faces.
"""

import numpy as np

from voice2face_gan.evaluation.eval_set import EvalSet
from voice2face_gan.evaluation.readers import hog
from voice2face_gan.evaluation.registry import Options, clip_figures, mean_over_identities, metric
from voice2face_gan.results import Figure


@metric("detection")
def detection(eval_set: EvalSet, options: Options) -> dict[str, Figure]:
    """Percent found among the generated and among the real faces.

    Raises:
        MetricError: the extra `faces` is not installed.
    """
    _, generated = hog.find(eval_set.generated)
    _, real = hog.find(eval_set.real)
    how = f"images in which dlib's HOG finds a face, enlarged to {hog.SEARCH_SIDE} pixels"
    figures = clip_figures(
        eval_set,
        "generated",
        np.where(generated, 100.0, 0.0),
        f"generated {how}",
        options,
        unit="%",
        chance=0.0,
    )
    mean, low, high = mean_over_identities(np.where(real, 100.0, 0.0), eval_set.real_identity, options.seed)
    figures["real"] = Figure(mean, len(real), "faces", f"real {how}", "%", low, high, chance=0.0)
    return figures
