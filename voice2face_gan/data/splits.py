"""Splits into training, validation and test, by whole identities.

Four rules. "wen-letters": the first letter of the name, A-B validation, C-E test, F-Z training (Nagrani
2018, section 4; Wen 2019). "official": the data set's metadata or a list. "seeded": shuffled, stratified by
gender. "stratified": likewise by gender, age group and ethnicity, as far as they are known. Clips of one
video are never on both sides: the seeded rules keep identities that share a video together; where names
decide, the clips of a shared video stay on one side and are left out of the others (`shared_videos`).
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from voice2face_gan.data.layouts.reading.tables import read_text
from voice2face_gan.data.prepare.names import first_letter, normalise_name
from voice2face_gan.data.records import SPLITS
from voice2face_gan.data.store import Store
from voice2face_gan.errors import DataError

RULES = ("wen-letters", "official", "seeded", "stratified")
AGE_GROUPS = (18, 30, 45, 60)
"""First year of each age group but the youngest."""

_WORDS = (
    dict.fromkeys(("train", "training", "dev"), "train")
    | dict.fromkeys(("val", "valid", "validation"), "val")
    | dict.fromkeys(("test", "testing", "eval", "evaluation"), "test")
)


def split_identities(
    rule: str,
    genders: dict[str, str],
    official: dict[str, str] | None = None,
    groups: Iterable[tuple[str, str]] = (),
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
    strata: dict[str, str] | None = None,
) -> dict[str, str]:
    """Split identities by a rule.

    Args:
        rule: one of RULES.
        genders: identity -> "female", "male" or "".
        official: identity -> "train", "val", "test" or "": for the official rule.
        groups: (identity, video) of every clip: for the seeded rules.
        validation, test: shares, for the seeded rules; an official list without validation gives this share
            of its training identities to it.
        seed: of the shuffle.
        strata: identity -> `stratum`: for the stratified rule.
    Returns:
        identity -> "train", "val" or "test"; none of the three is empty.
    Raises:
        DataError: no such rule, identities without an official split, an empty split.
    """
    if rule == "wen-letters":
        return checked(wen_split(genders), "by first letters (A-B val, C-E test, F-Z train)")
    if rule == "official":
        return checked(official_split(genders, official or {}, validation, seed), "of the official list")
    if rule == "seeded":
        return checked(seeded_split(genders, validation, test, seed, groups), "at random")
    if rule == "stratified":
        split = seeded_split(strata or genders, validation, test, seed, groups, apportioned=True)
        return checked(split, "at random, stratified")
    raise DataError(f"there is no split '{rule}'; choose one of {', '.join(RULES)}.")


def stratum(gender: str, age: float | None, ethnicity: str) -> str:
    """What the stratified rule holds an identity for: gender, age group and ethnicity; "" stands for each
    that is not known."""
    group = "" if age is None else str(sum(age >= first for first in AGE_GROUPS))
    return "|".join((gender, group, ethnicity.strip().lower()))


def checked(split: dict[str, str], how: str) -> dict[str, str]:
    """The split as it is, if no side is empty.

    Raises:
        DataError: one is.
    """
    counts = Counter(split.values())
    empty = [side for side in SPLITS if not counts[side]]
    if empty:
        has = ", ".join(f"{counts[side]} {side}" for side in SPLITS)
        raise DataError(
            f"the split {how} leaves {' and '.join(empty)} empty ({has}, {len(split)} identities in all); "
            "choose another rule, such as seeded, or add identities."
        )
    return split


def wen_split(identities: Iterable[str]) -> dict[str, str]:
    """By the first letter of the name, accents off: A-B "val", C-E "test", all others "train"."""
    sides = dict.fromkeys("AB", "val") | dict.fromkeys("CDE", "test")
    return {name: sides.get(first_letter(name), "train") for name in identities}


def official_split(
    genders: dict[str, str], official: dict[str, str], validation: float = 0.1, seed: int = 0
) -> dict[str, str]:
    """The split that metadata or a list give. VoxCeleb's have no validation: there, a seeded share of the
    training identities, stratified by gender, is taken for it.

    Args:
        genders: identity -> gender, of everyone to be split.
        official: identity -> side; more identities than there are do no harm.
    Raises:
        DataError: somebody has no side.
    """
    missing = sorted(name for name in genders if not official.get(name))
    if missing:
        raise DataError(
            f"the official split names no side for {len(missing)} of {len(genders)} identities "
            f"(such as '{missing[0]}'); give a complete list, or choose another rule, such as seeded."
        )
    split = {name: official[name] for name in genders}
    training = {name: gender for name, gender in genders.items() if split[name] == "train"}
    if "val" not in split.values() and validation > 0 and len(training) > 1:
        taken = _draw(_units(training, ()), training, validation, seed, least_left=1)
        split |= dict.fromkeys(taken, "val")
    return split


def seeded_split(
    genders: dict[str, str],
    validation: float = 0.1,
    test: float = 0.2,
    seed: int = 0,
    groups: Iterable[tuple[str, str]] = (),
    apportioned: bool = False,
) -> dict[str, str]:
    """A seeded identity-disjoint split, stratified by gender.

    Args:
        genders: identity -> "female", "male" or "", or another stratum.
        validation, test: shares of the identities of each gender, rounded; at least one identity in all, if
            the share is not zero.
        seed: of the shuffle.
        groups: (identity, video): identities that share a video come to the same side.
        apportioned: the shares hold over all, to which strata of a few identities add up; the largest
            remainders are rounded up (Hamilton's method). Else each stratum's share is rounded by itself.
    Returns:
        identity -> "train", "val" or "test".
    Raises:
        DataError: fewer than three identities.
    """
    if len(genders) < 3:
        raise DataError(f"A split needs three identities or more; the data have {len(genders)}.")
    units = _units(genders, groups)
    tested = _draw(units, genders, test, seed, 2, apportioned)
    rest = [unit for unit in units if unit[0] not in tested]
    share = min(validation / max(1 - test, 1e-9), 1.0)
    validating = _draw(rest, genders, share, seed + 1, 1, apportioned)
    return {name: "test" if name in tested else "val" if name in validating else "train" for name in genders}


def shared_videos(split: dict[str, str], groups: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """(identity, video) whose clips must be left out, so that no video is on two sides of a split.

    A video of two identities on different sides (an interview, in VoxCeleb) stays with the test side, if
    it is there, else with validation: what is measured on keeps its clips.

    Args:
        split: identity -> side.
        groups: (identity, video) of every clip; clips without a video ("") share none.
    """
    identities = defaultdict(set)
    for identity, video in groups:
        if video and identity in split:
            identities[video].add(identity)
    left_out = set()
    for video, names in identities.items():
        sides = {split[name] for name in names}
        if len(sides) > 1:
            stays = next(side for side in ("test", "val", "train") if side in sides)
            left_out |= {(name, video) for name in names if split[name] != stays}
    return left_out


def held_out_clips(store: Store) -> np.ndarray:
    """Clips that training may leave out: the last voice of each identity with two voices or more.

    They show later whether identities, not clips, were learnt. Voices are in the order of the records.

    Returns:
        bool (records,).
    """
    voices = np.flatnonzero(store.has_voice)
    # The first of each identity from the end on is its last.
    _, first, counts = np.unique(store.identity[voices][::-1], return_index=True, return_counts=True)
    mask = np.zeros(len(store), dtype=bool)
    mask[voices[::-1][first[counts > 1]]] = True
    return mask


def read_split_list(path: Path, identities: Iterable[str]) -> dict[str, str]:
    """A list of two columns, identity and side, in either order, with or without a header.

    Columns are separated by a comma, a semicolon, a tab or spaces; names are compared as `normalise_name`
    does.

    Args:
        path: a text file.
        identities: who is to be split; lines about others are passed over.
    Returns:
        identity -> side, of those that the list names.
    Raises:
        DataError: unreadable, a line has no side, somebody is on two sides.
    """
    own = {normalise_name(name): name for name in identities}
    split: dict[str, str] = {}
    for number, line in enumerate(read_text(Path(path)).splitlines(), start=1):
        if not line.strip():
            continue
        name, side = _name_and_side(line)
        if not side:
            if number == 1 and not re.search(r"\d", line):
                continue  # a header
            raise DataError(
                f"{path}: line {number} is '{line.strip()[:60]}'; an identity and its side are expected "
                "(VoxCeleb's iden_split.txt splits clips, not people, and cannot be used)."
            )
        name = own.get(normalise_name(name))
        if name is not None and split.setdefault(name, side) != side:
            raise DataError(
                f"{path}: line {number} puts '{name}' on the side {side}, another line elsewhere."
            )
    return split


def _name_and_side(line: str) -> tuple[str, str]:
    """A line's identity and side, whichever comes first; the side is "" if there is none."""
    cells = [c.strip() for c in re.split(r"[,;\t]", line)] if re.search(r"[,;\t]", line) else line.split()
    first, last = cells[0].lower(), cells[-1].lower()
    if len(cells) < 2:
        return line, ""
    if last in _WORDS:
        return " ".join(cells[:-1]), _WORDS[last]
    return " ".join(cells[1:]), _WORDS.get(first, "")


def _units(genders: dict[str, str], groups: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Identities that must stay together, each list and all of them sorted."""
    leader = {name: name for name in genders}

    def find(name: str) -> str:
        while leader[name] != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    first: dict[str, str] = {}
    for identity, video in groups:
        if video and identity in leader:
            a, b = find(first.setdefault(video, identity)), find(identity)
            leader[max(a, b)] = min(a, b)
    units = defaultdict(list)
    for name in sorted(genders):
        units[find(name)].append(name)
    return [units[name] for name in sorted(units)]


def _draw(
    units: list[list[str]],
    genders: dict[str, str],
    share: float,
    seed: int,
    least_left: int,
    apportioned: bool = False,
) -> set[str]:
    """Identities of a share of each gender, at least one unit in all; at least `least_left` units are
    left."""
    strata = defaultdict(list)
    for unit in units:
        strata[genders[unit[0]]].append(unit)
    queues = []
    for gender in sorted(strata):
        order = np.random.default_rng([seed, len(gender)]).permutation(len(strata[gender]))
        queues.append([strata[gender][i] for i in order])
    wanted = [round(share * len(queue)) for queue in queues]
    if apportioned:
        exact = share * np.array([len(queue) for queue in queues], dtype=float)
        wanted = np.floor(exact).astype(int)
        missing = round(float(exact.sum())) - wanted.sum()
        wanted[np.argsort(wanted - exact, kind="stable")[:missing]] += 1
        wanted = wanted.tolist()
    if share > 0 and queues and not sum(wanted):
        wanted[int(np.argmax([len(queue) for queue in queues]))] = 1
    drawn = [unit for queue, n in zip(queues, wanted, strict=True) for unit in queue[:n]]
    return {name for unit in drawn[: max(len(units) - least_left, 0)] for name in unit}
