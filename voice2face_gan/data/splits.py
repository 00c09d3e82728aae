"""Who is trained on, who validates, who tests: always whole identities."""

import numpy as np

from voice2face_gan.errors import DataError


def seeded_split(
    genders: dict[str, str], validation: float = 0.1, test: float = 0.2, seed: int = 0
) -> dict[str, str]:
    """A seeded identity-disjoint split, stratified by gender.

    Args:
        genders: identity -> "female", "male" or "".
        validation, test: shares of the identities of each gender, rounded; at least one identity is held
            out for testing wherever a gender has three or more.
        seed: of the shuffle.
    Returns:
        identity -> "train", "val" or "test".
    Raises:
        DataError: fewer than three identities.
    """
    if len(genders) < 3:
        raise DataError(f"A split needs three identities or more; the data have {len(genders)}.")
    split: dict[str, str] = {}
    for gender in sorted(set(genders.values())):
        names = sorted(name for name, g in genders.items() if g == gender)
        order = np.random.default_rng([seed, len(gender)]).permutation(len(names))
        tests = max(round(test * len(names)), int(len(names) >= 3))
        validations = round(validation * len(names))
        for rank, i in enumerate(order):
            part = "test" if rank < tests else "val" if rank < tests + validations else "train"
            split[names[i]] = part
    return split
