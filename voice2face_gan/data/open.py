"""Whatever --data may name -> one store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from voice2face_gan.data.cache import cache_folder
from voice2face_gan.data.join import join_stores
from voice2face_gan.data.store import Store
from voice2face_gan.data.synthetic import is_synthetic, synthetic_store
from voice2face_gan.errors import StoreError

Progress = Callable[[int, int], None]


def open_source(
    data: str | Path | Sequence[str | Path],
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda text: None,
    keep_speech: bool = False,
) -> Store:
    """Open what to train or evaluate on.

    Args:
        data: "synthetic[:SPEAKERS]", a prepared store, a raw folder whose layout is recognised, or several of
            them, as a sequence or with commas between; several become one, see `join_stores`.
        progress: called with (done, in all) while something has to be made first.
        say: called with a sentence for the user when a raw folder is prepared first.
        keep_speech: of what has to be made first, keep the speech beside the log-mels.
    Raises:
        StoreError: neither a store nor a data set that is recognised, or stores that do not fit together.
        DataError, ImageError: as `prepare.prepare`, of a raw folder.
    """
    return join_stores([_open(name, progress, say, keep_speech) for name in source_names(data)])


def source_names(data: str | Path | Sequence[str | Path]) -> list[str]:
    """The sources that `data` names; commas separate them, unless a folder has that very name."""
    if isinstance(data, (str, Path)):
        text = str(data)
        return (
            [text] if "," not in text or Path(text).exists() else [part.strip() for part in text.split(",")]
        )
    return [str(part) for part in data]


def _open(name: str, progress: Progress | None, say: Callable[[str], None], keep_speech: bool) -> Store:
    if is_synthetic(name):
        return synthetic_store(name, progress, keep_speech=keep_speech)
    path = Path(name).expanduser()
    if (path / "store.json").is_file() or not path.is_dir():
        return Store(path)
    from voice2face_gan.data.layouts import LAYOUTS, recognise
    from voice2face_gan.data.layouts.reading.parts import refuse_parts

    refuse_parts(path.absolute())
    layout = recognise(path)
    if layout is None:
        raise StoreError(
            f"{path} is neither a prepared store nor a data set that is recognised (known are "
            f"{', '.join(LAYOUTS)}); prepare it with v2f-gan prepare LAYOUT {path} -o STORE."
        )
    from voice2face_gan.data.prepare.prepare import prepare
    from voice2face_gan.data.prepare.settings import PrepareSettings

    path = path.absolute()
    place = hashlib.sha256(str(path).encode()).hexdigest()[:10]
    store = cache_folder() / f"{layout.name}-{path.name}-{place}{'-speech' if keep_speech else ''}"
    settings = PrepareSettings.of(["voice.keep_speech=true"] if keep_speech else [])
    store.parent.mkdir(parents=True, exist_ok=True)
    say(f"{path} looks like the layout {layout.name}; it is prepared into {store} first, once.")
    for note in layout.notes([path]):
        say(note)
    try:
        outcome = prepare(layout.name, [path], store, settings, progress=progress)
    except StoreError as error:  # in a cache, what has become old is made anew without a question
        if not (store / "store.json").is_file():
            raise
        say(f"Preparing it again: {error}")
        outcome = prepare(layout.name, [path], store, settings, progress=progress, force=True)
    dropped = sum(outcome.store.dropped().values())
    if dropped and not outcome.already:
        say(f"Warning: {dropped} files were dropped; see {store / 'dropped.csv'}.")
    if outcome.store.noted() and not outcome.already:
        say(f"{outcome.store.noted()} files were taken in part; see {store / 'noted.csv'}.")
    return outcome.store
