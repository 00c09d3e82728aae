"""Measures how much of soft speech is found, and how far softness alone moves a face.

    python experiments/soft_speech.py --data ../shared/data

Real clips are turned down by 0 to 50 dB, which turns their own room noise down as well; then comes a floor
that does not depend on the speech: two-step dither of 16 bits, or pink noise at -70 dB. For each: the share
of the seconds found at 0 dB by the detector as it was, and how far e lies from e of the clip, in mean
distances of two clips' e. Once with soft speech left as it is, once raised (audio/level.py), and once by the
very stretches found at 0 dB: what the features make of softness, whatever the detector does.
"""

import argparse
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from voice2face_gan.audio.decode import load_audio
from voice2face_gan.audio.encoder_input import encoder_input
from voice2face_gan.audio.level import TARGET_LEVEL_DB
from voice2face_gan.audio.vad import SpeechCollector, VadSettings, keep_speech
from voice2face_gan.pipeline import VoiceToFace

FLOORS = ("16 bits", "-70 dB")
RATE, MIN_SECONDS = 16_000, 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with paired/ and voices/")
    parser.add_argument("--checkpoint", default="default")
    parser.add_argument("--clips", type=int, default=118)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = VoiceToFace.from_pretrained(options.checkpoint)
    plain = replace(model.vad, target_level_db=None)
    raised = replace(model.vad, target_level_db=TARGET_LEVEL_DB)
    files = sorted([*options.data.glob("paired/*/voice/*.opus"), *options.data.glob("voices/*/*/*.opus")])
    files = files[:: max(1, len(files) // options.clips)]
    clips = {file: load_audio(file) for file in files}
    whole = {file: keep_speech(clip, plain) for file, clip in clips.items()}
    files = [file for file in files if len(whole[file]) >= MIN_SECONDS * RATE]
    e = {file: embed(model, whole[file]) for file in files}
    apart = torch.cdist(*2 * [torch.stack(list(e.values()))])
    mean_distance = float(apart[apart > 0].mean())
    print(f"{len(files)} clips, mean distance of two clips' e {mean_distance:.3f}")
    print("| floor | dB | settings | share found | refused | e moved, median | 90th percentile |")
    print("|---|---|---|---|---|---|---|")
    for floor in FLOORS:
        for down in (0, 20, 30, 40, 50):
            for name, settings in (("as it was", plain), ("raised", raised), ("same stretches", None)):
                shares, moves = [], []
                for file in files:
                    soft = turned_down(clips[file], down, floor, zlib.crc32(file.name.encode()))
                    speech = same_stretches(clips[file], soft, plain) if settings is None else None
                    speech = keep_speech(soft, settings) if speech is None else speech
                    shares.append(len(speech) / len(whole[file]))
                    if len(speech) >= MIN_SECONDS * RATE:
                        moves.append(float((embed(model, speech) - e[file]).norm()) / mean_distance)
                quantiles = [np.median(moves), np.percentile(moves, 90)] if moves else [np.nan] * 2
                refused = 1 - len(moves) / len(files)
                figures = f"{np.mean(shares):.3f} | {refused:.3f} | {quantiles[0]:.3f} | {quantiles[1]:.3f}"
                print(f"| {floor} | {-down} | {name} | {figures} |", flush=True)


def embed(model: VoiceToFace, speech: np.ndarray) -> torch.Tensor:
    return model.predict(encoder_input(speech, model.features, model.encoder.takes))


def turned_down(clip: np.ndarray, decibels: float, floor: str, seed: int) -> np.ndarray:
    """float32 (samples,): the clip, softer, in noise that is not."""
    rng = np.random.default_rng(seed)
    soft = clip * 10 ** (-decibels / 20)
    if floor == "16 bits":
        return (np.rint(soft * 32768 + rng.uniform(-0.5, 0.5, (2, len(soft))).sum(axis=0)) / 32768).astype(
            "f4"
        )
    spectrum = np.fft.rfft(rng.standard_normal(len(soft)))
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.fft.rfftfreq(len(soft), 1 / RATE), 50)), len(soft))
    return (soft + pink / pink.std() * 10 ** (float(floor.split()[0]) / 20)).astype("f4")


def same_stretches(clip: np.ndarray, soft: np.ndarray, settings: VadSettings) -> np.ndarray:
    """The samples of `soft` at the places where the detector finds speech in `clip`."""
    size = settings.frame_samples
    whole = len(clip) // size * size
    flags = SpeechCollector(settings)._judge(clip[:whole], 1.0).tolist()
    script = iter(flags)
    marks = np.repeat(np.arange(len(flags), dtype=np.float32) + 2, size) / 2**15
    kept = SpeechCollector(settings, is_speech=lambda frame, rate: next(script)).feed(marks)[::size]
    frames = (kept * 2**15 - 2).round().astype(int)
    return soft[:whole].reshape(-1, size)[frames].reshape(-1)


if __name__ == "__main__":
    main()
