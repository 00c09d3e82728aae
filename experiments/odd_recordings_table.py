"""A table of recordings as people have them, and what becomes of each.

    python experiments/odd_recordings_table.py > table.json
    PYTHONPATH=OTHER_CHECKOUT python experiments/odd_recordings_table.py > before.json
    python experiments/odd_recordings_table.py --markdown before.json table.json

Each recording is made by tests/audio/odd_recordings.py, and decoded in a process of its own: decoders may
crash.
"""

import json
import math
import multiprocessing
import signal
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path += [str(ROOT / "tests/audio"), str(ROOT)]
VOICES = "shared/data/paired/voxceleb/voice"
REAL = next((p / VOICES for p in ROOT.parents if (p / VOICES).is_dir()), ROOT / "none")


def look(source) -> str:
    """Results of `load_audio` and of the speech detector for a source."""
    from voice2face_gan.audio.decode import load_audio
    from voice2face_gan.audio.vad import keep_speech
    from voice2face_gan.errors import VoiceToFaceError

    try:
        waveform = load_audio(source)
    except VoiceToFaceError as error:
        return f"refused: {error}"
    except BaseException as error:
        return f"ESCAPED: {type(error).__name__}"
    level = 10 * math.log10(max(float((waveform**2).mean()), 1e-12))
    share = len(keep_speech(waveform)) / len(waveform)
    return f"{len(waveform) / 16_000:.2f} s, {level:.1f} dBFS, {100 * share:.0f} % speech"


def _child(make, pipe) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pipe.send(look(make(Path(folder))))


def result(make) -> str:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_child, args=(make, theirs))
    process.start()
    theirs.close()
    try:
        told = ours.recv() if ours.poll(60) else "HANGS: more than 60 s"
    except EOFError:
        told = ""
    process.join(1) if told[:5] != "HANGS" else process.kill()
    process.join()
    return told or f"CRASH: {signal.Signals(-process.exitcode).name if process.exitcode < 0 else 'ended'}"


def main() -> None:
    if sys.argv[1:2] == ["--markdown"]:
        before, after = (json.loads(Path(name).read_text()) for name in sys.argv[2:4])
        print("| recording | before | now |\n|---|---|---|")
        for name in after:
            cells = [table.get(name, "-").replace("|", "/") for table in (before, after)]
            print(f"| {name} | {cells[0]} | {cells[1] if cells[1] != cells[0] else 'the same'} |")
        return
    from odd_recordings import CASES

    table = {name: result(case.make) for name, case in CASES.items()}
    for number, path in enumerate(sorted(REAL.glob("*.opus"))[:3] if REAL.is_dir() else [], 1):
        table[f"real clip {number}"] = result(lambda folder, path=path: path)
    print(json.dumps(table, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
