"""The synthetic world: speakers whose voice and face have known common causes. See `speakers`."""

from voice2face_gan.synthetic.face import EYE_LEFT, EYE_RIGHT, MOUTH, render
from voice2face_gan.synthetic.speakers import VOICE_DETERMINED, VOICE_FREE, Speakers, sample_speakers
from voice2face_gan.synthetic.voice import SAMPLE_RATE, synthesise

__all__ = [
    "EYE_LEFT",
    "EYE_RIGHT",
    "MOUTH",
    "SAMPLE_RATE",
    "VOICE_DETERMINED",
    "VOICE_FREE",
    "Speakers",
    "render",
    "sample_speakers",
    "synthesise",
]
