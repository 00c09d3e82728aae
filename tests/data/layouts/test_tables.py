"""Tables as people have them: marks, line ends, spaces, delimiters, and what is wrong with some."""

import pytest
import trees

from voice2face_gan.data.layouts.reading.tables import read_table, titles_of
from voice2face_gan.data.layouts.voxceleb.common import read_metadata
from voice2face_gan.errors import DataError

TABS = "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\nid10001\tÉva_Öst\tf\tNew Zealand\tdev\n"
SPACES = "VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set \nid00012 ,n000012 ,m ,test \n\n"


@pytest.mark.parametrize(
    "content",
    [
        TABS.encode(),
        TABS.encode("utf-8-sig"),
        TABS.replace("\n", "\r\n").encode(),
        TABS.encode("utf-16"),
        TABS.replace("\t", ",").encode(),
        TABS.replace("\t", " ; ").encode(),
        TABS.replace("\t", " \t ").encode(),
        TABS.rstrip("\n").encode(),
    ],
    ids=["plain", "mark", "crlf", "utf16", "commas", "semicolons", "spaces", "no last newline"],
)
def test_vox1_metadata_in_many_guises(content, tmp_path):
    (tmp_path / "meta.csv").write_bytes(content)
    people = read_metadata(tmp_path / "meta.csv")
    assert set(people) == {"id10001", "Éva_Öst"}
    person = people["id10001"]
    assert (person.identity, person.gender, person.nationality) == ("Éva_Öst", "female", "New Zealand")
    assert person.split == "train"


def test_vox2_metadata_with_its_stray_spaces(tmp_path):
    (tmp_path / "meta.csv").write_text(SPACES)
    people = read_metadata(tmp_path / "meta.csv")
    assert people["id00012"] is people["n000012"]
    assert people["id00012"].identity == "id00012" and people["id00012"].split == "test"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty; a header with VoxCeleb1 ID"),
        (TABS.split("\n")[0].encode(), "names no identity"),
        (
            TABS.replace("Gender", "Sex?").encode(),
            "has no column 'Gender'; a header with VoxCeleb1 ID, Gender",
        ),
        (TABS.encode() + b"id10002\tBo\n", "line 3 has 2 cells where 5 are expected"),
        (TABS.encode() + b"\tBo\tm\tUK\tdev\n", "line 3 has no VoxCeleb id"),
        (TABS.encode() + b"id10001\tBo\tm\tUK\tdev\n", "line 3 names id10001 again, with other labels"),
        (TABS.encode("latin-1"), "is not UTF-8 text; save it as CSV in UTF-8"),
        (b"\x00\x01\x02" * 50, "is not UTF-8 text"),
        (b"<html><body>404 Not Found</body></html>", "has no column 'VoxCeleb1 ID'"),
    ],
)
def test_malformed_metadata_end_in_a_sentence_with_the_file(content, words, tmp_path):
    (tmp_path / "vox1_meta.csv").write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        read_metadata(tmp_path / "vox1_meta.csv")
    assert "vox1_meta.csv" in str(caught.value) and "\n" not in str(caught.value)


def test_quoted_cells_and_columns_in_any_order(tmp_path):
    trees.write_table(tmp_path / "t.csv", [["b", "A "], ["x, y", ' "q" '], ["", ""], ["only b"]])
    rows = list(read_table(tmp_path / "t.csv", {"a": ("a",), "b": ("B",)}, optional=("a",)))
    assert [(row["a"], row["b"]) for row in rows] == [('"q"', "x, y"), ("", "only b")]
    assert titles_of(tmp_path / "t.csv") == {"a", "b"}
