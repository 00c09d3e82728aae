"""Makes the default weights: prepares the data, trains, chooses a strength, measures, writes the checkpoint.

    python experiments/default_model.py --data ../shared/data --work /work/default --out assets/default

One call does it all, and does again only what is not done yet in --work: it may be stopped and called again
as often as it takes (2 to 3 hours of two cores; with --device cuda and a wider [model] minutes). Steps:

1. prepare   paired/voxceleb, paired/avspeech, voices (speech kept), faces/utkface -> stores
2. space     v2f-gan face-space on the three stores with faces
3. line      what a voice can tell of e at all, of which the generator has to know: one iteration of hearing
4. hearing   v2f-gan train-encoder --recipe default-encoder: voice -> e; and, beside it,
   faces     v2f-gan train --recipe default: e, z -> face
5. compose   both nets, the reading of gender, the warnings, the strength that validation people choose
6. measure   on test people, whom nothing was fitted or chosen on -> report.json, sheet.png; also by
             human_models.py, where V2F_HUMAN_MODELS says what it needs

Test people are a fixed fifth of the identities (`split` of the stores, seeded).
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from default_publish import brief, publish

CLI = [sys.executable, "-m", "voice2face_gan"]
PAIRED = ("voxceleb", "avspeech")
STRENGTHS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
RIM = 1
ZOOM = 1.4  # UTKFace's images end where the frame of a whole head has a third of its side to go
TRAINED_ON = ["utkface", "voxceleb1", "avspeech", "librispeech", "speechocean762", "ravdess"]
LICENCE = "research only, non-commercial (see MODEL_CARD.md)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with paired/, voices/ and faces/")
    parser.add_argument("--work", type=Path, required=True, help="stores, runs and results go there")
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint's folder")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--real", type=Path, help="recorded sounds that are no speech, see robustness.py")
    parser.add_argument("--set", action="append", default=[], help="override of the recipe default")
    options = parser.parse_args()
    if options.real and not options.real.is_dir():
        parser.error(f"--real {options.real}: there is no such folder.")
    options.work.mkdir(parents=True, exist_ok=True)
    stores = prepare(options.data, options.work)
    space = fit_space(stores, options.work)
    line = train_hearing(stores, space, options, "line", "--iterations", 1)
    hearing, faces = side_by_side(
        lambda: train_hearing(stores, space, options, "default-encoder"),
        lambda: train_faces(stores, space, line, options),
    )
    composed = compose(hearing, faces, stores, options.work / "composed")
    report = measure(composed, stores, options.work, options.real)
    publish(composed, report, options.out)


def prepare(data: Path, work: Path) -> dict[str, Path]:
    """The stores by name; those that are there are kept."""
    stores = {name: work / f"{name}.store" for name in (*PAIRED, "voices", "utkface")}
    sources = {name: ["paired", data / "paired" / name, "--keep-speech"] for name in PAIRED}
    sources["voices"] = ["voices", data / "voices", "--keep-speech"]
    sources["utkface"] = ["faces", data / "faces" / "utkface"]
    for name, store in stores.items():
        if not (store / "store.json").is_file():
            run("prepare", *sources[name], "--set", f"faces.zoom={ZOOM}", "-o", store)
    return stores


def fit_space(stores: dict[str, Path], work: Path) -> Path:
    space = work / "space"
    if not (space / "space.json").is_file():
        run("face-space", stores["utkface"], *(stores[name] for name in PAIRED), "-o", space)
    return space


def side_by_side(*steps):
    """What steps return that train at the same time, each with its part of the processor's cores."""
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // len(steps))))
    with ThreadPoolExecutor() as pool:
        return [future.result() for future in [pool.submit(step) for step in steps]]


def train_hearing(stores, space: Path, options, name: str, *more) -> Path:
    data = ",".join(str(stores[name]) for name in (*PAIRED, "voices"))
    new = ["--recipe", "default-encoder", "--data", data, "--set", f'encoder.space="{space}"', *more]
    return trained("train-encoder", options.work / name, new, options.device) / "encoder"


