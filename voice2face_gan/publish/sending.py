"""Upload of a checkpoint folder to the hub: `config.json`, `model.safetensors` and a card, nothing else."""

import json
import re
import tempfile
from pathlib import Path

import torch

from voice2face_gan.data.open import source_names
from voice2face_gan.data.synthetic import is_synthetic
from voice2face_gan.errors import CheckpointError, first_line
from voice2face_gan.models.checkpoint import (
    CONFIG,
    WEIGHTS,
    Checkpoint,
    find_checkpoint,
    load_checkpoint,
    run_of,
    weights_hash,
)
from voice2face_gan.models.hub import upload
from voice2face_gan.publish.card import model_card
from voice2face_gan.results import read_records

CARD = "README.md"
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]*")  # as the hub spells them: mit, cc-by-nc-4.0, gpl-3.0 ...


def publish(
    name: str | Path,
    repo: str,
    private: bool = False,
    token: str | None = None,
    message: str = "Upload with voice2face-gan",
    licence: str | None = None,
) -> dict:
    """Upload a checkpoint's files as they are, in one commit.

    Args:
        name: name of the checkpoint, see `find_checkpoint`; a voice encoder alone will do.
        repo: "owner/name" on the hub.
        private, token, message: see `models.hub.upload`.
        licence: licence of the weights, for a card that is written here; see `card_of`.
    Returns:
        checkpoint, card ("own" where the folder had one, "written", or "kept" where one on the hub was left
        as it is), and the result of `upload`.
    Raises:
        CheckpointError: no such checkpoint, a damaged one, or the hub refuses it.
    """
    folder = find_checkpoint(name)
    card = card_of(folder, repo, licence)
    own = (folder / CARD).is_file()
    files = {CONFIG: folder / CONFIG, WEIGHTS: folder / WEIGHTS, CARD: card.encode()}
    sent = upload(repo, files, message, private, token, replace_card=own)
    kept = CARD not in sent["files"]
    return {"checkpoint": str(folder), "card": "own" if own else "kept" if kept else "written", **sent}


def publish_checkpoint(checkpoint: Checkpoint, *arguments, **options) -> dict:
    """Like `publish`, for a checkpoint in memory.

    Networks that were changed since they were loaded are uploaded as they are now, in float32."""
    if checkpoint.folder is not None and _is_as_saved(checkpoint):
        return publish(checkpoint.folder, *arguments, **options)
    with tempfile.TemporaryDirectory() as temporary:
        return publish(checkpoint.save(Path(temporary) / "checkpoint"), *arguments, **options)


def _is_as_saved(checkpoint: Checkpoint) -> bool:
    saved = load_checkpoint(checkpoint.folder, need_generator=False)
    now, then = checkpoint.tensors(), saved.tensors()
    same = now.keys() == then.keys() and all(torch.equal(now[k].cpu(), then[k]) for k in then)
    return same and checkpoint.config() == saved.config()


def card_of(folder: Path, repo: str, licence: str | None = None) -> str:
    """The folder's own README.md, else a card written from the checkpoint and its evaluations.

    Args:
        folder: folder of the checkpoint.
        repo: "owner/name", for the card's instructions.
        licence: licence of the weights, as the hub spells it; None for none stated. Not together with a
            README.md of the folder's own, which states it itself.
    Raises:
        CheckpointError: the checkpoint is damaged, no licence is spelled so, or there is no place for it.
    """
    checkpoint = load_checkpoint(folder, need_generator=False)  # always: a damaged checkpoint is not uploaded
    if licence is not None and not _LICENCE.fullmatch(licence.lower()):
        raise CheckpointError(
            f"'{licence}' is not how the hub spells a licence; give one such as mit, apache-2.0, "
            "cc-by-nc-4.0 or other."
        )
    if (folder / CARD).is_file():
        if licence is not None:
            raise CheckpointError(
                f"{folder / CARD} is used as it is: state the licence in its front matter, not beside it."
            )
        try:
            return (folder / CARD).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{folder / CARD} cannot be read ({first_line(error)}).") from error
    return model_card(repo, checkpoint, _trained_on(folder), _records(folder), licence and licence.lower())


def _records(folder: Path) -> list[dict]:
    """Evaluations of exactly these weights, oldest first, from beside them or from their run."""
    weights = weights_hash(folder)
    records = [*read_records(run_of(folder)), *read_records(folder)]
    return [record for record in records if record.get("weights") == weights]


def _trained_on(folder: Path) -> list[str]:
    """Names of the data sets, also of the checkpoints that it was trained from; [] where they are unknown.

    The names hold no paths of the machine that trained."""
    try:
        said = json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("trained_on")
        if said:
            return [str(name) for name in said]
        run = json.loads((run_of(folder) / "run.json").read_text(encoding="utf-8"))
        names = [n if is_synthetic(n) else Path(n).name for n in source_names(run["data"])]
        given = [Path(run[key]) for key in ("encoder", "init") if run.get(key)]
    except (TypeError, OSError, ValueError, KeyError):  # no run, or another kind of run.json
        return []
    for start in given:
        names += _trained_on(start) or [f"the data of {start.name}, which are not stated"]
    return list(dict.fromkeys(names))
