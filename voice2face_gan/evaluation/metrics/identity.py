"""Closed-set identification of training identities.

For each training identity with two voices or more, a face is generated from the last of them
(`data.splits.held_out_clips`) and assigned to the nearest centroid by cosine. The centroid of a training
identity with voices and faces is the mean of the face reader's unit embeddings of its real faces. Top-k is
the percent of identities whose own centroid is among the k nearest, equal cosines in random order; chance is
100 k / identities. The checkpoint's recipe shows whether training left the last voices out. If not, this
measures memory of clips, not of identities. Source: Wen et al. 2019 (4,620 recordings of 924 identities).
"""

import numpy as np

from voice2face_gan.data.splits import held_out_clips
from voice2face_gan.data.store import Store
from voice2face_gan.errors import DataError, MetricError
from voice2face_gan.evaluation.eval_set import EvalSet, generate_framed
from voice2face_gan.evaluation.metrics.retrieval import others_nearer
from voice2face_gan.evaluation.protocol import generator_inputs, identities_with_voice_and_face, make_eval_set
from voice2face_gan.evaluation.registry import Options, clip_figures, metric
from voice2face_gan.results import Figure

TOP = (1, 5)
MAX_IDENTITIES, MAX_FACES_PER_IDENTITY = 1000, 20  # the second: faces of a centroid


@metric("identity")
def identity(eval_set: EvalSet, options: Options) -> dict[str, Figure]:
    """Top-1 and top-5, as far as they are smaller than the number of identities.

    Raises:
        MetricError: no model or no store, fewer than two training identities, or none with two voices.
    """
    if eval_set.model is None or eval_set.store is None:
        raise MetricError(
            "identification of training identities needs a checkpoint and its data, not images."
        )
    random = np.random.default_rng(options.seed)
    gender = eval_set.model.checkpoint.info.get("gender", "all")
    gender = eval_set.about.get("gender", "all") if gender == "all" else gender
    try:
        voices, faces = identities_with_voice_and_face(eval_set.store, "train", gender)
    except DataError as error:
        raise MetricError(
            f"identification needs training identities with voices and faces: {error}"
        ) from error
    held_out = voices.select(held_out_clips(voices))
    everyone = np.unique(faces.identity)
    if len(everyone) < 2 or not len(held_out):
        raise MetricError(
            f"identification needs two training identities or more, one of them with two voices; of "
            f"{len(everyone)} in these data, {len(held_out)} have two voices."
        )
    names = everyone
    if len(everyone) > MAX_IDENTITIES:
        drawn = random.permutation(everyone)
        asked_first = np.argsort(~np.isin(drawn, held_out.identity), kind="stable")
        names = np.sort(drawn[asked_first][:MAX_IDENTITIES])
    held_out = held_out.select(np.isin(held_out.identity, names))
    faces = some_faces(faces.select(np.isin(faces.identity, names)), random)
    generated = generate_framed(
        eval_set.model,
        generator_inputs(eval_set.model, held_out, strength=eval_set.strength),
        noise_scale=eval_set.noise_scale,
    )
    trained = make_eval_set(generated, held_out, faces, eval_set.store, "train", gender, eval_set.reader)
    centroid = centroids(trained.reading("real").unit(), faces.identity)
    own = np.searchsorted(names, held_out.identity)
    nearer = others_nearer(trained.reading("generated").unit(), centroid, own, 2.0, random)
    protocol = (
        f"face generated from the last clip of a training identity, nearest of {len(names)} training "
        f"identities' mean faces (of up to {MAX_FACES_PER_IDENTITY} images each) by cosine in "
        f"{eval_set.reader.name}; "
        + _history(eval_set, options)
        + (
            f"; the {len(names)} drawn from {len(everyone)}, those with two clips first"
            if len(names) < len(everyone)
            else ""
        )
    )
    figures = {}
    for k in TOP:
        if k < len(names):
            right, chance = np.where(nearer < k, 100.0, 0.0), 100 * k / len(names)
            figures |= clip_figures(trained, f"top-{k}", right, protocol, options, unit="%", chance=chance)
    return figures


def some_faces(faces: Store, random: np.random.Generator) -> Store:
    """At most MOST_FACES records of each identity, drawn at random, in the order of the store."""
    shuffled = random.permutation(len(faces))
    _, owner, counts = np.unique(faces.identity[shuffled], return_inverse=True, return_counts=True)
    grouped = np.argsort(owner, kind="stable")
    place = np.arange(len(faces)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = np.zeros(len(faces), dtype=bool)
    kept[shuffled[grouped[place < MAX_FACES_PER_IDENTITY]]] = True
    return faces.select(kept)


def centroids(unit: np.ndarray, identity: np.ndarray) -> np.ndarray:
    """Centroids of unit length, one an identity, sorted by name: (N, D) -> (identities, D)."""
    order = np.argsort(identity, kind="stable")
    _, first = np.unique(identity[order], return_index=True)
    total = np.add.reduceat(unit[order], first)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return total / np.where(length > 0, length, 1)


def _history(eval_set: EvalSet, options: Options) -> str:
    """Clause about the use of the clips in training, as far as the checkpoint shows it."""
    info = eval_set.model.checkpoint.info
    recipe = info.get("recipe", {}).get("data", {})
    _, faces = identities_with_voice_and_face(
        eval_set.store, recipe.get("split", "train"), info.get("gender", "all")
    )
    here, then = len(np.unique(faces.identity)), info.get("data", {}).get("identities", 0)
    if then and here != then:
        sentence = (
            f"the checkpoint was trained on OTHER data ({then} identities, and here are {here} to train on), "
            "so it may know none of these identities"
        )
        options.note(f"identity: {sentence}.")
        return sentence
    return "the clip was " + ("held out from training" if recipe.get("hold_out_clip") else "trained on")
