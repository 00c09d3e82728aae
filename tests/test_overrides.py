"""Settings given as text."""

import pytest

from voice2face_gan.overrides import nearest, split_override, typed


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("gan.batch=64", "gan.batch", 64),
        (" data.split = all ", "data.split", "all"),
        ("faces.crop=[0.1, 1]", "faces.crop", [0.1, 1]),
        ("a=b=c", "a", "b=c"),
        ('a="x"', "a", "x"),
        ("a=", "a", ""),
    ],
)
def test_an_override_is_split(text, key, value):
    assert split_override(text) == (key, value)


@pytest.mark.parametrize("text", ["gan.batch", "=3", ".x=3", "a.=3", ""])
def test_what_is_no_override(text):
    with pytest.raises(ValueError):
        split_override(text)


def test_types():
    assert typed(1, 0.5) == 1.0 and type(typed(1, 0.5)) is float
    assert typed([1, 2], (0.5, 0.5)) == (1.0, 2.0)
    assert typed([1, 2, 3], (), any_length=True) == (1.0, 2.0, 3.0)
    for value, default, words in (
        (True, 1, "must be a whole number, not True"),
        (1, True, "must be true or false, not 1"),
        (float("inf"), 0.5, "must be a finite number, not inf"),
        (2**31, 1, "must be below"),
        ([1], (1, 2), r"must be 2 numbers, not \[1\]"),
        ("x", (1, 2), "must be a list"),
        (3, "x", "must be text"),
    ):
        with pytest.raises(ValueError, match=words):
            typed(value, default)


def test_the_nearest_word():
    assert nearest("bach", ["batch", "lr"], "gan.") == "did you mean 'gan.batch'?"
    assert nearest("zzz", ["batch", "lr"]) == "known are batch, lr."
