"""Options of one call of `VoiceToFace`, and the ranges that they must lie in."""

from dataclasses import dataclass

from voice2face_gan.data.records import GENDERS
from voice2face_gan.errors import VoiceToFaceError

MAX_STRENGTH = 10.0  # factor of e; beyond it every face is a caricature of noise


@dataclass(frozen=True)
class GenerateOptions:
    """Options of faces; every call of `VoiceToFace` has its own, and none changes the model.

    Attributes:
        variants: images of a clip, 1 or more. The first is the model's plain answer, without noise.
        seed: seed of the noise of the other variants.
        gender: "auto" (the side of the gender probe on which e lies), "female" or "male".
        size: side of an image in pixels; None for the model's own.
        strength: distance from the average face, 0 to 10: 0 the average face, 1 as predicted, above 1
            exaggerated. None for the model's own, which is above 1 where validation people chose it: a
            predicted e is smaller than people's own. The elements of strength x e are softly clipped
            (models/conditioning.py). Models whose e is of unit norm have no strength: a number is refused.
        noise_scale: standard deviation of the noise z, and factor of the noise that variants add to e. 1 as
            in training; less gives variants that are more alike.
    Raises:
        VoiceToFaceError: a value out of its range.
    """

    variants: int = 1
    seed: int = 0
    gender: str = "auto"
    size: int | None = None
    strength: float | None = None
    noise_scale: float = 1.0

    def __post_init__(self) -> None:
        if self.variants < 1:
            raise VoiceToFaceError(f"variants must be 1 or more, not {self.variants}.")
        if self.gender not in ("auto", *GENDERS):
            raise VoiceToFaceError(f"gender must be auto, female or male, not '{self.gender}'.")
        if self.strength is not None and not 0 <= self.strength <= MAX_STRENGTH:
            raise VoiceToFaceError(
                f"strength must be from 0 (the average face) to {MAX_STRENGTH:g}, not {self.strength:g}."
            )
        if not 0 <= self.noise_scale < float("inf"):
            raise VoiceToFaceError(f"noise_scale must be 0 or more, not {self.noise_scale:g}.")
