"""Recordings of any length to the input of the voice encoder: decode, keep the speech, log-mel, streamed."""

from __future__ import annotations

import itertools
import math
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from voice2face_gan.audio.decode import SAMPLE_RATE, AudioInfo, source_name, stream_audio
from voice2face_gan.audio.encoder_input import LOG_MEL, SPEECH, SPEECH_RATE, SPEECH_SAMPLES, of_log_mel
from voice2face_gan.audio.log_mel import FeatureSettings, LogMelStream
from voice2face_gan.audio.steady import bands, variety
from voice2face_gan.audio.vad import SpeechCollector, VadSettings
from voice2face_gan.errors import AudioError, NoSpeechError

DEFAULT_VAD = VadSettings()
DEFAULT_FEATURES = FeatureSettings()


@dataclass
class VoiceFeatures:
    """The voice of a recording, and measures of it.

    Attributes:
        encoder_input: what the voice encoder takes (audio/encoder_input.py): a log-mel, float32 (n_mels,
            frames), normalised per bin over the speech or raw, repeated to at least
            `FeatureSettings.min_frames` (1,000) frames, 100 frames a second; or the first 30 s of the speech
            itself, float32 (samples,).
        seconds: length of the recording.
        speech_seconds: length of the speech found in it.
        variation: how much the log-mel changes over time: standard deviation of each bin in nats, mean over
            the bins. Steady noise and hum, which the detector may take for speech, have 0.7 to 0.9; of
            60 real recordings none has less than 1.5.
        audio: which sound track and channels were decoded, and how loud they are.
        speech_level_db: mean level of the speech found, in dB relative to a mean square of 1 (a full-scale
            sine has -3); None for digital silence.
        variety: nats, `steady.variety`; infinite, as speech, where it was not measured.
        bands: mel bins, `steady.bands`; likewise.
    """

    encoder_input: torch.Tensor
    seconds: float
    speech_seconds: float
    variation: float
    audio: AudioInfo = field(default_factory=AudioInfo)
    speech_level_db: float | None = None
    variety: float = math.inf
    bands: float = math.inf


def voice_features(
    source: Any,
    vad: VadSettings | None = DEFAULT_VAD,
    features: FeatureSettings = DEFAULT_FEATURES,
    min_speech_seconds: float = 0.3,
    takes: str = LOG_MEL,
    *,
    track: int | None = None,
    start: float | None = None,
    end: float | None = None,
) -> VoiceFeatures:
    """The voice features of one recording. Memory grows by the log-mel alone, 92 MB an hour of speech.

    Args:
        source: a path, bytes, a file object or `(array, rate)`, see `load_audio`.
        vad: settings of speech detection; None takes the whole recording as speech.
        features: settings of the log-mel. Its sample rate must be 16 kHz when speech is looked for.
        min_speech_seconds: less speech than this is refused.
        takes: what the voice encoder takes (its `takes`, audio/encoder_input.py).
        track, start, end: the sound track and the seconds of it that are taken, see `load_audio`.

    Raises:
        AudioError: the recording cannot be read, see `load_audio`; or the rate does not suit the detector.
        NoSpeechError: too little speech in it.
    """
    rate = features.sample_rate
    if vad is not None and rate != SAMPLE_RATE:
        raise AudioError(f"speech is looked for at {SAMPLE_RATE} Hz, not at {rate} Hz; give vad=None.")
    if takes == SPEECH and rate != SPEECH_RATE:
        raise AudioError(f"this voice encoder takes speech at {SPEECH_RATE} Hz, not at {rate} Hz.")
    collector = SpeechCollector(vad) if vad is not None else None
    stream = LogMelStream(features)
    samples = speech_samples = 0
    kept: list[np.ndarray] = []  # the first SPEECH_SAMPLES, for an encoder that takes them
    energy = 0.0
    with closing(stream_audio(source, rate, track=track, start=start, end=end)) as blocks:
        for block in itertools.chain(blocks, [None]):  # None: the recording has ended
            if block is None:
                speech = collector.flush() if collector else np.zeros(0, dtype=np.float32)
            else:
                samples += len(block)
                speech = collector.feed(block) if collector else block
            if takes == SPEECH and speech_samples < SPEECH_SAMPLES:
                kept.append(np.array(speech[: SPEECH_SAMPLES - speech_samples], dtype=np.float32))
            speech_samples += len(speech)
            energy += float(np.dot(speech, speech))
            stream.feed(speech)
    if speech_samples < max(1, min_speech_seconds * rate):
        audio, name = blocks.info, source_name(source)
        if audio.tracks > 1:
            name += f", sound track {audio.track} of {audio.tracks}"
        raise NoSpeechError(speech_samples / rate, min_speech_seconds, name)
    mel = stream.finish()
    # A few thousand frames give the same value as an hour of them.
    variation = float(mel[:, :: 1 + mel.shape[1] // 5000].std(dim=1, correction=0).mean())
    measures = {"variety": variety(mel), "bands": bands(mel)}
    taken = torch.from_numpy(np.concatenate(kept)) if takes == SPEECH else of_log_mel(mel, features, takes)
    level = 10 * math.log10(energy / speech_samples) if energy > 0 else None
    seconds = samples / rate, speech_samples / rate
    return VoiceFeatures(taken, *seconds, variation, blocks.info, level, **measures)
