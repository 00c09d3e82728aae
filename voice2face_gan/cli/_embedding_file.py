"""Embeddings as a file: NumPy, CSV or JSON lines, whole or not at all.

npy     float32 (n, dimensions); NAME.json beside it lists the n names, in the rows' order
csv     a header file,e0,e1,...; one row a file
jsonl   one JSON line a file: {"clip": ..., "embedding": [...], "speech_seconds": ..., "warning": ...}
"""

import contextlib
import csv
import io
import json
import os

from voice2face_gan.cli._output_paths import new_path
from voice2face_gan.cli._streams import standard_output
from voice2face_gan.cli._tally import json_line
from voice2face_gan.errors import OutputError
from voice2face_gan.files import temporary_beside

FORMATS = ("npy", "csv", "jsonl")


def format_of(output: str, chosen: str | None) -> str:
    """The format of -o: the chosen one, else that of its ending; JSON lines for standard output.

    Raises:
        OutputError: neither gives a format, or it is NumPy's on standard output.
    """
    ending = os.path.splitext(output)[1].lower().lstrip(".")
    found = chosen or ("jsonl" if output == "-" else ending)
    if found not in FORMATS:
        raise OutputError(
            f"-o {output}: give a name that ends in .npy, .csv or .jsonl, or name the format with --format."
        )
    if found == "npy" and output == "-":
        raise OutputError("-o - prints csv or jsonl; for npy give the name of a file.")
    return found


class EmbeddingFile:
    """A file of embeddings that exists only once `finish` was called.

    Used in a `with` block: without `finish` nothing stays behind.

    Args:
        output: -o; "-" prints each row at once.
        kind: one of `FORMATS`.
        force: replace an existing file.
        about: entries of an npy file's sidecar besides the names.
    Raises:
        OutputError: it exists, or cannot be written.
    """

    def __init__(self, output: str, kind: str, force: bool, about: dict):
        self.kind, self.about, self.rows = kind, about, 0
        self.path = None if output == "-" else new_path(output, force, None)
        self.sidecar = new_path(str(self.path.with_suffix(".json")), force, None) if kind == "npy" else None
        self._dimensions = 0
        self._names: list[str] = []
        self._notes: list[dict] = []
        self._temporary = self._file = None
        if self.path is None:
            return
        self._temporary = temporary_beside(self.path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._temporary, "wb")  # noqa: SIM115 (closed by __exit__)
        except OSError as error:
            raise self._cannot(error) from error

    def __enter__(self) -> "EmbeddingFile":
        return self

    def __exit__(self, *_) -> None:
        if self._file is not None:
            # Bytes that a full disk refused are still in the buffer, and closing tries again.
            with contextlib.suppress(OSError):
                self._file.close()
            self._temporary.unlink(missing_ok=True)

    def add(self, key: str, name: str, embedding, **more) -> None:
        """Add a row.

        Args:
            key: kind of `name`: "clip" or "image".
            name: name of the clip or image.
            embedding: float32 (dimensions,) NumPy array.
            more: further JSON entries.
        """
        values = embedding.tolist()
        if self.kind == "npy":
            self._names.append(name)
            self._notes.append(more)
            self._write(embedding.astype("<f4").tobytes())
        elif self.kind == "csv":
            if not self.rows:
                self._write(_csv_row(["file", *(f"e{i}" for i in range(len(values)))]))
            self._write(_csv_row([name, *(f"{value:.9g}" for value in values)]))
        else:
            rounded = [float(f"{value:.9g}") for value in values]  # nine digits give a float32 back exactly
            line = json_line({key: name, "embedding": rounded, **more}, "utf-8")
            self._write(f"{line}\n".encode())
        self.rows, self._dimensions = self.rows + 1, len(values)

    def finish(self) -> None:
        """Put the file, and its sidecar, in their places. Without rows nothing is written.

        Raises:
            OutputError: it cannot be written.
        """
        if self.path is None or not self.rows:
            return
        try:
            self._file.close()
            if self.kind == "npy":
                self._finish_npy()
            os.replace(self._temporary, self.path)
        except OSError as error:
            raise self._cannot(error) from error

    def _finish_npy(self) -> None:
        import numpy as np

        values = np.fromfile(self._temporary, dtype="<f4").reshape(self.rows, self._dimensions)
        beside = temporary_beside(self.sidecar)
        try:
            with open(self._temporary, "wb") as file:
                np.save(file, values)
            document = self.about | {"dimensions": self._dimensions, "files": self._names}
            for key in self._notes[0]:
                document[key] = [notes[key] for notes in self._notes]
            beside.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
            os.replace(beside, self.sidecar)
        finally:
            beside.unlink(missing_ok=True)

    def _write(self, content: bytes) -> None:
        if self.path is None:
            stream = standard_output()
            stream.write(content)
            stream.flush()
            return
        try:
            self._file.write(content)
        except OSError as error:
            raise self._cannot(error) from error

    def _cannot(self, error: OSError) -> OutputError:
        return OutputError(f"{self.path} cannot be written ({error.strerror or error}).")


def _csv_row(values: list) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue().encode("utf-8", "surrogateescape")  # a file name that is no text stays as it is
