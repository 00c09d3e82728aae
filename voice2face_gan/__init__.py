"""voice2face-gan: a face from a voice.

    from voice2face_gan import VoiceToFace
    faces = VoiceToFace.from_pretrained("default").generate("clip.wav")   # list of PIL images

Importing the package does not import torch: the public names are loaded when first used.
"""

import importlib
from typing import TYPE_CHECKING

from voice2face_gan.version import __version__

__all__ = ["FaceToFace", "VoiceToFace", "VoiceToFaceError", "__version__", "load_audio"]

_HOMES = {
    "FaceToFace": "voice2face_gan.face_to_face",
    "VoiceToFace": "voice2face_gan.pipeline",
    "VoiceToFaceError": "voice2face_gan.errors",
    "load_audio": "voice2face_gan.audio.decode",
}

if TYPE_CHECKING:
    from voice2face_gan.audio.decode import load_audio
    from voice2face_gan.errors import VoiceToFaceError
    from voice2face_gan.face_to_face import FaceToFace
    from voice2face_gan.pipeline import VoiceToFace


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'voice2face_gan' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
