"""Duration: other metrics on faces generated from the first seconds of each clip.

All lengths use the same clips: those that hold the longest length tried. A length that fewer than half of all
clips hold is not tried. A voice shorter than the model's input is repeated to it, as everywhere. Figures are
called "METRIC FIGURE @2s", and "@all" for the whole clips. Source: Speech2Face, Oh et al. 2019, section 4.3
(lengths 3 and 6 s); Wen et al. 2019, Figure 4 (1 to 10 s).
"""

from dataclasses import replace

import numpy as np

from voice2face_gan.audio.log_mel import FeatureSettings
from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation.eval_set import EvalSet, generate_framed
from voice2face_gan.evaluation.protocol import generator_inputs
from voice2face_gan.evaluation.registry import Options, compute, metric
from voice2face_gan.results import Figure

_REAL_FIGURES = ("real", "floor", "ceiling", "chance")  # words in names of figures of real faces alone


@metric("duration")
def duration(eval_set: EvalSet, options: Options) -> dict[str, Figure]:
    """The figures of the metrics in `options.inner`, at each of `options.seconds`.

    Raises:
        MetricError: the faces are not our model's, the clips are too short, or no inner metric works.
    """
    if eval_set.model is None or eval_set.voices is None:
        raise MetricError(
            "duration needs the model, to generate from parts of each clip; a folder of faces has none."
        )
    settings = FeatureSettings.from_dict(eval_set.voices.about["features"])
    wanted = {s: settings.frames(round(s * settings.sample_rate)) for s in sorted(set(options.seconds))}
    has = eval_set.voices.voice_frames
    lengths = {s: frames for s, frames in wanted.items() if np.mean(has >= frames) >= 0.5}
    if not lengths:
        raise MetricError(
            f"duration: fewer than half of the clips hold {min(wanted):g} s of speech; give less --seconds."
        )
    for s in wanted.keys() - lengths.keys():
        reach = int((has >= wanted[s]).sum())
        options.note(
            f"duration: {s:g} s is left out, for {reach} of {len(eval_set.voices)} clips hold so much speech."
        )
    long_enough = has >= max(lengths.values())
    if not long_enough.all():
        names = eval_set.generated_identity[long_enough]
        eval_set = eval_set.part(long_enough, np.isin(eval_set.real_identity, names))
    figures, reasons = {}, {}
    for s, frames in [*lengths.items(), (None, 0)]:
        whole = s is None or frames >= eval_set.voices.voice_frames.max()
        shortened = eval_set if whole else _with_first_frames(eval_set, frames)
        for name in options.inner:
            try:
                found = compute(name, shortened, options)
            except MetricError as error:
                reasons[name] = str(error)
                continue
            at = "all" if s is None else f"{s:g}s"
            what = "whole clips" if s is None else f"the first {s:g} s of each clip"
            for which, figure in found.items():
                if "," not in which and not any(word in which.split() for word in _REAL_FIGURES):
                    protocol = f"faces from {what}, the same {len(eval_set.voices)} clips at all lengths; "
                    figures[f"{name} {which} @{at}"] = replace(figure, protocol=protocol + figure.protocol)
    if not figures:
        raise MetricError(f"duration: {'; '.join(reasons.values()) or 'no metric is asked for'}")
    for name, reason in reasons.items():
        options.note(f"duration of {name} is left out: {reason}")
    return figures


def _with_first_frames(eval_set: EvalSet, frames: int) -> EvalSet:
    """The set with faces generated from the first `frames` frames of each voice."""
    e = generator_inputs(eval_set.model, eval_set.voices, frames, eval_set.strength)
    return eval_set.with_generated(generate_framed(eval_set.model, e, noise_scale=eval_set.noise_scale))
