"""An optional labels.csv beside folders of identities: gender, age and so on, by identity or by file."""

from dataclasses import dataclass, field
from pathlib import Path

from voice2face_gan.data.layouts.reading.tables import number, read_table
from voice2face_gan.data.prepare.names import normalise_name
from voice2face_gan.data.records import SPLITS, read_gender

_COLUMNS = {
    "name": ("identity", "person", "speaker", "name", "file", "clip"),
    "gender": ("gender", "sex"),
    "age": ("age",),
    "ethnicity": ("ethnicity", "race"),
    "nationality": ("nationality",),
    "split": ("split", "set"),
}
_TEXTS = ("ethnicity", "nationality")


@dataclass(frozen=True)
class Labels:
    """Labels by name, as keyword arguments of a record."""

    rows: dict[str, dict] = field(default_factory=dict)

    @classmethod
    def below(cls, folder: Path) -> "Labels":
        """The labels.csv of a folder; no labels if it has none.

        Raises:
            DataError: it is malformed.
        """
        table = folder / "labels.csv"
        if not table.is_file():
            return cls()
        rows = {}
        for row in read_table(table, _COLUMNS, optional=tuple(k for k in _COLUMNS if k != "name")):
            labels = {
                "gender": read_gender(row["gender"]),
                "age": number(row["age"], table, row["line"], "the age"),
                "split": row["split"].lower() if row["split"].lower() in SPLITS else "",
            } | {key: row[key] for key in _TEXTS}
            rows[normalise_name(row["name"])] = {key: value for key, value in labels.items() if value}
        return cls(rows)

    def of(self, *names: str) -> dict:
        """Labels under the first of the names that the table has."""
        return next((self.rows[k] for k in map(normalise_name, names) if k in self.rows), {})
