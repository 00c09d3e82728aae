"""Warnings about a recording whose face means little, and the thresholds behind them."""

from voice2face_gan.audio.voice import VoiceFeatures

SHORT_SPEECH_SECONDS = 2.0  # below it a warning is due
SOFT_SPEECH_DB = -60.0  # Generation.speech_level_db; below it much lies under the last steps of 16 bits

# Probabilities of the checkpoint's probes (models/probes.py).
MIN_SPEECH_PROBABILITY = 0.5  # below it something other than speech is more likely
MAX_CHILD_PROBABILITY = 0.8  # hardly any adult is above it (training/probes/input_quality.py)
# Most recordings are of one speaker. The default probe gives more to 1 of 100 recordings of one validation
# speaker, and to 74 of 100 recordings that are half of one speaker and half of another.
MAX_SEVERAL_SPEAKERS_PROBABILITY = 0.95

# Measures of the speech found (audio/steady.py), reached by all of 2,351 real clips of half a second or more.
MIN_VARIETY_NATS = 0.45  # below it: noise, hum, knocks, machines
MIN_SPEECH_BANDS = 3.4  # mel bins; below it: tones, sirens, dialling
MIN_MEASURED_SECONDS = 0.5  # speech shorter than this is too short for these measures: a vowel hardly changes

MIN_VARIATION_NATS = 1.2  # of a log-mel (audio/voice.py); used where the checkpoint has no speech probe


def recording_warning(
    voice: VoiceFeatures,
    speech: float | None = None,
    child: float | None = None,
    several: float | None = None,
) -> str:
    """Clauses about a recording, joined by "; " and without a full stop; "" without a reason to warn.

    Args:
        voice: measures of the recording; its log-mel is not used.
        speech, child, several: probabilities of the checkpoint's probes; None without that probe.
    """
    measured = voice.speech_seconds >= MIN_MEASURED_SECONDS
    if measured and voice.bands < MIN_SPEECH_BANDS:
        return "it does not sound like speech but like tones; the face means little"
    is_steady = measured and voice.variety < MIN_VARIETY_NATS
    if is_steady or (speech is None and voice.variation < MIN_VARIATION_NATS):
        return "it sounds like steady noise rather than speech; the face means little"
    if speech is not None and speech < MIN_SPEECH_PROBABILITY:
        return "it does not sound like speech; the face means little"
    warnings = []
    if voice.speech_seconds < SHORT_SPEECH_SECONDS:
        tenths = int(10 * voice.speech_seconds + 1e-6)  # rounded down: "only 2.0 s" would be enough
        warnings.append(
            f"only {tenths / 10:.1f} s of speech; {SHORT_SPEECH_SECONDS:.0f} s or more give a steadier face"
        )
    if voice.speech_level_db is not None and voice.speech_level_db < SOFT_SPEECH_DB:
        level = f"{voice.speech_level_db:.0f} dB"
        warnings.append(f"the speech is very soft ({level}); a louder recording gives a steadier face")
    if child is not None and child > MAX_CHILD_PROBABILITY:
        warnings.append("this may be a child's voice; the face shown is a young adult's")
    if several is not None and several > MAX_SEVERAL_SPEAKERS_PROBABILITY:
        warnings.append(
            "more than one person seems to speak, and the face is a mixture; cut the recording to one voice"
        )
    return "; ".join(warnings)
