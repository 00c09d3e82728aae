"""A face reader of the user's own: any callable without arguments that gives an object with name, about,
read.

Nothing is trusted: a missing attribute, a wrong shape, a value that is not finite and an exception inside
each end in one sentence that names the face reader.
"""

import hashlib
import importlib
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
from torch import Tensor

from voice2face_gan.errors import MetricError, VoiceToFaceError, first_line
from voice2face_gan.evaluation.readers.base import FaceReader, Reading

_PARTS = ("embedding", "female", "age", "found")


def user_reader(source: str) -> "CheckedReader":
    """The face reader from "package.module:callable" or "path/file.py:callable".

    Raises:
        MetricError: no such module, file or callable, it fails, or its result is no face reader.
    """
    place, _, name = source.rpartition(":")
    try:
        module = _module(place)
    except Exception as error:  # the user's code may raise anything
        raise MetricError(f"--judge {source}: {place} cannot be imported ({_described(error)}).") from error
    make = getattr(module, name, None)
    if not callable(make):
        raise MetricError(f"--judge {source}: {place} has no callable '{name}'.")
    try:
        reader = make()
    except VoiceToFaceError:
        raise
    except Exception as error:
        raise MetricError(f"--judge {source}: {name}() failed ({_described(error)}).") from error
    return CheckedReader(reader, source)


def _module(place: str):
    if not place.endswith(".py"):
        return importlib.import_module(place)
    path = Path(place).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    unique = f"_judge_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(unique, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module  # dataclasses and pickle look up a class's module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[unique]
        raise
    return module


class CheckedReader:
    """A face reader whose every result is checked.

    Args:
        reader: any object with name (text), about (a dict that JSON can hold) and read.
        source: the value of --judge, for messages.
    Raises:
        MetricError: it lacks one of the three.
    """

    def __init__(self, reader: FaceReader, source: str):
        self.source, self._reader = source, reader
        missing = [name for name in ("name", "about", "read") if not hasattr(reader, name)]
        if missing:
            raise MetricError(f"--judge {source}: the face reader has no {' and no '.join(missing)}.")
        self.name, self.about = reader.name, reader.about
        if not isinstance(self.name, str) or not self.name:
            raise MetricError(f"--judge {source}: the face reader's name must be a text.")
        try:
            written = isinstance(self.about, dict) and json.dumps(self.about, allow_nan=False)
        except (TypeError, ValueError):
            written = False
        if not written:
            raise MetricError(
                f"--judge {source}: the face reader's about must be a dict of texts and numbers, as JSON."
            )
        if not callable(reader.read):
            raise MetricError(f"--judge {source}: the face reader's read must be a method.")

    def read(self, faces: Tensor) -> Reading:
        """The reader's output, float32, once it is found to be a reading of these faces.

        Raises:
            MetricError: it is not, or the face reader failed.
        """
        try:
            answer = self._reader.read(faces.clone())  # it may change its own copy
        except VoiceToFaceError:
            raise
        except Exception as error:
            raise MetricError(f"--judge {self.source}: read failed ({_described(error)}).") from error
        missing = [name for name in _PARTS if not hasattr(answer, name)]
        if missing:
            raise self._wrong(f"has no {' and no '.join(missing)}")
        embedding = self._array(answer, "embedding", len(faces), columns=True)
        female, age = (
            None if getattr(answer, name) is None else self._array(answer, name, len(faces))
            for name in ("female", "age")
        )
        if female is not None and ((female < 0) | (female > 1)).any():
            raise self._wrong("has probabilities of female outside 0 to 1")
        return Reading(embedding, female, age, self._array(answer, "found", len(faces)).astype(bool))

    def _array(self, answer, name: str, count: int, columns: bool = False) -> np.ndarray:
        """float32 (count,), or (count, D) where there are columns."""
        wanted = f"({count}, D)" if columns else f"({count},)"
        try:
            values = np.asarray(getattr(answer, name))
            plain = values.dtype.kind in "biuf"
            values = values.astype(np.float32)
        except (TypeError, ValueError, RuntimeError):
            plain = False
        if not plain:
            raise self._wrong(f"has {name} that are no numbers; {wanted} are needed")
        if values.ndim != 1 + columns or len(values) != count or 0 in values.shape[1:]:
            raise self._wrong(f"has {name} of shape {values.shape}; {wanted} is needed")
        if not np.isfinite(values).all():
            raise self._wrong(f"has {name} that are not finite in {_rows(values)} of {count} faces")
        return values

    def _wrong(self, what: str) -> MetricError:
        return MetricError(f"--judge {self.source}: what read returned {what}.")


def _rows(values: np.ndarray) -> int:
    return int((~np.isfinite(values.reshape(len(values), -1))).any(axis=1).sum())


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"
