"""The checkpoints named at the start, loaded once, in the background, the first one first.

A request names a checkpoint by its id, which is looked up here: it never becomes a path.
"""

import asyncio
import threading
from concurrent.futures import Future
from pathlib import Path

from voice2face_gan.errors import ServeError, VoiceToFaceError
from voice2face_gan.models.hub import hub_name
from voice2face_gan.web.refusal import Refusal

_ABOUT = {
    "default": "whole heads, each voice its own hair and light",
    "speech2face": "whole heads, an average of what a voice leaves open",
    "r3gan": "the first edition: residual blocks, faces of 64 pixels",
    "wen2019-small": "networks of 2019 at under half the width, faces of 64 pixels",
    "synthetic": "knows the synthetic world alone",
}
SHIPPED = tuple(_ABOUT)  # as models/checkpoint.py names them, which imports PyTorch


class Checkpoints:
    """Models by id.

    Args:
        names: as `VoiceToFace.from_pretrained` takes them; at least one. The first is taken where a request
            names none.
        device: as `choose_device` takes it.
    Attributes:
        ids: in the order given: a shipped checkpoint's or a hub model's name, the last part of a path; a
            number follows where two would be equal.
    Raises:
        ServeError: no names, or one that can be no checkpoint's.
    """

    def __init__(self, names: tuple[str, ...], device: str = "cpu"):
        if not names:
            raise ServeError("no checkpoint was named; give --checkpoint default.")
        self._names, self._device = {}, device
        for name in dict.fromkeys(names):
            _check_place(str(name))
            short = Path(name).resolve().name if Path(name).is_dir() else str(name)
            number = sum(known.partition(" (")[0] == short for known in self._names)
            self._names[f"{short} ({number + 1})" if number else short] = name
        self.ids = list(self._names)
        self._models: dict[str, Future] = {key: Future() for key in self.ids}

    def load(self, on_error=None) -> None:
        """Begin to load all of them in a thread; `on_error(sentence)` is called for each that fails."""

        def run():
            for key, name in self._names.items():
                try:
                    self._models[key].set_result(_load(name, self._device))
                except Exception as error:
                    self._models[key].set_exception(error)
                    if on_error:
                        known = isinstance(error, VoiceToFaceError)
                        on_error(str(error) if known else f"{name}: {type(error).__name__}")

        threading.Thread(target=run, name="v2f-loading", daemon=True).start()

    async def get(self, key: str | None):
        """The model of an id; waits until it is loaded.

        Raises:
            Refusal: 400 for an id that was not named at the start, 503 for a model that does not load.
        """
        key = self.ids[0] if key in (None, "") else key
        if key not in self._models:
            known = ", ".join(self.ids)
            raise Refusal(400, f"There is no such checkpoint here; this server has {known}.")
        try:
            return await asyncio.shield(asyncio.wrap_future(self._models[key]))
        except VoiceToFaceError as error:
            raise Refusal(503, f"The checkpoint '{key}' does not load ({str(error).rstrip('.')}).") from None
        except Exception as error:
            kind = type(error).__name__
            raise Refusal(503, f"The checkpoint '{key}' does not load ({kind}).") from None

    def state(self, key: str) -> str:
        """ "loading", "ready" or "failed"."""
        future = self._models[key]
        if not future.done():
            return "loading"
        return "failed" if future.exception() else "ready"

    def describe(self) -> list[dict]:
        """Each checkpoint with its state, and what a page must know of it once it is ready: the image's side,
        the model's own strength (None without one), and if a gender can be chosen."""
        return [self._entry(key) for key in self.ids]

    def _entry(self, key: str) -> dict:
        entry = {"id": key, "state": self.state(key), "about": _ABOUT.get(key, "")}
        if entry["state"] != "ready":
            return entry
        model = self._models[key].result()
        config = model.checkpoint.generator_config
        return entry | {
            "side": int(config.side),
            "strength": model.strength,
            "gender": model.checkpoint.gender_probe is not None,
        }


def _check_place(name: str) -> None:
    """Refuses a path where nothing is before the models are loaded, which takes seconds.

    Raises:
        ServeError: it is neither shipped, nor there, nor as a model on the hub is called.
    """
    within = Path(name).name == "best" and Path(name).parent.is_dir()  # of a run folder
    if not name or not (name in SHIPPED or hub_name(name) or within or Path(name).exists()):
        known = ", ".join(SHIPPED)
        raise ServeError(f"--checkpoint '{name}': nothing is there; give a folder, OWNER/NAME, or {known}.")


def _load(name: str, device: str):
    from voice2face_gan.device import choose_device
    from voice2face_gan.pipeline import VoiceToFace

    return VoiceToFace.from_pretrained(name, choose_device(device))
