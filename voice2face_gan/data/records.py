"""Records: one voice, one face, or a pair, with the labels of the identity."""

from dataclasses import dataclass, fields

FEMALE, MALE = "female", "male"
GENDERS = (FEMALE, MALE)
SPLITS = ("train", "val", "test")

_GENDER_WORDS = {
    FEMALE: {"f", "female", "woman", "w", "fem"},
    MALE: {"m", "male", "man"},
}


@dataclass(frozen=True)
class Record:
    """One row of a prepared store.

    Attributes:
        source: unique name of the record in its data set, for example a clip's path without ending.
        identity: whose voice and face it is; equal strings are one person.
        voice: path of the recording, or None (face only).
        face: path of the image, or None (voice only).
        gender: "female", "male" or "" (unknown), from the data set's own metadata.
        age: years, or None.
        ethnicity, nationality: from the data set's metadata, or "".
        split: "train", "val", "test" or "" (not decided).
    """

    source: str
    identity: str
    voice: str | None = None
    face: str | None = None
    gender: str = ""
    age: float | None = None
    ethnicity: str = ""
    nationality: str = ""
    split: str = ""


RECORD_FIELDS = tuple(f.name for f in fields(Record))


def read_gender(text: str | None) -> str:
    """A data set's word for a gender ("f", "F", "Female", " m ") as "female", "male" or "" (unknown)."""
    word = (text or "").strip().lower()
    return next((gender for gender, words in _GENDER_WORDS.items() if word in words), "")
