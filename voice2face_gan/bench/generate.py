"""Benchmark of one clip: decode, VAD, log-mel, embed, generate, and the whole way from file to image."""

import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from voice2face_gan.audio.decode import SAMPLE_RATE, load_audio
from voice2face_gan.audio.encoder_input import encoder_input
from voice2face_gan.audio.log_mel import FeatureSettings, log_mel, mel_filterbank
from voice2face_gan.audio.vad import keep_speech
from voice2face_gan.pipeline import VoiceToFace

# Container, codec, and sampling rate of common recordings (Opus has no 44.1 kHz).
FORMATS = {
    "wav": ("wav", "pcm_s16le", 16_000),
    "mp3": ("mp3", "libmp3lame", 44_100),
    "m4a": ("mp4", "aac", 48_000),
    "opus": ("ogg", "libopus", 48_000),
}


def encode(waveform: np.ndarray, format: str, bit_rate: int | None = None) -> bytes:
    """Encode a mono 16 kHz waveform float32 (samples,) as a file.

    Args:
        format: key of FORMATS.
        bit_rate: bits a second; None for the encoder's default.
    """
    import av

    container_name, codec, rate = FORMATS[format]
    file = BytesIO()
    with av.open(file, "w", format=container_name) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        if bit_rate is not None:
            stream.bit_rate = bit_rate
        samples = (np.clip(waveform, -1, 1) * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, 0
        resampler = av.AudioResampler(stream.codec_context.format or "s16", "mono", rate, stream.frame_size)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return file.getvalue()


def frame_loop_log_mel(waveform: np.ndarray, settings: FeatureSettings) -> np.ndarray:
    """The log-mel as a plain NumPy loop over frames, the usual implementation: (64, frames)."""
    window, bank = np.hamming(settings.window), mel_filterbank(settings).numpy()
    emphasised = np.append(waveform[0], waveform[1:] - settings.pre_emphasis * waveform[:-1])
    columns = []
    for start in range(0, len(waveform) - settings.window + 1, settings.hop):
        frame = emphasised[start : start + settings.window] * window
        power = np.abs(np.fft.rfft(frame, settings.n_fft)) ** 2
        columns.append(np.log(np.maximum(power @ bank, 1e-10)))
    return np.stack(columns, axis=1)


def measure(model: VoiceToFace, seconds: float = 10.0, runs: int = 30) -> dict:
    """Warm times of each step.

    Args:
        model: the model timed.
        seconds: length of the clip, a synthetic voice.
        runs: counted runs of each step, in turn, so that a drifting machine affects all alike.
    Returns:
        step -> {"median_ms", "min_ms"}, and the ratio of the frame loop's median to log-mel's.
    """
    from voice2face_gan.synthetic.speakers import sample_speakers
    from voice2face_gan.synthetic.voice import synthesise

    waveform = synthesise(sample_speakers(1, seed=2), seconds, seed=2)[0]
    with TemporaryDirectory() as folder:
        files = {}
        for name in FORMATS:
            files[name] = Path(folder) / f"clip.{name}"
            files[name].write_bytes(encode(waveform, name))
        speech = keep_speech(load_audio(files["wav"]), model.vad)
        taken = encoder_input(speech, model.features, model.encoder.takes)
        e = model.generator_input(taken)
        steps: dict[str, Callable[[], object]] = {
            f"decode {name}": lambda path=path: load_audio(path) for name, path in files.items()
        }
        steps |= {
            "vad": lambda: keep_speech(waveform, model.vad),
            "log-mel": lambda: log_mel(waveform, model.features),
            "log-mel, NumPy frame loop": lambda: frame_loop_log_mel(waveform, model.features),
            "embed": lambda: model.generator_input(taken),
            "generate": lambda: model.decode(e[None]),
            "whole, wav to image": lambda: model.generate(files["wav"]),
        }
        times = _times(steps, runs)
    return {
        "seconds": seconds,
        "threads": torch.get_num_threads(),
        "checkpoint": model.name,
        "steps": times,
        "log_mel_ratio": round(
            times["log-mel, NumPy frame loop"]["median_ms"] / times["log-mel"]["median_ms"], 2
        ),
    }


def _times(steps: dict[str, Callable[[], object]], runs: int) -> dict[str, dict[str, float]]:
    for _ in range(3):
        for step in steps.values():
            step()
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(runs):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            taken[name].append(1000 * (time.perf_counter() - start))
    return {
        name: {"median_ms": round(float(np.median(t)), 2), "min_ms": round(min(t), 2)}
        for name, t in taken.items()
    }