def train_faces(stores, space: Path, line: Path, options) -> Path:
    """Of the voice encoder the generator learns no more than how much of e it tells, and an encoder of one
    iteration knows that."""
    data = ",".join(str(stores[name]) for name in ("utkface", *PAIRED))
    new = ["--recipe", "faces", "--data", data, "--encoder", line, "--set", f'face_embedding.space="{space}"']
    new += [part for text in options.set for part in ("--set", text)]
    return trained("train", options.work / "faces", new, options.device)


def trained(command: str, root: Path, new: list, device: str) -> Path:
    """The finished run below a folder: begun, or gone on with."""
    runs = sorted(root.glob("0*")) if root.is_dir() else []
    if runs and is_finished(runs[-1]):
        return runs[-1]
    settings = ["--resume", runs[-1]] if runs else new
    done = json.loads(run(command, *settings, "--out", root, "--device", device, "--json"))
    if not done["finished"]:
        raise SystemExit(f"{command} stopped at iteration {done['iteration']}; call this again to go on.")
    return Path(done["run"])


def is_finished(folder: Path) -> bool:
    """Whether a run has reached the end that it was given."""
    settings = json.loads((folder / "run.json").read_text())
    stage = "encoder" if settings.get("command") == "train-encoder" else "gan"
    end = settings.get("iterations") or settings["recipe"][stage]["iterations"]
    return (folder / "checkpoints" / f"{stage}-{end:07d}" / "config.json").is_file()


def run(command: str, *arguments) -> str:
    """Output of one of the package's commands; ends here if it fails."""
    line = [*CLI, command, *map(str, arguments)]
    print("$", *line[2:], flush=True)
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{command} failed.")
    return done.stdout


def compose(hearing: Path, faces: Path, stores, folder: Path) -> Path:
    """One checkpoint of both nets: half precision, with the strength that validation people choose."""
    from voice2face_gan.data.open import open_source
    from voice2face_gan.models.checkpoint import load_checkpoint
    from voice2face_gan.training.probes.gender import gender_probe
    from voice2face_gan.training.stages.gan_base import with_encoder_of

    ears, painter = load_checkpoint(hearing, need_generator=False), load_checkpoint(faces)
    limit = tuple(round(float(x), 3) for x in largest(stores))
    painter.generator.rim = RIM
    config = replace(with_encoder_of(painter.model, ears.model), rim=RIM, strength=1.0, limit=limit)
    paired = open_source(",".join(str(stores[name]) for name in PAIRED))
    cpu = torch.device("cpu")
    probe = gender_probe(paired.of_split("train"), ears.encoder, config, cpu)
    info = {
        "recipe": with_space(painter.info["recipe"], "r3gan", "checkpoint"),
        "encoder_recipe": with_space(ears.info["recipe"], "encoder", ears.info["face_space"]["name"]),
        "distillation": ears.info["distillation"],
        "face_space": ears.info["face_space"],
        "iterations": {"encoder": ears.info["iteration"], "gan": painter.info["iteration"]},
        "gender": "all",
        "trained_on": TRAINED_ON,
        "data": {"generator": painter.info["data"], "encoder": ears.info["data"]},
        "licence": LICENCE,
    }
    # The probes of the warnings and the face space come with the voice encoder.
    checkpoint = replace(ears, model=config, generator=painter.generator, gender_probe=probe, info=info)
    checkpoint.save(folder, half=True)
    info["half_precision"] = {"pixels": halved(checkpoint, folder, paired.of_split("val"))}
    chosen, tried = choose_strength(folder, paired.of_split("val"))
    checkpoint.model = replace(config, strength=chosen)
    checkpoint.info["strength_chosen_on"] = {"people": "validation", "tried": tried}
    return checkpoint.save(folder, half=True)


def with_space(recipe: dict, section: str, space: str) -> dict:
    """A recipe with another name of its face space than the path on the machine that trained."""
    return {**recipe, section: {**recipe[section], "space": space}}


