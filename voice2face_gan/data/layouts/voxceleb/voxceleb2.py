"""VoxCeleb2 audio or videos, alone or with the faces of VGGFace2. See `voxceleb` for the facts."""

from voice2face_gan.data.layouts.base import CROP, OFFICIAL
from voice2face_gan.data.layouts.voxceleb.common import ID2
from voice2face_gan.data.layouts.voxceleb.voxceleb1 import VoxCeleb1


class VoxCeleb2(VoxCeleb1):
    """Laid out as VoxCeleb1. Its videos (mp4) are 224 x 224 crops around the face, with sound."""

    name = "voxceleb2"
    description = (
        "VoxCeleb2: id00012/VIDEO/00001.m4a, .wav or .mp4 (below aac/, dev/, ... or not), "
        "vox2_meta.csv; FACES: VGGFace2, n000001/"
    )
    face_state = CROP
    split_rule = OFFICIAL
    title, ids = "VoxCeleb2 (id00012, ...)", ID2
    metadata = ("vox2_meta.csv", "full_vox2_meta.csv")
