"""What the default's card takes from the measurements."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "experiments"))
import default_publish
import recordings


def test_the_card_shows_recordings_that_are_made():
    assert {name for _, name in default_publish.HARD} <= set(recordings.RECORDINGS)
    row = {"right sex": 97.04, "moved": 12.34, "HOG": 100.0, "no speech": 0.5, "several": 2.0}
    rows = {name: row for name in recordings.RECORDINGS}
    children = {"clips": 7, "child": 28.6, "under 16": 0.0}
    result = {
        "rows": {**rows, "children under 13": children},
        "between people": 35.62,
        "separation": {"AUC": 0.99361},
        "sounds": {"all": {"sounds": 264, "unwarned": 1.89}},
        "real": {"cats": {"sounds": 30, "unwarned": 10.0}, "rain": {"sounds": 50, "unwarned": 2.0}},
    }
    told = default_publish.recordings(result)
    lines = told["recordings"].splitlines()
    assert len(lines) == 2 + len(default_publish.HARD)
    assert lines[2] == "| as recorded | 97.0 | 12.3 | 100.0 | 0.5 | 2.0 |"
    assert (told["children"], told["warned_children"], told["look_under_16"]) == ("7", "29", "0")
    assert told["warned_two"] == told["warned_one"] == "2"
    assert (told["speech_auc"], told["unwarned"], told["sounds"]) == ("0.994", "1.9", "264")
    assert told["real_sounds"] == "Of 80 recorded sounds (30 of cats, 50 of rain) 4 pass unwarned."
    assert default_publish.real_sounds({}) == "Recorded sounds are untried."
    card = Path(default_publish.__file__).with_name("default_card.md").read_text()
    own = default_publish.ages({"trunk": {"r": 0.834, "faces": 2963}})
    assert own == {"age_faces": "2,963", "age_trunk": "0.83", "age_faceres": "not read"}
    assert all(f"{{{name}}}" in card for name in (*told, *own))
