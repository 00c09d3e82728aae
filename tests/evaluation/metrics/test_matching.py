"""Matching: against a plain loop over every trial, and worlds whose answer is known."""

from itertools import product

import numpy as np
import pytest
import torch

from voice2face_gan.errors import MetricError
from voice2face_gan.evaluation import compute
from voice2face_gan.evaluation.metrics import matching
from voice2face_gan.evaluation.metrics.matching import centre, percent_won
from voice2face_gan.evaluation.readers import Reading


@pytest.fixture
def embedded(build_eval_set):
    """Function (generated, real, who, whose, gender) -> an evaluation set with given readings."""

    def reading(embedding) -> Reading:
        embedding = np.asarray(embedding, dtype=np.float32)
        return Reading(embedding, None, None, np.ones(len(embedding), dtype=bool))

    def make(generated, real, who, whose, gender):
        images = [torch.zeros(len(x), 8, 8, 3, dtype=torch.uint8) for x in (generated, real)]
        readings = {"generated": reading(generated), "real": reading(real)}
        return build_eval_set(*images, who, whose, gender, _readings=readings)

    return make


def world(identities: int, clips: int, faces: int, seed: int = 0):
    """Random vectors: (generated, real, who, whose, gender of each clip); female and male in turn."""
    random = np.random.default_rng(seed)
    who, whose = (np.repeat([f"p{i:03d}" for i in range(identities)], n) for n in (clips, faces))
    gender = [("female", "male")[int(name[1:]) % 2] for name in who]
    return random.standard_normal((len(who), 8)), random.standard_normal((len(whose), 8)), who, whose, gender


def cos(a, b) -> float:
    a, b = np.float64(a), np.float64(b)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def by_hand(generated, real, who, whose, gender, same: bool) -> tuple[float, int]:
    """Percent and number of trials, one at a time."""
    of = dict(zip(who, gender, strict=True))
    identities, trials = {}, 0
    for e, name in zip(generated, who, strict=True):
        own = [cos(e, f) for f, owner in zip(real, whose, strict=True) if owner == name]
        others = [
            cos(e, f)
            for f, owner in zip(real, whose, strict=True)
            if owner != name and (not same or (of[name] and of[owner] == of[name]))
        ]
        won = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in product(own, others)]
        trials += len(won)
        if won:
            identities.setdefault(name, []).append(sum(won) / len(won))
    return 100 * float(np.mean([np.mean(clips) for clips in identities.values()])), trials


def uneven():
    """20 people with 1 to 4 clips and 3 to 9 faces, the genders of two unknown."""
    random = np.random.default_rng(5)
    names = [f"p{i:02d}" for i in range(20)]
    who = np.repeat(names, random.integers(1, 5, 20))
    whose = random.permutation(np.repeat(names, random.integers(3, 10, 20)))
    label = dict(zip(names, ["female", "male"] * 9 + ["", ""], strict=True))
    generated, real = random.standard_normal((len(who), 5)) + 1, random.standard_normal((len(whose), 5)) - 0.3
    return [x.astype(np.float32) for x in (generated, real)] + [who, whose, [label[w] for w in who]]


@pytest.mark.parametrize("at_once", [1 << 23, 250, 1])
def test_every_trial_against_a_plain_loop(embedded, monkeypatch, at_once):
    monkeypatch.setattr(
        matching, "_COSINES_PER_CHUNK", at_once
    )  # 250: the cosines of two clips; 1: less than those of one
    generated, real, who, whose, gender = uneven()
    figures = compute("matching", embedded(generated, real, who, whose, gender))
    assert figures["U"].n > 20_000
    moved = [
        (x - np.mean([x[owner == name].mean(axis=0, dtype=np.float64) for name in np.unique(owner)], axis=0))
        for x, owner in ((generated, who), (real, whose))
    ]
    for how, vectors in (("", (generated, real)), (" centred", moved)):
        for kind in "UG":
            expected, trials = by_hand(*vectors, who, whose, gender, same=kind == "G")
            assert figures[kind + how].value == pytest.approx(expected, abs=1e-9)
            assert figures[kind + how].n == trials and figures[kind + how].counted == "trials"
    assert figures["U, female"].n + figures["U, male"].n < figures["U"].n
    assert figures["G, female"].n + figures["G, male"].n == figures["G"].n
    assert "2 identities of unknown gender left out" in figures["G"].protocol
    assert "unknown" not in figures["U"].protocol


def test_an_oracle_wins_every_trial(embedded):
    _, real, _, whose, gender = world(30, 1, 1)
    figures = compute("matching", embedded(real, real, whose, whose, gender))
    assert len(figures) == 12 and {f.value for f in figures.values()} == {100.0}
    assert all((f.low, f.high, f.unit, f.chance) == (100, 100, "%", 50) for f in figures.values())
    assert "reads-pixels; 30 clips against 30 real faces of 30 identities" in figures["G"].protocol
    assert "embeddings less the mean" in figures["G centred"].protocol
    assert "embeddings less" not in figures["G"].protocol


def test_faces_without_any_likeness_are_at_chance(embedded):
    for figure in compute("matching", embedded(*world(80, 3, 3, seed=1))).values():
        assert figure.low < 50 < figure.high and figure.high - figure.low < 25