def largest(stores) -> np.ndarray:
    """How large each element of e is for all but one in twenty of the training faces."""
    from voice2face_gan.data.face_embedding import read_face_embedding
    from voice2face_gan.data.open import open_source

    faces = open_source(",".join(str(stores[name]) for name in ("utkface", *PAIRED))).of_split("train")
    faces = faces.select(faces.has_face)
    return np.quantile(np.abs(read_face_embedding(faces)[0][faces.face_index]), 0.95, axis=0)


def halved(whole, folder: Path, people) -> float:
    """Mean absolute difference, of 255, between faces by half-precision and by full weights."""
    from voice2face_gan.evaluation.protocol import embed_all
    from voice2face_gan.pipeline import VoiceToFace

    people = people.select(people.has_voice)
    half = VoiceToFace.from_pretrained(folder)
    faces = [
        m.decode(embed_all(m, people), m.noise(len(people))) for m in (VoiceToFace(whole, "whole"), half)
    ]
    return round(float((faces[0].float() - faces[1].float()).abs().mean()), 4)


def choose_strength(folder: Path, people) -> tuple[float, dict]:
    """The strength with the greatest U + G on validation people; the lower where two are within a point."""
    tried = {}
    for strength in STRENGTHS:
        _, figures = judged(folder, people, "val", "dlib", ("matching",), strength)
        tried[strength] = round(sum(figures["matching"][k].value for k in ("U", "G")), 2)
    best = max(tried.values())
    return next(s for s in STRENGTHS if tried[s] >= best - 1), {str(k): v for k, v in tried.items()}


def judged(
    folder: Path, store, split: str, judge: str, metrics, strength: float | None = None, spread: float = 0.0
):
    """The case of a checkpoint's plain answers to the voices of a store, and its figures."""
    from voice2face_gan.evaluation import compute
    from voice2face_gan.evaluation.protocol import generate_eval_set
    from voice2face_gan.evaluation.readers import open_reader
    from voice2face_gan.evaluation.registry import Options
    from voice2face_gan.pipeline import VoiceToFace

    model = VoiceToFace.from_pretrained(folder, strength=strength)
    model.spread = spread
    case = generate_eval_set(model, store, split, "all", open_reader(judge))
    options = Options(spread=spread)
    return case, {name: compute(name, case, options) for name in metrics}


def measure(folder: Path, stores, work: Path, real: Path | None = None) -> dict:
    """Everything on test people, told apart by data set; also by a judge that no training used."""
    from voice2face_gan.data.open import open_source
    from voice2face_gan.evaluation.eval_set import sheet

    recorded = Recorded(folder, stores, work, real)  # beside the rest
    report: dict = {"checkpoint": str(folder), "test": {}}
    # With the faces without voices, for `memory` looks for the nearest of all training faces.
    both = ",".join(str(stores[name]) for name in (*PAIRED, "utkface"))
    sources = {"both": both, **{name: str(stores[name]) for name in PAIRED}}
    judges = {
        "dlib": ("matching", "retrieval", "detection", "memory"),
        "trunk": ("gender", "age", "matching", "diversity"),
    }
    if os.environ.get("V2F_HUMAN_MODELS"):  # from outside the project
        judges[f"{Path(__file__).with_name('human_models.py')}:faceres"] = ("gender", "age", "matching")
    report["known_ages"] = known_ages(
        open_source(str(stores["utkface"])), [name for name, which in judges.items() if "age" in which]
    )
    for name, source in sources.items():
        report["test"][name] = {}
        for judge, metrics in judges.items():
            case, figures = judged(folder, open_source(source), "test", judge, metrics)
            report["test"][name][judge.rpartition(":")[2]] = {
                metric: {k: f.to_dict() for k, f in values.items()} for metric, values in figures.items()
            }
            if name == "both" and judge == "dlib":
                sheet(case, people=32).save(work / "sheet.png")
    report["distance"] = distances(folder, stores)
    report["as_painted"] = as_painted(folder, open_source(both))
    test = {name: open_source(source).of_split("test") for name, source in sources.items()}
    heard = {name: part.select(part.has_voice & part.has_face) for name, part in test.items()}
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

    def __init__(self, folder: Path, stores, work: Path, real: Path | None = None):
        self.kept = work / "recordings.json"
        speech = ",".join(str(stores[name]) for name in (*PAIRED, "voices"))
        script = Path(__file__).with_name("robustness.py")
        line = [sys.executable, script, "--data", speech, "--checkpoint", folder, "--out", self.kept]
        line += ["--real", real] if real else []
        with (work / "recordings.md").open("w") as text:
            self.process = subprocess.Popen([str(part) for part in line], stdout=text)

    def figures(self) -> dict:
        """What it found, when it is done."""
        if self.process.wait():
            raise SystemExit("robustness.py failed.")
        return json.loads(self.kept.read_text())


