"""A record, and how data sets spell genders."""

import pytest

from voice2face_gan.data.records import RECORD_FIELDS, Record, read_gender


@pytest.mark.parametrize("word", ["f", "F", "female", "Female", " FEMALE ", "woman", "f\n"])
def test_words_for_female(word):
    assert read_gender(word) == "female"


@pytest.mark.parametrize("word", ["m", "M", "male", " Male", "man"])
def test_words_for_male(word):
    assert read_gender(word) == "male"


@pytest.mark.parametrize("word", ["", None, " ", "n/a", "unknown", "other", "x", "fm", "0", "1"])
def test_everything_else_stays_unknown(word):
    assert read_gender(word) == ""


def test_a_record_needs_a_source_and_an_identity_only():
    record = Record("a/1", "a")
    assert (record.voice, record.face, record.gender, record.age, record.split) == (None, None, "", None, "")
    assert RECORD_FIELDS[:2] == ("source", "identity")
    with pytest.raises(AttributeError):
        record.gender = "female"
