"""Speakers of the synthetic world: the causes that a voice and a face share, and those they do not.

The causal graph (an arrow means "is drawn given"; every child also has some noise of its own)::

    sex ──┬─► body_size, vocal_tract_length, f0, breathiness         jaw_width, chin_length, nose_size,
          │                                                          nose_width, brow_heaviness,
          │                                                          face_length, lip_fullness
          └─► hair_length, beard (tendencies of sex only)
    age ────► f0, breathiness, jitter, tremor                        wrinkles, greying, hair_recession
    size ───► body_size, vocal_tract_length                          face_length, nose_size, jaw_width
    androgen► f0                                                     jaw_width, brow_heaviness, chin_length
    tissue ─► breathiness                                            lip_fullness, nose_width
    (roots of their own)                                             skin_tone, hair_tone, eye_tone, ...

`size`, `androgen` and `tissue` are standard normal latents that are not stored: only what they cause is.
The direction of each effect follows what is known of people (longer vocal tracts go with taller bodies and
longer faces, low f0 with heavier brows and jaws, jitter and tremor with age); its strength is chosen so
that a voice predicts clearly more than sex and clearly less than everything.

Sources: vocal-tract length and body size, Fitch & Giedd 1999 (J. Acoust. Soc. Am. 106, 1511); f0 by sex and
age, Baken & Orlikoff 2000 (Clinical Measurement of Speech and Voice, ch. 6); tremor and jitter with age,
Linville 2001 (Vocal Aging).
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass, fields

import numpy as np

from voice2face_gan.errors import DataError

WORKERS = min(2, os.cpu_count() or 1)
"""Threads that render and synthesise; results do not depend on their number."""

VOICE_DETERMINED: tuple[str, ...] = (
    "female",
    "age",
    "jaw_width",
    "chin_length",
    "nose_size",
    "nose_width",
    "brow_heaviness",
    "face_length",
    "lip_fullness",
    "wrinkles",
    "greying",
)
"""Attributes an image shows and that share a cause with the voice (sex, age, size, androgen or tissue).

None is determined completely: each has noise of its own, so even an oracle's R2 is below one.
`hair_length`, `beard` and `hair_recession` are in neither tuple: the voice predicts them only through sex
and age.
"""

VOICE_FREE: tuple[str, ...] = (
    "skin_tone",
    "hair_tone",
    "hair_red",
    "eye_tone",
    "hair_parting",
    "hair_wave",
    "hair_volume",
    "eye_size",
    "cheek_fullness",
)
"""Attributes an image shows and that are statistically independent of everything the voice holds.

