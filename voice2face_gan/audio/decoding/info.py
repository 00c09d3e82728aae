"""Facts about a recording, found while it was decoded."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class AudioInfo:
    """A record that decoding fills; it is complete once the last block was given out.

    Attributes:
        tracks: sound tracks of the file, also those that cannot be decoded; 1 for an array.
        track: the track decoded, counted from 1.
        container_seconds: length that the file's header claims, or None. Often wrong: nothing uses it.
        seconds: length of what was given out.
        level: RMS of what was given out, in dB of full scale (a square wave of full scale has 0); None for
            digital silence.
        notes: what was decided, a clause each: which of several tracks is used, which channel.
    """

    tracks: int = 1
    track: int = 1
    container_seconds: float | None = None
    seconds: float = 0.0
    level: float | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def note(self) -> str:
        """The notes as one piece of text without a full stop; "" if there is nothing to say."""
        return "; ".join(self.notes)

    def add_note(self, text: str) -> None:
        """Note something once."""
        if text not in self.notes:
            self.notes.append(text)
