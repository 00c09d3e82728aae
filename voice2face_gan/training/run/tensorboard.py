"""TensorBoard events of a run: RUN/tensorboard/STAGE/.

Losses at every log line, figures at every evaluation, and at every image grid that grid and histograms of
the weights. Once a stage: the log-mels of the fixed clips, and their sound where it can be had: from a store
that kept speech, or spoken again in the synthetic world; other stores hold log-mels alone.
"""

import os
import socket
import time
from pathlib import Path

import numpy as np
from torch import nn

from voice2face_gan.data.batches.people import fixed_people
from voice2face_gan.data.batches.sampling import VoiceBank
from voice2face_gan.data.store import Store
from voice2face_gan.errors import TrainingError

RATE = 16_000  # samples a second, of every voice (audio/decode.py)
_VALUES = 1 << 16  # weights of a tensor that its histogram shows: enough to see, and no pause on large nets


class Tracker:
    """Writes the events of one stage, each at once: TensorBoard's own writer does it in a thread, which
    cannot say that the disk is full.

    Args:
        folder: of the events; made if it is not there.
        start: iteration that the stage starts, or goes on, at: later events there are superseded.
    Raises:
        TrainingError: TensorBoard is not installed.
        OSError: from every method, where it cannot be written.
    """

    def __init__(self, folder: Path, start: int = 0):
        try:
            from tensorboard.compat.proto.event_pb2 import Event, SessionLog
            from tensorboard.summary.writer.record_writer import RecordWriter
            from torch.utils.tensorboard import summary
        except ImportError:
            raise TrainingError(
                "TensorBoard is not installed: pip install 'voice2face-gan[track]', "
                "or leave run.tensorboard as it is."
            ) from None
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._make, self._event = summary, Event
        self._file = (folder / name).open("wb")
        self._records = RecordWriter(self._file)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if start:
            again = SessionLog(status=SessionLog.START)
            self._write(Event(wall_time=time.time(), step=start + 1, session_log=again))

    def _write(self, event) -> None:
        self._records.write(event.SerializeToString())
        self._records.flush()

    def _add(self, summary, iteration: int) -> None:
        self._write(self._event(wall_time=time.time(), step=iteration, summary=summary))

    def losses(self, iteration: int, losses: dict[str, float], per_second: float) -> None:
        for name, value in losses.items():
            self._add(self._make.scalar(f"loss/{name}", value), iteration)
        self._add(self._make.scalar("speed/iterations_per_second", per_second), iteration)

    def figures(self, iteration: int, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            self._add(self._make.scalar(f"figure/{name}", value), iteration)

    def image(self, iteration: int, image) -> None:
        """A PIL image of the fixed clips' faces."""
        self._add(self._make.image("faces", np.asarray(image), dataformats="HWC"), iteration)

    def weights(self, iteration: int, stage) -> None:
        """A histogram of each weight of the stage's nets that are trained."""
        for part, net in vars(stage).items():
            if not isinstance(net, nn.Module):
                continue
            for name, weight in net.named_parameters():
                if weight.requires_grad:
                    values = weight.detach().reshape(-1)
                    values = values[:: -(-len(values) // _VALUES)].float().cpu().numpy()
                    if np.isfinite(values).all():  # others stop the run when it is saved
                        self._add(self._make.histogram(f"{part}/{name}", values, bins=64), iteration)

    def clips(self, store: Store) -> None:
        """The fixed clips of the people held out, as the voice encoder hears them, and as sound."""
        bank = VoiceBank(store, np.zeros(len(store), dtype=np.int64), 1)
        for name in fixed_people(store):
            record = int(np.flatnonzero((store.identity == name) & store.has_voice)[0])
            mel = bank.whole(record).clamp(-3, 3).add(3).div(6)  # of unit variance per bin -> [0, 1]
            self._add(self._make.image(f"log-mel/{name}", mel.flip(0)[None].numpy(), dataformats="CHW"), 0)
            wave = clip_sound(store, record)
            if wave is not None:
                self._add(self._make.audio(f"clip/{name}", wave[None], sample_rate=RATE), 0)

    def close(self) -> None:
        self._file.close()


def clip_sound(store: Store, record: int) -> np.ndarray | None:
    """The voice of a record as float32 (samples,) in [-1, 1] at 16 kHz, or None where it cannot be had."""
    speech = getattr(store, "speech", None)
    if speech is not None and store.speech_offset[record] >= 0:
        start = int(store.speech_offset[record])
        return speech[start : start + int(store.speech_samples[record])].astype(np.float32) / 32768
    source = store.about["source"]
    if source.get("layout") != "synthetic":
        return None
    from voice2face_gan.data.synthetic import SECONDS, synthetic_speakers
    from voice2face_gan.synthetic import speakers, voice

    who = int(synthetic_speakers(store)[record])
    person = speakers.sample_speakers(source["speakers"], seed=source["seed"])[slice(who, who + 1)]
    clip = int(str(store.source[record]).rpartition("/")[2])
    return voice.synthesise(person, SECONDS, seed=source["seed"], clip=clip)[0]


def installed() -> bool:
    """Whether TensorBoard is."""
    from importlib.util import find_spec

    return find_spec("tensorboard") is not None
