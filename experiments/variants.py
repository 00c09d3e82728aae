"""Frechet distance of variants and of plain answers to held-out faces, in face readers from outside.

    python experiments/variants.py default speech2face --data PAIRS --faces CELEBA.store,UTKFACE.store \\
        --judge experiments/human_models.py:mobileface --judge experiments/human_models.py:faceres

Generated are the clips of test people in turn: for each its variants without the plain answer, seeded by the
    clip's number, until there are as many as asked for; and the plain answers. Real are as many faces of test
    people of the face sets, an equal share of each set; the floor is the distance between two halves of other
    people's. All are framed as the template. Distances are biased upwards by small counts, so that each is
    compared at equal counts only.
"""

import argparse

import numpy as np
import torch

from voice2face_gan.data.cache import cached
from voice2face_gan.data.open import open_source, source_names
from voice2face_gan.data.store import Store
from voice2face_gan.evaluation.eval_set import framed_faces, generate_framed
from voice2face_gan.evaluation.metrics.fid import frechet_distance
from voice2face_gan.evaluation.protocol import generator_inputs, identities_with_voice_and_face
from voice2face_gan.evaluation.readers import FaceReader, open_reader
from voice2face_gan.pipeline import VoiceToFace

VARIANTS = 5  # of each clip, without the plain answer


def variants_of(model: VoiceToFace, e: torch.Tensor, count: int) -> torch.Tensor:
    """`count` variants of inputs of the generator (clips, embedding), uint8 (count, side, side, 3)."""
    clips = -(-count // VARIANTS)
    made = []
    for seed in range(clips):
        inputs = model.variant_embeddings(e[seed % len(e)], VARIANTS + 1, seed)[1:]
        noise = model.noise(VARIANTS + 1, seed)
        made.append(generate_framed(model, inputs, None if noise is None else noise[1:]))
    return torch.cat(made)[:count]


def held_out_faces(names: list[str], count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of test faces of different people, uint8 (count, side, side, 3), one face a person where there
    are enough people, an equal share of each store.

    Raises:
        SystemExit: a store has too few test faces.
    """
    halves = [], []
    random = np.random.default_rng(seed)
    for name in names:
        part = Store(name).of_split("test")
        part = part.select(part.has_face)
        people = random.permutation(np.unique(part.identity))
        share = count // len(names)
        for half, mine in zip(halves, np.array_split(people, 2), strict=True):
            of_them = random.permutation(np.flatnonzero(np.isin(part.identity, mine)))
            _, first = np.unique(part.identity[of_them], return_index=True)
            rest = np.setdiff1d(np.arange(len(of_them)), first)
            chosen = of_them[np.concatenate([first, rest])[:share]]
            if len(chosen) < share:
                raise SystemExit(
                    f"{name}: {len(chosen)} test faces of half of the people, {share} are needed."
                )
            half.append(framed_faces(part, part.face_index[chosen]).numpy())
    return np.concatenate(halves[0]), np.concatenate(halves[1])


def distance(reader: FaceReader, faces, real: np.ndarray) -> float:
    """Frechet distance of faces uint8 (N, side, side, 3) to real features (M, D)."""
    return frechet_distance(features_of(reader, faces), real)


def features_of(reader: FaceReader, faces) -> np.ndarray:
    """float32 (N, D) of faces uint8 (N, side, side, 3), from the cache where they were read before by a
    reader of this name, which must say its weights."""
    faces = torch.as_tensor(faces)
    return cached(reader.name, faces, lambda x: np.asarray(reader.read(x).embedding, np.float32))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", nargs="+")
    parser.add_argument("--data", required=True, help="stores of pairs, commas between")
    parser.add_argument("--faces", required=True, help="stores of faces, commas between")
    parser.add_argument("--judge", action="append", required=True)
    parser.add_argument("--count", type=int, default=2000)
    options = parser.parse_args()
    real, others = held_out_faces(source_names(options.faces), options.count)
    count = len(real)  # less where the sets do not divide it
    voices, _ = identities_with_voice_and_face(open_source(options.data), "test")
    generated = {}
    for name in options.checkpoint:
        model = VoiceToFace.from_pretrained(name)
        e = generator_inputs(model, voices)
        generated[name] = variants_of(model, e, count), generate_framed(model, e, noise_scale=0)
    for judge in options.judge:
        reader = open_reader(judge)
        features = features_of(reader, real)
        few = features[np.random.default_rng(0).permutation(count)[: len(voices)]]
        print(f"{judge}: floor {distance(reader, others, features):.0f} at {count}", flush=True)
        for name, (variants, plain) in generated.items():
            far, near = distance(reader, variants, features), distance(reader, plain[: len(few)], few)
            print(f"  {name}: variants {far:.0f}, {len(plain)} plain answers {near:.0f}", flush=True)


if __name__ == "__main__":
    main()