def test_equal_embeddings_are_ties(embedded):
    generated, real, *names = world(10, 2, 3)
    same = np.random.default_rng(2).standard_normal(8)
    for made in (generated, np.tile(same, (20, 1))):
        figures = compute("matching", embedded(made, np.tile(same, (30, 1)), *names))
        assert {f.value for f in figures.values()} == {50.0}


def test_two_people_taken_for_each_other(embedded):
    """Of four people at right angles, p0 and p1 (female) are given each other's face: each loses to the other
    and ties with p2 and p3; these win everything."""
    real = np.eye(4)
    names = [f"p{i}" for i in range(4)]
    figures = compute(
        "matching", embedded(real[[1, 0, 2, 3]], real, names, names, ["female", "female", "male", "male"])
    )
    assert figures["U, female"].value == pytest.approx(100 / 3)  # (0 + 1/2 + 1/2) / 3
    assert figures["U, male"].value == figures["G, male"].value == 100
    assert figures["G, female"].value == 0
    assert figures["U"].value == pytest.approx(200 / 3) and figures["G"].value == 50


def test_knowing_the_gender_alone(embedded):
    """Half of the imposters are of the other gender and always lose; the others are a coin's toss."""
    random = np.random.default_rng(3)
    _, noise, who, whose, gender = world(120, 2, 2)
    axis = np.array([[1.0 if g == "female" else -1.0] for g in gender])
    figures = compute(
        "matching", embedded(np.hstack([axis, 0.01 * random.standard_normal((240, 8))]),
                             np.hstack([axis, 0.2 * noise]), who, whose, gender)
    )  # fmt: skip
    assert figures["G"].low < 50 < figures["G"].high
    assert figures["U"].value == pytest.approx(75, abs=4)
    assert figures["G centred"].low < 50 < figures["G centred"].high


def test_centring_takes_away_what_all_faces_share(embedded):
    """A likeness buried under a look that all generated and another that all real faces share."""
    random = np.random.default_rng(4)
    person = random.standard_normal((40, 8))
    names = [f"p{i:02d}" for i in range(40)]
    generated = person + 100 * np.eye(8)[0]
    real = person + 100 * np.eye(8)[1]
    figures = compute("matching", embedded(generated, real, names, names, ["female"] * 40))
    assert figures["U"].value < 80 and figures["U centred"].value == 100


def test_who_has_many_images_moves_the_centre_no_further():
    embedding = np.array([[0.0, 4]] * 9 + [[2.0, 0]])
    assert centre(embedding, np.array(["a"] * 9 + ["b"])) == pytest.approx([1, 2])


def test_percent_won_counts_ties_half():
    own, others = np.array([[0.5, 0.1]]), np.array([[0.5, 0.0, 0.9, 0.1]])
    assert percent_won(own, others) == pytest.approx([100 * (2.5 + 1.5) / 8])


def test_without_imposters_of_the_same_gender_u_is_left(embedded):
    real = np.eye(2)
    figures = compute("matching", embedded(real, real, ["a", "b"], ["a", "b"], ["female", "male"]))
    assert set(figures) == {k + s for k in ("U", "U centred") for s in ("", ", female", ", male")}
    unknown = compute("matching", embedded(real, real, ["a", "b"], ["a", "b"], ["", ""]))
    assert set(unknown) == {"U", "U centred"}


def test_people_without_a_face_or_without_a_voice(embedded):
    """p2 speaks and has no face: no trials. p3 has a face and is silent: an imposter for U, of a gender that
    nobody told."""
    real = np.eye(4)
    figures = compute(
        "matching", embedded(real[:3], real[[0, 1, 3]], ["p0", "p1", "p2"], ["p0", "p1", "p3"], ["male"] * 3)
    )
    assert figures["U"].n == 4 and figures["G"].n == 2
    with pytest.raises(MetricError, match="real faces of the speakers"):
        compute("matching", embedded(real[:2], real[:2], ["p0", "p1"], ["p2", "p3"], ["male"] * 2))


def test_one_person_alone_cannot_be_matched(embedded):
    with pytest.raises(MetricError, match="two identities or more"):
        compute("matching", embedded(np.eye(2), np.eye(2), ["p0", "p0"], ["p0", "p0"], ["male"] * 2))


def test_a_person_is_of_the_gender_that_the_labelled_clips_agree_on(embedded):
    """The first of somebody's clips without a label, the last of another's, and one whose clips disagree:
    the figures are those of everybody's clips labelled alike, the last one left out of G."""
    generated, real, who, whose, gender = world(8, 2, 1)
    partly, full = list(gender), list(gender)
    partly[0] = partly[3] = ""  # p000's first, p001's last
    for labels in (partly, full):
        labels[15] = "female"  # of p007, a man by the other clip
    partly_labelled = embedded(generated, real, who, whose, partly)
    assert partly_labelled.gender_of == {f"p{i:03d}": ("female", "male")[i % 2] for i in range(7)}
    found, wanted = (
        compute("matching", x) for x in (partly_labelled, embedded(generated, real, who, whose, full))
    )
    assert found["G"].value == pytest.approx(wanted["G"].value) and found["G"].n == wanted["G"].n
    without = np.array([name != "p007" for name in who])
    clips = (x[without] for x in (generated, who, np.array(gender)))
    some, names, labels = clips
    hand = by_hand(some, real[:7], names, whose[:7], labels, same=True)
    assert found["G"].value == pytest.approx(hand[0])
