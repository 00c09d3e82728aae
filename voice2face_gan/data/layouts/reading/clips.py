"""The video that a clip was cut from, by the clip's name."""

import re

# "-DkHcIWfjBY_281.480000-286.400000" (AVSpeech: YouTube id, start and end in seconds) and
# "0012Kel_Mitchell_4IrzgonbcPs_0000002" (VoxCeleb: person, YouTube id, number).
_NAMES = (
    re.compile(r"([A-Za-z0-9_-]{11})_\d+(?:\.\d+)?-\d+(?:\.\d+)?$"),
    re.compile(r".*_([A-Za-z0-9_-]{11})_\d{5,7}$"),
)


def video_of_clip(name: str) -> str:
    """The YouTube id in the name of a clip (without ending), or "" if it follows neither custom."""
    for pattern in _NAMES:
        found = pattern.match(name)
        if found:
            return found.group(1)
    return ""
