"""Example recordings: the sample that ships, and voices that the synthetic world speaks at run time."""

import functools
import io
import wave

import numpy as np

from voice2face_gan.resources import resource

SAMPLE_RATE = 16_000
_SPEAKERS, _SEED, _SECONDS = 12, 0, 5.0
_CLIP = 3  # of each speaker


@functools.cache
def _chosen() -> dict[str, tuple[str, int | None]]:
    """Id -> (label, number of the speaker; None for the shipped sample)."""
    from voice2face_gan.synthetic.speakers import sample_speakers

    speakers = sample_speakers(_SPEAKERS, _SEED)
    men, women = np.flatnonzero(~speakers.female), np.flatnonzero(speakers.female)
    return {
        "sample": ("Sample", None),
        "low": ("Low voice", int(men[np.argmin(speakers.f0[men])])),
        "high": ("High voice", int(women[np.argmax(speakers.f0[women])])),
        "older": ("Older voice", int(np.argmax(speakers.age))),
    }


def list_examples() -> list[dict]:
    """Id and label of each example."""
    return [{"id": key, "label": label} for key, (label, _) in _chosen().items()]


@functools.lru_cache(maxsize=8)
def example_wav(key: str) -> bytes | None:
    """The WAV file of an example; None for an unknown id."""
    if key not in _chosen():
        return None
    row = _chosen()[key][1]
    if row is None:
        return resource("assets", "sample.wav").read_bytes()
    from voice2face_gan.synthetic.speakers import sample_speakers
    from voice2face_gan.synthetic.voice import synthesise

    speaker = sample_speakers(_SPEAKERS, _SEED)[row]
    samples = synthesise(speaker, _SECONDS, _SEED, _CLIP)[0]
    return _wav(samples)


def _wav(samples: np.ndarray) -> bytes:
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return content.getvalue()
