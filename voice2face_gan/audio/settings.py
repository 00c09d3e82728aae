"""What the settings of frames of sound have in common: lengths in samples, checks, JSON."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar, Self

from voice2face_gan.errors import DataError


class FrameSettings:
    """Base of a frozen dataclass with the fields sample_rate (Hz), window_ms and hop_ms.

    Attributes:
        kind: of the settings, as messages name them.
    """

    kind: ClassVar[str]
    sample_rate: int
    window_ms: float
    hop_ms: float

    @property
    def window(self) -> int:
        """Samples of a frame."""
        return round(self.sample_rate * self.window_ms / 1000)

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return round(self.sample_rate * self.hop_ms / 1000)

    def check_numbers(self) -> None:
        """
        Raises:
            DataError: a field is no finite number; no whole one where its default is and it is no length in
                milliseconds.
        """
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            kinds = int if isinstance(field.default, int) and not field.name.endswith("_ms") else (int, float)
            if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value):
                raise DataError(f"{self.kind} setting {field.name} is {value!r}; {field.default} is usual.")

    def to_dict(self) -> dict[str, Any]:
        """All settings, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The settings that `to_dict` gave; keys left out have their defaults.

        Raises:
            DataError: an unknown key or an impossible value.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise DataError(f"unknown {cls.kind} setting {', '.join(unknown)}; known are {', '.join(known)}.")
        return cls(**values)
