"""Measures the default's checkpoint on test people, whom nothing was fitted or chosen on; the last step of
default_model.py but one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from default_publish import brief

PAIRED = ("voxceleb", "avspeech")


def judged(
    folder: Path,
    store,
    split: str,
    judge: str,
    metrics,
    strength: float | None = None,
    noise_scale: float = 0.0,
):
    """The case of a checkpoint's plain answers to the voices of a store, and its figures."""
    from voice2face_gan.evaluation import compute
    from voice2face_gan.evaluation.protocol import generate_eval_set
    from voice2face_gan.evaluation.readers import open_reader
    from voice2face_gan.evaluation.registry import Options
    from voice2face_gan.pipeline import VoiceToFace

    model = VoiceToFace.from_pretrained(folder)
    case = generate_eval_set(model, store, split, "all", open_reader(judge), strength, noise_scale)
    options = Options(noise_scale=noise_scale)
    return case, {name: compute(name, case, options) for name in metrics}


def measure(folder: Path, stores, speech, work: Path, real: Path | None = None) -> dict:
    """All figures on test people, by data set; also by face readers that no training used.

    Args:
        stores: of faces and of pairs, by name, alike in side and zoom.
        speech: stores whose kept speech robustness.py makes recordings of, alike as well.
    """
    from voice2face_gan.data.open import open_source
    from voice2face_gan.evaluation.eval_set import sheet

    recorded = Recorded(folder, speech, work, real)  # beside the rest
    report: dict = {"checkpoint": str(folder), "test": {}}
    # With the faces without voices, for `memory` looks for the nearest of all training faces: tens of
    # thousands, which dlib would read for hours.
    faces = [name for name in stores if name not in PAIRED]
    both = ",".join(str(stores[name]) for name in (*PAIRED, *faces))
    sources = {"both": both, **{name: str(stores[name]) for name in PAIRED}}
    judges = {
        "dlib": ("matching", "retrieval", "detection"),
        "trunk": ("gender", "age", "matching", "diversity", "memory"),
    }
    if os.environ.get("V2F_HUMAN_MODELS"):  # from outside the project
        outside = Path(__file__).with_name("human_models.py")
        judges[f"{outside}:faceres"] = ("gender", "age", "matching")
        judges[f"{outside}:mobileface"] = ("matching",)
    report["known_ages"] = known_ages(
        open_source(str(stores["utkface"])), [name for name, which in judges.items() if "age" in which]
    )
    heard = {}  # the test people's clips of each source
    for name, source in sources.items():
        report["test"][name] = {}
        for judge, metrics in judges.items():
            case, figures = judged(folder, open_source(source), "test", judge, metrics)
            heard[name] = case.voices
            report["test"][name][judge.rpartition(":")[2]] = {
                metric: {k: f.to_dict() for k, f in values.items()} for metric, values in figures.items()
            }
            if name == "both" and judge == "dlib":
                sheet(case, identities=32).save(work / "sheet.png")
    report["distance"] = distances(folder, stores)
    report["counts"] = {
        "people": len(np.unique(heard["both"].identity)),
        "clips": len(heard["both"]),
        **{name: len(heard[name]) for name in PAIRED},
    }
    report["recordings"] = recorded.figures()
    (work / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(brief(report), indent=2))
    return report


class Recorded:
    """robustness.py at work, from now on, on a checkpoint and test people's recordings."""

    def __init__(self, folder: Path, speech, work: Path, real: Path | None = None):
        self.kept = work / "recordings.json"
        script, data = Path(__file__).with_name("robustness.py"), ",".join(map(str, speech))
        line = [sys.executable, script, "--data", data, "--checkpoint", folder, "--out", self.kept]
        line += ["--real", real] if real else []
        with (work / "recordings.md").open("w") as text:
            self.process = subprocess.Popen([str(part) for part in line], stdout=text)

    def figures(self) -> dict:
        """What it found, when it is done."""
        if self.process.wait():
            raise SystemExit("robustness.py failed.")
        return json.loads(self.kept.read_text())


def known_ages(store, judges: list[str]) -> dict[str, dict]:
    """Accuracy of face readers on the ages of test people's real faces, where these are known: Pearson's r
    with its interval, and of how many faces."""
    from voice2face_gan.evaluation.correlation import interval, resampled_r
    from voice2face_gan.evaluation.eval_set import framed_faces
    from voice2face_gan.evaluation.readers import open_reader

    held = store.of_split("test")
    held = held.select(held.has_face & np.isfinite(held.age))
    faces, read = framed_faces(held, held.face_index), {}
    for name in judges:
        r, drawn = resampled_r(open_reader(name).read(faces).age, held.age, seed=0)
        low, high = interval(drawn)
        read[name.rpartition(":")[2]] = {"r": float(r), "low": low, "high": high, "faces": len(held)}
    return read


def distances(folder: Path, stores, count: int = 1500) -> dict:
    """Stand-ins of FID: `count` faces of held-out voices, variants too, against as many held-out faces of
    UTKFace; the floor are these against the others of them, in equal numbers."""
    from voice2face_gan.data.open import open_source
    from voice2face_gan.evaluation.eval_set import framed_faces, generate_framed
    from voice2face_gan.evaluation.features import open_feature
    from voice2face_gan.evaluation.metrics.fid import frechet_distance
    from voice2face_gan.evaluation.protocol import generator_inputs
    from voice2face_gan.evaluation.registry import Options
    from voice2face_gan.pipeline import VoiceToFace

    model = VoiceToFace.from_pretrained(folder)
    heard = open_source(",".join(str(stores[name]) for name in PAIRED)).of_split("test")
    heard = heard.select(heard.has_voice)
    e = generator_inputs(model, heard)
    each = -(-count // len(e))
    e = torch.cat([model.variant_embeddings(voice, each, seed=0) for voice in e])[:count]
    made = generate_framed(model, e, model.noise(count, seed=1))
    held = open_source(str(stores["utkface"])).of_split("test")
    order = np.random.default_rng(0).permutation(held.face_index)
    real, others = (framed_faces(held, np.sort(part)) for part in (order[:count], order[count:]))
    floor = min(count, len(others))
    result = {"images": count, "floor_images": floor}
    for name in ("trunk", "dlib"):
        feature = open_feature(name, Options(feature=name))
        a, b, c = (feature.extract(x) for x in (made, real, others[:floor]))
        result[f"fid_{name}"] = round(frechet_distance(a, b), 3)
        result[f"floor_{name}"] = round(frechet_distance(b[:floor], c), 3)
    return result
