"""Checkpoints on the Hugging Face hub: which names mean one, taking its files, putting files there.

All traffic, the cache (HF_HOME) and offline mode (HF_HUB_OFFLINE=1) are huggingface_hub's, which comes with
the extra `hub`. What goes wrong becomes one sentence that names the model and says what to do.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

from voice2face_gan.errors import CheckpointError, first_line
from voice2face_gan.version import __version__

LIBRARY = "voice2face-gan"  # what the hub calls us, in cards and in its counts of downloads
MARK = "<!-- written by v2f-gan push; a card without this line is kept -->"
_NAME = re.compile(r"([a-z0-9][\w.-]*/[\w.-]+)(?:@([\w.-]+))?", re.ASCII | re.IGNORECASE)
_LOG_IN = "log in with `hf auth login` or set HF_TOKEN"


class HubName(NamedTuple):
    """A model on the hub: "owner/name", and a branch, tag or commit of it (None: its main branch)."""

    repo: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.repo if self.revision is None else f"{self.repo}@{self.revision}"


def hub_name(name: str | Path) -> HubName | None:
    """The model on the hub that a name may mean: "owner/name" or "owner/name@revision".

    None for whatever is or looks like a path, which is never sent to the hub: a Path, something that exists
    here, a name that begins with ".", "/" or "~", or one with no slash or with several.
    """
    if isinstance(name, Path) or os.path.lexists(name):
        return None
    match = _NAME.fullmatch(name)
    return None if match is None else HubName(*match.groups())


def download(model: HubName, file: str, commit: str | None = None) -> Path:
    """One file of a model, in huggingface_hub's cache: .../snapshots/COMMIT/FILE.

    Args:
        model: which.
        file: its name there.
        commit: take it from this commit of the model, whatever its revision is now.
    Raises:
        CheckpointError: no such model, revision or file; no access; no network, or offline, and not in the
            cache; huggingface_hub is not installed.
    """
    hub = _huggingface_hub(f"{model}: there is no such folder, and to take it from the Hugging Face hub")
    about = {"revision": commit or model.revision}
    us = {"library_name": LIBRARY, "library_version": __version__}
    try:
        if not isinstance(hub.try_to_load_from_cache(model.repo, file, **about), str):
            _knock(hub, hub.hf_hub_url(model.repo, file, **about), us)
        return Path(hub.hf_hub_download(model.repo, file, **about, **us))
    # Everything: transport errors are of another library in each major version of huggingface_hub.
    except Exception as error:
        raise CheckpointError(_why_no_download(model, file, error)) from error


def _knock(hub, url: str, us: dict) -> None:
    """One question before a download, which would ask for half a minute where there is no network."""
    if hub.constants.HF_HUB_OFFLINE:
        return
    try:
        hub.get_hf_file_metadata(url, **us)
    except hub.errors.HfHubHTTPError as error:
        if error.response.status_code < 500:  # a busy hub is worth the wait
            raise
    except Exception as error:  # of the transport library, whichever it is
        raise hub.errors.LocalEntryNotFoundError("no answer") from error


def upload(
    repo: str,
    files: dict[str, Path | bytes],
    message: str,
    private: bool = False,
    token: str | None = None,
    replace_card: bool = False,
) -> dict:
    """Put files into a model on the hub, in one commit; the model is made if there is none.

    Args:
        repo: "owner/name".
        files: name there -> a file here, or its content.
        message: of the commit, one line.
        private: make it visible to its owner alone. Otherwise a new model is as its owner's settings say.
        token: with the right to write; default: that of `hf auth login` or HF_TOKEN.
        replace_card: upload README.md even where the model on the hub has one that somebody wrote by hand.
    Returns:
        repo, url, commit, private, and files (their names).
    Raises:
        CheckpointError: `repo` is no "owner/name", no right to write, no network, a model that is to be
            private is public already, or the hub refuses.
    """
    if hub_name(f"{repo}@main") is None:
        raise CheckpointError(f"'{repo}' is no name for a model on the Hugging Face hub; give OWNER/NAME.")
    hub = _huggingface_hub(f"{repo}: to upload it")
    api = hub.HfApi(token=token, library_name=LIBRARY, library_version=__version__)
    try:
        api.create_repo(repo, private=private or None, exist_ok=True)
        is_private = bool(api.model_info(repo).private)
        if private and not is_private:
            raise CheckpointError(
                f"{repo} is on the hub already and public; make it private in its settings there first, or "
                "upload without private."
            )
        if not replace_card and _written_by_hand(_readme(hub, api, repo)):
            files = {k: v for k, v in files.items() if k != "README.md"}
        operations = [
            hub.CommitOperationAdd(k, v if isinstance(v, bytes) else str(v)) for k, v in files.items()
        ]
        commit = api.create_commit(repo, operations, commit_message=message)
    except CheckpointError:
        raise
    except Exception as error:  # as above
        raise CheckpointError(_why_no_upload(repo, error)) from error
    url = f"{api.endpoint}/{repo}"
    return {"repo": repo, "url": url, "commit": commit.oid, "private": is_private, "files": list(files)}


def _readme(hub, api, repo: str) -> str:
    """The card on the hub, "" where there is none."""
    try:
        path = api.hf_hub_download(repo, "README.md")
    except hub.errors.LocalEntryNotFoundError:  # the hub did not answer: nothing is known
        raise
    except hub.errors.EntryNotFoundError:
        return ""
    return Path(path).read_text(encoding="utf-8", errors="replace")


def _written_by_hand(card: str) -> bool:
    """Whether a card says what we did not write; one that the hub itself makes is a front matter alone."""
    return MARK not in card and bool(re.sub(r"\A---\n.*?\n---", "", card, flags=re.DOTALL).strip())


def _huggingface_hub(purpose: str):
    try:
        import huggingface_hub
        import huggingface_hub.constants  # reached as attributes
        import huggingface_hub.errors
    except ImportError as error:
        raise CheckpointError(
            f"{purpose} install huggingface_hub (pip install 'voice2face-gan[hub]')."
        ) from error
    return huggingface_hub


def _why_no_download(model: HubName, file: str, error: Exception) -> str:
    from huggingface_hub import constants, errors

    where = f"{constants.ENDPOINT}/{model.repo}"
    if isinstance(error, errors.GatedRepoError):
        return f"{model}: its owner grants access one by one; ask for it at {where}, then {_LOG_IN}."
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"{model}: no such checkpoint: there is neither such a folder here nor such a model at "
            f"{constants.ENDPOINT} that you may see; check the name, and if it is private {_LOG_IN}."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{model}: the model has no revision '{model.revision}'; see {where}/commits/main."
    if isinstance(error, errors.LocalEntryNotFoundError):
        if constants.HF_HUB_OFFLINE:
            return (
                f"{model}: there is no such folder, its {file} is not in the cache, and HF_HUB_OFFLINE is "
                "set; load it once with a network, or give a checkpoint folder."
            )
        cause = f" ({first_line(error.__cause__)})" if error.__cause__ else ""
        return (
            f"{model}: there is no such folder, its {file} is not in the cache, and {constants.ENDPOINT} "
            f"cannot be reached{cause}; check the network, or give a checkpoint folder."
        )
    if isinstance(error, errors.EntryNotFoundError):
        return f"{model}: the model at {where} has no {file}, so it is no checkpoint of {LIBRARY}."
    if isinstance(error, errors.HFValidationError):
        return f"{model} is neither a folder nor a name that the hub allows ({first_line(error)})."
    return f"{model}: its {file} cannot be taken from {where} ({_said(error)}); try again."


def _why_no_upload(repo: str, error: Exception) -> str:
    from huggingface_hub import constants, errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.HFValidationError):
        return f"'{repo}' is no name that the hub allows ({first_line(error)}); give OWNER/NAME."
    if status in (401, 403) or isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"{repo}: {constants.ENDPOINT} grants no right to write there ({_said(error)}); {_LOG_IN}, with "
            "a token that may write to it."
        )
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"{repo}: nothing is uploaded while HF_HUB_OFFLINE is set; unset it."
    if isinstance(error, (errors.HfHubHTTPError, ValueError)):
        return f"{repo}: {constants.ENDPOINT} refuses it ({_said(error)})."
    return (
        f"{repo}: it cannot be uploaded to {constants.ENDPOINT} ({_said(error)}); check the network, "
        "try again."
    )


def _said(error: Exception) -> str:
    """What the server said if it said something, else what the library says; one line, no full stop."""
    said = str(getattr(error, "server_message", None) or error)
    return first_line(Exception(" ".join(said.split()) or type(error).__name__)).rstrip(".: ")