Among themselves they may be dependent (deep skin tones go with dark hair and eyes). A model that "recovers"
one of these from a voice has leaked its test set.
"""


@dataclass(frozen=True)
class Speakers:
    """N speakers as a struct of arrays; float arrays are float64 (N,).

    Voice:
        body_size: standing height in cm, 145-205.
        vocal_tract_length: cm; women 13.2-15.9, men 15.2-18.4.
        f0: mean fundamental frequency of the voice in Hz; women 160-260, men 82-160.
        breathiness: aspiration noise, 0 (none) to 1 (very breathy).
        jitter: standard deviation of a glottal cycle's timing, as a part of the period, 0.003-0.03.
        tremor: depth of the slow (about 5 Hz) modulation of f0, as a part of f0, 0.001-0.03.

    Face, all from 0 to 1 unless said otherwise, 0.5 being the middle of both sexes together:
        jaw_width (narrow to broad), chin_length (short to long), nose_size (small to large),
        nose_width (narrow to wide), brow_heaviness (light to heavy), face_length (short to long),
        lip_fullness (thin to full), wrinkles (none to deep), greying (none to all grey),
        hair_recession (none to bald crown), hair_length (cropped to long), beard (0 shaven, 0.25
        stubble, 1 full; 0 for women), skin_tone (light to deep), hair_tone (blond to black, before greying),
        hair_red (not red to red), eye_tone (blue over green and hazel to dark brown), hair_parting (-1
        left to 1 right in the image; above 0.55 a fringe), hair_wave (straight to wavy),
        hair_volume (flat to full), eye_size (small to large), cheek_fullness (hollow to full).

    Attributes:
        name: "spk00000" and so on; with a seed it names every random stream of that speaker's clips and
            images.
        female: bool (N,).
        age: years, 18-80.
    """

    name: list[str]
    female: np.ndarray
    age: np.ndarray
    body_size: np.ndarray
    vocal_tract_length: np.ndarray
    f0: np.ndarray
    breathiness: np.ndarray
    jitter: np.ndarray
    tremor: np.ndarray
    jaw_width: np.ndarray
    chin_length: np.ndarray
    nose_size: np.ndarray
    nose_width: np.ndarray
    brow_heaviness: np.ndarray
    face_length: np.ndarray
    lip_fullness: np.ndarray
    wrinkles: np.ndarray
    greying: np.ndarray
    hair_recession: np.ndarray
    hair_length: np.ndarray
    beard: np.ndarray
    skin_tone: np.ndarray
    hair_tone: np.ndarray
    hair_red: np.ndarray
    eye_tone: np.ndarray
    hair_parting: np.ndarray
    hair_wave: np.ndarray
    hair_volume: np.ndarray
    eye_size: np.ndarray
    cheek_fullness: np.ndarray

    def __len__(self) -> int:
        return len(self.name)

    def __getitem__(self, which: int | slice | np.ndarray | list[int]) -> Speakers:
        """Some of the speakers, always as `Speakers`: an int gives one speaker with arrays of length 1.

        Raises:
            IndexError: as NumPy does.
        """
        rows = np.atleast_1d(np.arange(len(self))[which])
        parts = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "name"}
        return Speakers(name=[self.name[i] for i in rows], **parts)


def speaker_generator(seed: int, name: str, stream: int, take: int) -> np.random.Generator:
    """The random generator of one speaker's `take`-th clip (stream 0) or image (stream 1).

    It depends on the speaker's name and not on the place in a batch, so a clip stays the same whoever else
    is in the batch.

    Raises:
        DataError: seed or take is negative.
    """
    if seed < 0 or take < 0:
        raise DataError(f"Seeds, clips and views count from 0, not seed {seed} and number {take}.")
    return np.random.default_rng([seed, zlib.crc32(name.encode()), stream, take])


def sample_speakers(n: int, seed: int = 0) -> Speakers:
    """Draw n speakers, about half of them women, with ages spread evenly over 18-80.

    Speaker i of a seed is the same whatever n is: every speaker takes one row of normals and one of
    uniforms, and rows are drawn in order.

    Raises:
        DataError: n < 1 or a negative seed.
    """
    if n < 1:
        raise DataError(f"At least one speaker is needed, not {n}.")
    if seed < 0:
        raise DataError(f"A seed is a number from 0 up, not {seed}.")
    z = iter(np.random.default_rng([seed, 1]).standard_normal((n, 24)).T)
    u = iter(np.random.default_rng([seed, 2]).random((n, 16)).T)

    female = next(u) < 0.5
    male = np.where(
        female, -1.0, 1.0
    )  # a signed indicator: effects of sex are written as +- around the middle
    age = 18 + 62 * next(u)
    old = np.clip((age - 50) / 30, 0, 1)
    years = (age - 18) / 62
    size, androgen, tissue = next(z), next(z), next(z)

    height = np.clip(169 + 7 * male + 6.0 * size + 2.0 * next(z), 145, 205)
    tract = 15.6 + 1.1 * male + 0.36 * size + 0.10 * next(z)
    tract = np.where(female, np.clip(tract, 13.2, 15.9), np.clip(tract, 15.2, 18.4))
    # Women's voices fall after the menopause; men's rise a little in old age.
    drift = np.where(female, 1 - 0.10 * old, 1 + 0.08 * old)
    f0 = np.where(female, 212.0, 115.0) * np.exp(-0.105 * androgen + 0.03 * next(z)) * drift
    f0 = np.where(female, np.clip(f0, 160, 260), np.clip(f0, 82, 160))
    breathiness = np.clip(0.36 - 0.08 * male + 0.13 * tissue + 0.14 * old + 0.05 * next(z), 0, 1)
    jitter = np.clip(0.005 + 0.015 * years**1.5 * np.exp(0.2 * next(z)), 0.003, 0.03)
    tremor = np.clip(0.002 + 0.020 * years**2 * np.exp(0.25 * next(z)), 0.001, 0.03)

    def unit(mean: np.ndarray, own: float) -> np.ndarray:
        """Clip to [0, 1] after adding noise of the attribute's own."""
        return np.clip(mean + own * next(z), 0, 1)

    jaw_width = unit(0.5 + 0.15 * male + 0.13 * androgen + 0.06 * size, 0.06)
    chin_length = unit(0.5 + 0.13 * male + 0.13 * androgen, 0.07)
    nose_size = unit(0.45 + 0.11 * male + 0.14 * size + 0.10 * years, 0.07)
    nose_width = unit(0.5 + 0.08 * male + 0.16 * tissue, 0.08)
    brow_heaviness = unit(0.5 + 0.17 * male + 0.13 * androgen, 0.06)
    face_length = unit(0.5 + 0.08 * male + 0.17 * size, 0.06)
    lip_fullness = unit(0.52 - 0.12 * male + 0.15 * tissue - 0.14 * years, 0.06)
    wrinkles = unit(1.05 * np.clip((age - 26) / 54, 0, 1) ** 1.1, 0.05)
    greying = unit(1.25 * np.clip((age - 34) / 46, 0, 1) ** 1.2, 0.08)

    balding = next(u)
    recession = np.where(female, 0.12, 1.15 * balding) * np.clip((age - 24) / 45, 0, 1)
    shaven, long_hair, part = next(u), next(u), next(u)
    beard = np.where(
        female | (shaven < 0.5), 0.0, np.where(shaven < 0.75, 0.25, 0.55 + 1.8 * (shaven - 0.75))
    )
    hair_length = np.where(
        female, np.where(long_hair < 0.12, 0.25, 0.40 + 0.6 * long_hair), 0.05 + 0.28 * long_hair
    )
    hair_length = np.where(~female & (long_hair > 0.95), 0.6, hair_length)

    skin_tone = next(u) ** 1.4
    # Light hair and eyes are rare with deep skin; these three are independent of the voice all the same.
    dark = np.clip((skin_tone - 0.25) / 0.35, 0, 1)
    hair_tone = np.maximum(next(u), 0.92 * dark)
    hair_red = np.where(next(u) < 0.16, 1 - 0.6 * dark, 0.0) * (hair_tone < 0.75)
    eye_tone = np.maximum(next(u), 0.9 * dark)

    return Speakers(
        name=[f"spk{i:05d}" for i in range(n)],
        female=female,
        age=age,
        body_size=height,
        vocal_tract_length=tract,
        f0=f0,
        breathiness=breathiness,
        jitter=jitter,
        tremor=tremor,
        jaw_width=jaw_width,
        chin_length=chin_length,
        nose_size=nose_size,
        nose_width=nose_width,
        brow_heaviness=brow_heaviness,
        face_length=face_length,
        lip_fullness=lip_fullness,
        wrinkles=wrinkles,
        greying=greying,
        hair_recession=np.clip(recession, 0, 1),
        hair_length=hair_length,
        beard=beard,
        skin_tone=skin_tone,
        hair_tone=hair_tone,
        hair_red=hair_red,
        eye_tone=eye_tone,
        hair_parting=2 * part - 1,
        hair_wave=next(u),
        hair_volume=next(u),
        eye_size=unit(np.full(n, 0.5), 0.2),
        cheek_fullness=unit(np.full(n, 0.5), 0.2),
    )
