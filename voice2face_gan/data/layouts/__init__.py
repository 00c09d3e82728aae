"""Layouts: data sets as they lie on disk, each as a stream of records. One file a data set."""

from pathlib import Path

from voice2face_gan.data.layouts.avspeech import AVSpeech
from voice2face_gan.data.layouts.base import ALIGNED, CROP, RAW, JoinReport, Layout, Option, RawRecord
from voice2face_gan.data.layouts.faces import Faces
from voice2face_gan.data.layouts.folders import Folders
from voice2face_gan.data.layouts.paired import Paired
from voice2face_gan.data.layouts.parquet.avspeech import AVSpeechParquet
from voice2face_gan.data.layouts.parquet.voxceleb2 import VoxCeleb2Parquet
from voice2face_gan.data.layouts.vggface import VGGFace, VGGFace2
from voice2face_gan.data.layouts.videos import Videos
from voice2face_gan.data.layouts.voices import Voices
from voice2face_gan.data.layouts.voxceleb.hq_voxceleb import HQVoxCeleb
from voice2face_gan.data.layouts.voxceleb.voxceleb1 import VoxCeleb1
from voice2face_gan.data.layouts.voxceleb.voxceleb2 import VoxCeleb2
from voice2face_gan.data.layouts.voxceleb.wen2019 import Wen2019
from voice2face_gan.errors import DataError

# In the order in which they are asked whether they know a folder: the most special first.
_LAYOUTS = (
    Wen2019(),
    HQVoxCeleb(),
    AVSpeech(),
    Paired(),
    Voices(),
    Faces(),
    VoxCeleb1(),
    VoxCeleb2(),
    VGGFace2(),
    Folders(),
    Videos(),
    VGGFace(),
    AVSpeechParquet(),
    VoxCeleb2Parquet(),
)
LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in _LAYOUTS}
"""All layouts by name."""

__all__ = [
    "ALIGNED",
    "CROP",
    "LAYOUTS",
    "RAW",
    "JoinReport",
    "Layout",
    "Option",
    "RawRecord",
    "find_layout",
    "recognise",
]


def find_layout(name: str) -> Layout:
    """The layout of a name.

    Raises:
        DataError: there is none.
    """
    if name not in LAYOUTS:
        raise DataError(f"there is no layout '{name}'; choose one of {', '.join(sorted(LAYOUTS))}.")
    return LAYOUTS[name]


def recognise(folder: str | Path) -> Layout | None:
    """The layout that a raw folder has by the look of it, or None. A prepared store is none.

    Raises:
        DataError: it holds parquet files alone, and pyarrow is missing or they are damaged.
    """
    path = Path(folder).expanduser().absolute()
    if not path.is_dir() or (path / "store.json").exists():
        return None
    return next((layout for layout in _LAYOUTS if layout.recognises(path)), None)
