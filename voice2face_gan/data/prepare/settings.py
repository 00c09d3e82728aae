"""Settings of preparation: every number on which a store's bytes depend."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from voice2face_gan.audio.level import TARGET_LEVEL_DB
from voice2face_gan.audio.log_mel import FeatureSettings
from voice2face_gan.audio.vad import VadSettings
from voice2face_gan.errors import DataError
from voice2face_gan.overrides import nearest, split_override, typed


@dataclass(frozen=True)
class VoiceSettings:
    """Settings of the part of a recording that is used.

    Attributes:
        vad: keep the speech alone; otherwise the whole recording counts as speech.
        min_seconds: less speech than this is dropped.
        max_seconds: of speech; what comes after is not even decoded, so that a recording of hours neither
            fills memory nor outweighs everybody else.
        keep_speech: store the speech beside its log-mel (int16, 115 MB an hour), so that a voice encoder can
            be trained with noise and rooms added to it.
    """

    vad: bool = True
    min_seconds: float = 0.5
    max_seconds: float = 120.0
    keep_speech: bool = False


@dataclass(frozen=True)
class FaceSettings:
    """Settings of faces.

    Attributes:
        detector: "hog" or "cnn"; "none" takes every image as a face that is aligned already; "auto" is none
            where the layout's faces are aligned, else hog.
        side: of a face in pixels, 64, 112, 128 or 224; generators other than the face decoder take 64 or 128.
        several: of several faces take the "largest", or "reject" the image.
        min_eye_distance: between the eyes' centres in pixels of the image; smaller faces are dropped. At a
            side of 64 they come to lie 17 pixels apart.
        crop: left, top, right, bottom in fractions: the part that is taken where nothing is detected;
            () is the largest square in the middle.
        frames: images taken from a video, evenly spaced.
        zoom: how much larger the faces are than the template lays them (faces/align.py). At 1 the whole head
            is in the frame, if the images show it; tightly cut ones end before the frame does, as those of
            UTKFace and VGGFace, and what lies beyond their edges is made up: 1.4 leaves that out.
        landmarks: store the 68 landmarks of every face, as the face decoder of Speech2Face learns them; needs
            the extra `faces`.
    """

    detector: str = "auto"
    side: int = 64
    several: str = "largest"
    min_eye_distance: float = 10.0
    crop: tuple[float, ...] = ()
    frames: int = 4
    zoom: float = 1.0
    landmarks: bool = False


_CHOICES = {
    "faces.detector": ("auto", "hog", "cnn", "none"),
    "faces.side": (64, 112, 128, 224),
    "faces.several": ("largest", "reject"),
}


@dataclass(frozen=True)
class PrepareSettings:
    """All of them, in groups.

    Soft speech is raised for the detector by default; vad.target_level_db=none leaves it, as the 2019 release
    does, and as in stores made before there was this setting.

    Raises:
        DataError: a value out of its range.
    """

    features: FeatureSettings = field(default_factory=FeatureSettings)
    vad: VadSettings = field(default_factory=lambda: VadSettings(target_level_db=TARGET_LEVEL_DB))
    voice: VoiceSettings = field(default_factory=VoiceSettings)
    faces: FaceSettings = field(default_factory=FaceSettings)

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            value = getattr(self.faces, name.partition(".")[2])
            if value not in allowed:
                raise DataError(f"{name} is {value!r}; give {', '.join(map(str, allowed))}.")
        if not 0 < self.voice.min_seconds <= self.voice.max_seconds:
            raise DataError("voice.min_seconds must be above 0 and at most voice.max_seconds.")
        if self.voice.vad and self.features.sample_rate != 16_000:
            raise DataError(
                f"speech is looked for at 16000 Hz, not at {self.features.sample_rate} Hz; "
                "set voice.vad=false too."
            )
        if not 1 <= self.faces.frames <= 100:
            raise DataError(f"faces.frames is {self.faces.frames}; give 1 to 100.")
        if not 1 <= self.faces.zoom <= 3:
            raise DataError(f"faces.zoom is {self.faces.zoom}; give 1 to 3.")
        crop = self.faces.crop
        if crop and not (len(crop) == 4 and 0 <= crop[0] < crop[2] <= 1 and 0 <= crop[1] < crop[3] <= 1):
            raise DataError("faces.crop must be [left, top, right, bottom], rising fractions from 0 to 1.")

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """For JSON."""
        tree = dataclasses.asdict(self)
        tree["faces"]["crop"] = list(self.faces.crop)
        return tree

    def fingerprinted(self) -> dict[str, dict[str, Any]]:
        """The settings for a store's fingerprint.

        A setting that was added later is left out at its earlier value, so that older stores keep their
        fingerprint.
        """
        tree = self.to_dict()
        if not self.voice.keep_speech:
            del tree["voice"]["keep_speech"]
        if self.faces.zoom == 1:
            del tree["faces"]["zoom"]
        if not self.faces.landmarks:
            del tree["faces"]["landmarks"]
        if self.vad.target_level_db is None:
            del tree["vad"]["target_level_db"]
        return tree

    @classmethod
    def from_dict(cls, tree: dict[str, dict[str, Any]]) -> PrepareSettings:
        """The settings that `to_dict` gave."""
        return cls(
            features=FeatureSettings.from_dict(tree["features"]),
            vad=VadSettings(**tree["vad"]),
            voice=VoiceSettings(**tree["voice"]),
            faces=FaceSettings(**{**tree["faces"], "crop": tuple(tree["faces"]["crop"])}),
        )

    @classmethod
    def of(cls, overrides: tuple[str, ...] | list[str]) -> PrepareSettings:
        """The defaults with some keys changed.

        Args:
            overrides: "group.key=value", for example "features.hop_ms=12.5" or "voice.vad=false".
        Raises:
            DataError: no such key, or a value of another kind or out of its range.
        """
        tree = cls().to_dict()
        known = [f"{group}.{key}" for group, keys in tree.items() for key in keys]
        for text in overrides:
            try:
                name, value = split_override(text)
            except ValueError:
                raise DataError(
                    f"--set {text}: write --set group.key=value, such as --set features.hop_ms=10."
                ) from None
            if name not in known:
                raise DataError(f"--set {text}: there is no key '{name}'; {nearest(name, known)}")
            group, key = name.split(".")
            try:
                tree[group][key] = _typed(name, value, tree[group][key])
            except ValueError as error:
                raise DataError(f"--set {text}: {name} {error}.") from error
        return cls.from_dict(tree)


def _typed(name: str, value: Any, default: Any) -> Any:
    """`overrides.typed`, but for three keys: none is a level, and window and hop may be whole or not."""
    if name == "vad.target_level_db" and isinstance(value, str) and value.lower() == "none":
        return None
    if name in ("features.window_ms", "features.hop_ms") and type(value) is float:
        return value
    return value if isinstance(default, list) and isinstance(value, list) else typed(value, default)
