"""FaceToFace: a photo in, the face out that a checkpoint's generator makes of what it reads in the photo.

    photo -> face, aligned -> the checkpoint's face space -> e -> strength -> generator -> image

It shows what e holds of a face, and so the most that a voice encoder of the same space could bring.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from voice2face_gan.errors import VoiceToFaceError
from voice2face_gan.faces.photo import FoundFace, Photo, find_face, open_photo
from voice2face_gan.faces.pixels import to_image
from voice2face_gan.faces.png import synthetic_metadata
from voice2face_gan.generate_options import MAX_STRENGTH
from voice2face_gan.models.checkpoint import Checkpoint, load_checkpoint, shown_name
from voice2face_gan.models.conditioning import normalise_embedding
from voice2face_gan.models.kept_space import open_kept_space
from voice2face_gan.models.voice_face_model import VoiceFaceModel


@dataclass
class Reconstruction:
    """The face of one photo.

    Attributes:
        name: the photo's name in messages.
        image: RGB, with text metadata for PNG in `.info`.
        e: float32 (embedding,), read from the photo's face, before the strength.
        faces_found: in the photo; the largest is taken.
        box: left, top, right and bottom of that face in pixels of the photo; None where it was not searched.
        notes: sentences about the file.
    """

    name: str
    image: Image.Image
    e: Tensor
    faces_found: int
    box: tuple[float, float, float, float] | None
    notes: list[str]


class FaceToFace(VoiceFaceModel):
    """A trained model, ready for photos.

        f2f = FaceToFace.from_pretrained("default")
        f2f.reconstruct("photo.jpg").image.save("face.png")

    A call changes nothing in the object.

    Args:
        checkpoint: a loaded checkpoint with a generator and a face space.
        name: the name in messages and in images' metadata.
        device: device of the networks.
        reader: the folder of the face reader whose feature the decoder takes, where there is one; default:
            the one that the checkpoint's recipe names.
    Raises:
        CheckpointError: it keeps no face space, the space's network is not installed, or the reader is
            missing or another one.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        name: str,
        device: str | torch.device = "cpu",
        reader: str | Path | None = None,
    ):
        super().__init__(checkpoint, name, device)
        space = open_kept_space(checkpoint, f"The checkpoint '{name}'", reader)
        self.space = space.at_zoom(self.zoom).to(self.device)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = "default",
        device: str | torch.device = "cpu",
        reader: str | Path | None = None,
    ) -> "FaceToFace":
        """Load a model; arguments and errors as of `VoiceToFace.from_pretrained`, and those of the class."""
        checkpoint = load_checkpoint(name)
        return cls(checkpoint, shown_name(name, checkpoint), device, reader)

    def reconstruct(
        self,
        image: str | os.PathLike | bytes | Image.Image,
        strength: float = 1.0,
        size: int | None = None,
        detector: str = "hog",
    ) -> Reconstruction:
        """The face that the generator makes of the e of a photo's largest face; with z = 0 where it takes
        noise.

        Args:
            image: a path, the bytes of a file, or a PIL image.
            strength: distance from the average face, 0 to 10: 1 as read. Models whose e is of length 1 take 1
                alone.
            size: side of the image in pixels; None for the model's own.
            detector: "hog", "cnn", or "none" for an image that is an aligned face already.
        Raises:
            VoiceToFaceError: the strength is out of its range.
            CheckpointError: the model has no strength to set.
            ImageError: the file cannot be opened, no face is found in it, or the extra `faces` is missing.
        """
        self.check_strength(strength)
        photo = open_photo(image, detector)
        return self.reconstruct_face(photo, self.find(photo, detector), strength, size)

    @property
    def of_voices_alone(self) -> bool:
        """The generator was trained on e of simulated voices, and on no face's own."""
        trained = self.checkpoint.info.get("recipe", {}).get("face_embedding", {})
        return self.checkpoint.voice_simulation is not None and trained.get("simulated_voices") == 1

    def check_strength(self, strength: float) -> None:
        """
        Raises:
            VoiceToFaceError, CheckpointError: as `reconstruct`.
        """
        if not 0 <= strength <= MAX_STRENGTH:
            raise VoiceToFaceError(
                f"strength must be from 0 (the average face) to {MAX_STRENGTH:g}, not {strength:g}."
            )
        if strength != 1:
            self.with_strength(strength)

    def find(self, photo: Photo, detector: str = "hog") -> FoundFace:
        """The largest face of a photo, framed as the faces were that the generator was trained on."""
        return find_face(photo, self.checkpoint.generator_config.side, self.zoom, detector)

    def reconstruct_face(
        self, photo: Photo, face: FoundFace, strength: float = 1.0, size: int | None = None
    ) -> Reconstruction:
        """`reconstruct` of a face that `find` found."""
        e = self.read(torch.from_numpy(face.pixels)[None])[0]
        (image,) = self.decode(self.condition_read(e, strength)[None], noise_scale=0)
        made = to_image(image, size or self.image_side)
        made.info = synthetic_metadata(self.name, Strength=f"{strength:g}")
        return Reconstruction(photo.name, made, e, face.found, face.box, photo.notes)

    def read(self, faces: Tensor) -> Tensor:
        """e (N, embedding) of faces uint8 (N, side, side, 3) as `find` frames them, on the CPU."""
        return self.space.encode_faces(faces.to(self.device))

    def condition_read(self, e: Tensor, strength: float = 1.0) -> Tensor:
        """Input of the generator of an e (embedding,) that was read from a face.

        There is no soft clip: its limits are for predicted e at high strengths, and the generator was trained
        on faces' own e as they are. One that was trained on simulated voices alone (recipe voice-to-face)
        gets the e that a voice would give of such a face, without noise.
        """
        if self.of_voices_alone:
            e = self.checkpoint.voice_simulation(e[None], torch.zeros(1, len(e)))[0]
        if self.strength is None:
            return normalise_embedding(e[None], self.controls)[0]
        average = self.space.average().to(e)
        return average + strength * (e - average)