def known_ages(store, judges: list[str]) -> dict[str, dict]:
    """How well judges read the ages of test people's real faces, where these are known: Pearson's r with its
    interval, and of how many faces."""
    from voice2face_gan.evaluation.correlation import interval, resampled_r
    from voice2face_gan.evaluation.eval_set import kept_faces
    from voice2face_gan.evaluation.readers import open_reader

    held = store.of_split("test")
    held = held.select(held.has_face & np.isfinite(held.age))
    faces, read = kept_faces(held, held.face_index), {}
    for name in judges:
        r, drawn = resampled_r(open_reader(name).read(faces).age, held.age, seed=0)
        low, high = interval(drawn)
        read[name.rpartition(":")[2]] = {"r": float(r), "low": low, "high": high, "faces": len(held)}
    return read


def as_painted(folder: Path, store) -> dict:
    """What dlib's judge says of test people's images as they are painted, not laid on the template: beside
    real faces taken as near, for it finds and aligns faces by itself."""
    from voice2face_gan.evaluation import compute
    from voice2face_gan.evaluation.protocol import generate_eval_set
    from voice2face_gan.evaluation.readers import open_reader
    from voice2face_gan.pipeline import VoiceToFace

    model = VoiceToFace.from_pretrained(folder)
    if model.zoom != store.zoom:
        return {}
    far = store.select(np.ones(len(store), dtype=bool))
    far.about = {**store.about, "zoom": 1.0}  # so that nothing is laid on anything
    model.config, model.spread = replace(model.config, zoom=1.0), 0.0
    case = generate_eval_set(model, far, "test", "all", open_reader("dlib"))
    return {
        f"{metric} {name}": {"value": f.value, "low": f.low, "high": f.high}
        for metric in ("matching", "detection")
        for name, f in compute(metric, case).items()
    }


def distances(folder: Path, stores, count: int = 1500) -> dict:
    """Stand-ins of FID: `count` faces of held-out voices, variants too, against as many held-out faces of
    UTKFace; the floor are these against the others of them, in equal numbers."""
    from voice2face_gan.data.open import open_source
    from voice2face_gan.evaluation.eval_set import kept_faces, painted
    from voice2face_gan.evaluation.features import open_feature
    from voice2face_gan.evaluation.metrics.fid import frechet_distance
    from voice2face_gan.evaluation.protocol import embed_all
    from voice2face_gan.evaluation.registry import Options
    from voice2face_gan.pipeline import VoiceToFace

    model = VoiceToFace.from_pretrained(folder)
    heard = open_source(",".join(str(stores[name]) for name in PAIRED)).of_split("test")
    heard = heard.select(heard.has_voice)
    e = embed_all(model, heard)
    each = -(-count // len(e))
    e = torch.cat([model._variants(voice, each, seed=0) for voice in e])[:count]
    made = painted(model, e, model.noise(count, seed=1))
    held = open_source(str(stores["utkface"])).of_split("test")
    order = np.random.default_rng(0).permutation(held.face_index)
    real, others = (kept_faces(held, np.sort(part)) for part in (order[:count], order[count:]))
    floor = min(count, len(others))
    result = {"images": count, "floor_images": floor}
    for name in ("trunk", "dlib"):
        feature = open_feature(name, Options(feature=name))
        a, b, c = (feature.extract(x) for x in (made, real, others[:floor]))
        result[f"fid_{name}"] = round(frechet_distance(a, b), 3)
        result[f"floor_{name}"] = round(frechet_distance(b[:floor], c), 3)
    return result


if __name__ == "__main__":
    main()
