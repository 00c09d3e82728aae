"""The synthetic world as a prepared store: the default data of every command that needs some.

`--data synthetic` is 1,000 speakers, `--data synthetic:250` is 250. The store is made once, in
$V2F_CACHE or the user's cache folder. Speaker i is the same identity in every size, and so is the split:
of ten speakers in a row seven train, one validates, two test, so a speaker held out from one model is held
out from all of them.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from voice2face_gan.data.cache import cache_folder
from voice2face_gan.data.records import FEMALE, MALE, Record
from voice2face_gan.data.store import Store, to_int16
from voice2face_gan.data.store_writer import StoreWriter
from voice2face_gan.errors import DataError, StoreError

SPEAKERS, CLIPS, VIEWS, SECONDS = 1000, 4, 6, 4.0
MINIMUM = 10  # speakers: the smallest world with a speaker in every split
WORLD_SEED, JUDGE_SEED = 0, 1  # face classifiers are trained in a world of their own
_SPLITS = ("train",) * 7 + ("val",) + ("test",) * 2
_CHUNK = 50  # speakers at a time: bounds memory and paces the progress bar

Progress = Callable[[int, int], None]


def is_synthetic(data: str) -> bool:
    return data == "synthetic" or data.startswith("synthetic:")


def synthetic_size(data: str) -> int:
    """The number of speakers that "synthetic" or "synthetic:SPEAKERS" asks for.

    Raises:
        DataError: not a whole number of at least 10.
    """
    text = data.partition(":")[2] or str(SPEAKERS)
    if not text.isdecimal() or int(text) < MINIMUM:
        raise DataError(
            f"'{data}': write synthetic:SPEAKERS with a whole number of speakers, {MINIMUM} or more."
        )
    return int(text)


def synthetic_store(
    data: str = "synthetic",
    progress: Progress | None = None,
    seed: int = WORLD_SEED,
    clips: int = CLIPS,
    keep_speech: bool = False,
) -> Store:
    """The store of a synthetic world, made first if this machine has none.

    Args:
        data: "synthetic" or "synthetic:SPEAKERS".
        progress: called with (speakers made, speakers in all).
        seed: of the world.
        clips: voices a speaker; 0 for a store of faces alone.
        keep_speech: the voices themselves beside their log-mels.
    """
    speakers = synthetic_size(data)
    kept = "-speech" if keep_speech else ""
    folder = cache_folder() / f"synthetic-{speakers}-seed{seed}-clips{clips}{kept}-{_version()}"
    try:
        return Store(folder)
    except StoreError:
        _make(folder, speakers, seed, clips, progress, keep_speech)
        return Store(folder)


def _version() -> str:
    """A short hash of the code that makes the world, so that a cached one is never of another version."""
    from voice2face_gan import synthetic
    from voice2face_gan.audio import log_mel

    files = sorted(Path(synthetic.__file__).parent.glob("*.py")) + [Path(log_mel.__file__), Path(__file__)]
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:10]


def _make(
    folder: Path, count: int, seed: int, clips: int, progress: Progress | None, keep_speech: bool = False
) -> None:
    import torch

    from voice2face_gan.audio.log_mel import FeatureSettings, log_mel, normalise_with_stats
    from voice2face_gan.synthetic import face, speakers, voice

    features = FeatureSettings()
    sampled = speakers.sample_speakers(count, seed=seed)
    folder.parent.mkdir(parents=True, exist_ok=True)
    source = {"layout": "synthetic", "speakers": count, "seed": seed, "clips": clips, "views": VIEWS}
    with StoreWriter(folder, features.to_dict(), source=source, keep_speech=keep_speech) as writer:
        for start in range(0, count, _CHUNK):
            some = sampled[slice(start, start + _CHUNK)]
            # (clips, speakers, samples) and (views, speakers, 64, 64, 3)
            voices = [voice.synthesise(some, SECONDS, seed=seed, clip=k) for k in range(clips)]
            faces = [face.render(some, seed=seed, view=k) for k in range(VIEWS)]
            for i in range(len(some)):
                labels = {
                    "identity": some.name[i],
                    "gender": FEMALE if some.female[i] else MALE,
                    "age": round(float(some.age[i]), 1),
                    "split": _SPLITS[(start + i) % len(_SPLITS)],
                }
                for k in range(max(clips, VIEWS)):
                    mel = log_mel(torch.from_numpy(voices[k][i]), features) if k < clips else None
                    image = faces[k][i] if k < VIEWS else None
                    record = Record(source=f"{some.name[i]}/{k}", **labels)
                    speech = to_int16(voices[k][i]) if keep_speech and k < clips else None
                    if mel is None:
                        writer.add(record, None, image)
                    else:
                        mel, level = (x.numpy() for x in normalise_with_stats(mel))
                        writer.add(record, mel, image, speech, level)
            if progress is not None:
                progress(min(start + _CHUNK, count), count)
        writer.finish()


def synthetic_speakers(store: Store) -> "np.ndarray":
    """Index in the world of each record's speaker: what `sample_speakers` calls them."""
    return np.array([int(name.removeprefix("spk")) for name in store.identity])
