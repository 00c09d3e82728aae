"""How much speech does it take? Other metrics, on faces made from the first seconds of each clip.

The same clips at every length: those that hold the longest length tried. A length that fewer than half of all
clips hold is not tried. As everywhere, what is shorter than the model's input is repeated to it. Figures are
called "METRIC FIGURE @2s", and "@all" for the whole clips. Source: Speech2Face, Oh et al. 2019, section 4.3
(lengths 3 and 6 s); Wen et al. 2019, Figure 4 (1 to 10 s).
"""

from dataclasses import replace

import numpy as np

from voice2face_gan.audio.log_mel import FeatureSettings
from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation.eval_set import EvalSet, painted
from voice2face_gan.evaluation.protocol import embed_all
from voice2face_gan.evaluation.registry import Options, compute, metric
from voice2face_gan.results import Figure

_OF_REAL = ("real", "floor", "ceiling", "chance")  # words in names of figures that no voice changes


@metric("duration")
def duration(case: EvalSet, options: Options) -> dict[str, Figure]:
    """The figures of the metrics in `options.inner`, at each of `options.seconds`.

    Raises:
        MetricError: the faces are not our model's, the clips are too short, or no inner metric works.
    """
    if case.model is None or case.voices is None:
        raise MetricError("duration needs the model, to hear less of each clip; a folder of faces has none.")
    settings = FeatureSettings.from_dict(case.voices.about["features"])
    wanted = {s: settings.frames(round(s * settings.sample_rate)) for s in sorted(set(options.seconds))}
    has = case.voices.voice_frames
    lengths = {s: frames for s, frames in wanted.items() if np.mean(has >= frames) >= 0.5}
    if not lengths:
        raise MetricError(
            f"duration: fewer than half of the clips hold {min(wanted):g} s of speech; give less --seconds."
        )
    for s in wanted.keys() - lengths.keys():
        reach = int((has >= wanted[s]).sum())
        options.note(
            f"duration: {s:g} s is left out, for {reach} of {len(case.voices)} clips hold so much speech."
        )
    long_enough = has >= max(lengths.values())
    if not long_enough.all():
        names = case.generated_identity[long_enough]
        case = case.part(long_enough, np.isin(case.real_identity, names))
    figures, reasons = {}, {}
    for s, frames in [*lengths.items(), (None, 0)]:
        whole = s is None or frames >= case.voices.voice_frames.max()
        heard = case if whole else _hearing(case, frames)
        for name in options.inner:
            try:
                found = compute(name, heard, options)
            except MetricError as error:
                reasons[name] = str(error)
                continue
            at = "all" if s is None else f"{s:g}s"
            what = "whole clips" if s is None else f"the first {s:g} s of each clip"
            for which, figure in found.items():
                if "," not in which and not any(word in which.split() for word in _OF_REAL):
                    protocol = f"faces from {what}, the same {len(case.voices)} clips at all lengths; "
                    figures[f"{name} {which} @{at}"] = replace(figure, protocol=protocol + figure.protocol)
    if not figures:
        raise MetricError(f"duration: {'; '.join(reasons.values()) or 'no metric is asked for'}")
    for name, reason in reasons.items():
        options.note(f"duration of {name} is left out: {reason}")
    return figures


def _hearing(case: EvalSet, frames: int) -> EvalSet:
    """The case with faces made from the first so many frames of each voice."""
    return case.remade(painted(case.model, embed_all(case.model, case.voices, frames)))
