"""Remakes the default weights from the data to the card, by commands of the package.

    python experiments/default_model.py --data ../shared/data --work /work/default --out assets/default

What is done already in --work is left, and a run that was stopped goes on: call it again as often as it
takes. It needs the extra `faces`, and the teacher's weights: pip install --no-deps resemblyzer.

1. v2f-gan prepare     paired/voxceleb, paired/avspeech, voices (speech kept), faces/utkface -> stores; with
                       faces/celeba again, whole heads of 128 pixels with landmarks
2. v2f-gan face-space  on the three stores with faces
3. v2f-gan train       --recipe default-encoder: voice -> e
4. v2f-gan train       --recipe face-decoder, then --recipe appearance-model: e, z -> face, on that encoder
                       and the heads; then --recipe face-detail: their hair, skin and background;
                       --recipe face-detail-portraits: the same as portraits have them;
                       --recipe face-detail-distilled: in two steps; --recipe face-detail-one-step; and
                       --recipe face-detail-calibrated: so that faces show what their e says
5. v2f-gan compose     both networks in half precision, gender probe, limits, at strength 3
6. default_measure.py  on test people -> report.json, sheet.png; also by human_models.py, where
                       V2F_HUMAN_MODELS says what it needs; default_publish.py: the checkpoint with its card

Test people are a fixed fifth of the identities (`split` of the stores, seeded).
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from default_measure import PAIRED, measure
from default_publish import publish

from voice2face_gan.training.run.index import list_runs

CLI = [sys.executable, "-m", "voice2face_gan"]
ZOOM = 1.4  # UTKFace's images end where the frame of a whole head has a third of its side to go
SIDE = 128  # of the heads
STRENGTH = 3  # readers prefer the images of lower ones; lab book, "Calibration"
TRAINED_ON = "celeba,utkface,voxceleb1,avspeech,librispeech,speechocean762,ravdess"
LICENCE = "research only, non-commercial (see MODEL_CARD.md)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with paired/, voices/ and faces/")
    parser.add_argument("--work", type=Path, required=True, help="stores, runs and results go there")
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint's folder")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--real", type=Path, help="recorded sounds that are no speech, see robustness.py")
    parser.add_argument("--looked", type=Path, help="text for the card: what people saw in its images")
    parser.add_argument("--set", action="append", default=[], help="override of the recipe appearance-model")
    options = parser.parse_args()
    if options.real and not options.real.is_dir():
        parser.error(f"--real {options.real}: there is no such folder.")
    if options.looked and not options.looked.is_file():
        parser.error(f"--looked {options.looked}: there is no such file.")
    work, device = options.work, ("--device", options.device)
    work.mkdir(parents=True, exist_ok=True)

    stores = {name: work / f"{name}.store" for name in (*PAIRED, "voices", "utkface")}
    paired = ",".join(str(stores[name]) for name in PAIRED)
    zoom = ("--set", f"faces.zoom={ZOOM}")
    for name in PAIRED:
        source = ("paired", options.data / "paired" / name, "--keep-speech")
        once(stores[name] / "store.json", "prepare", *source, *zoom, "-o", stores[name])
    source = ("voices", options.data / "voices", "--keep-speech")
    once(stores["voices"] / "store.json", "prepare", *source, *zoom, "-o", stores["voices"])
    source = ("faces", options.data / "faces" / "utkface")
    once(stores["utkface"] / "store.json", "prepare", *source, *zoom, "-o", stores["utkface"])

    space = work / "space"
    with_faces = [stores[name] for name in ("utkface", *PAIRED)]
    once(space / "space.json", "face-space", *with_faces, "-o", space)

    data = f"{paired},{stores['voices']}"
    recipe = ("--recipe", "default-encoder", "--set", f'encoder.space="{space}"')
    encoder = trained(work / "encoder", *device, new=(*recipe, "--data", data))

    heads = {name: work / f"{name}-{SIDE}.store" for name in (*PAIRED, "utkface", "celeba")}
    whole = ("--set", f"faces.side={SIDE}", "--set", "faces.landmarks=true")
    for name, store in heads.items():
        kind = ("paired", options.data / "paired" / name, "--keep-speech")
        if name not in PAIRED:
            kind = ("faces", options.data / "faces" / name)
        once(store / "store.json", "prepare", *kind, *whole, "-o", store)
    data = ",".join(map(str, heads.values()))
    pairs = ",".join(str(heads[name]) for name in PAIRED)
    decoder = ("--recipe", "face-decoder", "--data", data, "--encoder", encoder)
    decoder = trained(work / "decoder", *device, new=decoder)
    recipe = ["--recipe", "appearance-model", "--set", f'appearance_model.decoder="{decoder}"']
    recipe += [part for text in options.set for part in ("--set", text)]
    model = trained(work / "model", *device, new=(*recipe, "--data", data, "--encoder", encoder))
    detail = ("--recipe", "face-detail", "--data", data, "--init", model)
    detailed = trained(work / "detail", *device, new=detail)
    finer = ("--recipe", "face-detail-portraits", "--data", data, "--init", detailed)
    portraits = trained(work / "portraits", *device, new=finer)
    faster = ("--recipe", "face-detail-distilled", "--data", data, "--init", portraits)
    distilled = trained(work / "distilled", *device, new=faster)
    fastest = ("--recipe", "face-detail-one-step", "--data", data, "--init", distilled)
    one_step = trained(work / "one-step", *device, new=fastest)
    shown = ("--recipe", "face-detail-calibrated", "--data", pairs, "--init", one_step)
    generator = trained(work / "calibrated", *device, new=shown)

    composed = work / "composed"
    about = ("--trained-on", TRAINED_ON, "--licence", LICENCE, "--strength", STRENGTH)
    run("compose", encoder, generator, "-o", composed, "--data", pairs, "--faces", heads["utkface"], *about)

    speech = [stores[name] for name in (*PAIRED, "voices")]
    looked = options.looked.read_text(encoding="utf-8").strip() if options.looked else ""
    publish(composed, measure(composed, heads, speech, work, options.real), options.out, looked)


def once(made: Path, *command) -> None:
    """Runs a command, unless what it makes is there."""
    if not made.is_file():
        run(*command)


def trained(root: Path, *options, new: tuple) -> Path:
    """The finished run below a folder: begun by the arguments `new`, or gone on with."""
    runs = list_runs(root) if root.is_dir() else []
    if runs and runs[-1]["finished"]:
        return root / runs[-1]["folder"]
    settings = ("--resume", root / runs[-1]["folder"]) if runs else new
    done = json.loads(run("train", *settings, "--out", root, *options, "--json"))
    if not done["finished"]:
        raise SystemExit(f"train stopped at iteration {done['iteration']}; call this again to go on.")
    return Path(done["run"])


def run(command: str, *arguments) -> str:
    """Output of one of the package's commands; ends here if it fails."""
    line = [*CLI, command, *map(str, arguments)]
    print("$ v2f-gan", *line[3:], flush=True)
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{command} failed.")
    return done.stdout


if __name__ == "__main__":
    main()
