"""Where a report goes; all of it is written or nothing."""

import shutil

import pytest

from voice2face_gan.errors import OutputError
from voice2face_gan.evaluation.report import Places, build, write


def test_places(tmp_path):
    places = Places.of(tmp_path)
    assert places.html == tmp_path / "report.html" and places.images == tmp_path / "report_files"
    places = Places.of(tmp_path / "a.b.html")
    assert (places.markdown.name, places.images.name) == ("a.b.md", "a.b_files")
    with pytest.raises(OutputError, match=r"ends in \.html"):
        Places.of(tmp_path / "report.pdf")
    for name in ("report.html", "report.md", "report_files"):
        place = tmp_path / name
        place.mkdir() if name.endswith("files") else place.write_text("mine")
        with pytest.raises(OutputError, match="exists and is kept; add --force"):
            Places.of(tmp_path)
        Places.of(tmp_path, force=True)
        place.rmdir() if place.is_dir() else place.unlink()


def test_force_replaces_reports_alone(tmp_path):
    folder = tmp_path / "report_files"
    folder.mkdir()
    (folder / "thesis.doc").write_text("mine")
    with pytest.raises(OutputError, match="more than images"):
        Places.of(tmp_path, force=True)
    shutil.rmtree(folder)
    folder.write_text("a file")
    with pytest.raises(OutputError, match="is no folder"):
        Places.of(tmp_path, force=True)
    folder.unlink()
    (tmp_path / "report.md").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        Places.of(tmp_path, force=True)


def test_written_whole_or_not_at_all(report, tmp_path, full_disk):
    made = build([report()], "command")
    with full_disk(len(made.html) - 1), pytest.raises(OutputError, match="cannot be written"):
        write(made, Places.of(tmp_path))
    assert list(tmp_path.iterdir()) == []
    write(made, Places.of(tmp_path))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert {p.name for p in tmp_path.iterdir()} == {"report.html", "report.md", "report_files"}
    assert {p.name for p in (tmp_path / "report_files").iterdir()} == set(made.images)
    new = build([report("new")], "command")
    with full_disk(len(new.html) - 1), pytest.raises(OutputError, match="cannot be written"):
        write(new, Places.of(tmp_path, force=True))
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    write(build([report("new", people=[])], "command"), Places.of(tmp_path, force=True))
    assert not (tmp_path / "report_files" / "run-1-person-1.png").exists()
    assert "new" in (tmp_path / "report.md").read_text()
