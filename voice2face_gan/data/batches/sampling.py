"""Batches, drawn without a state: the batch of step s depends on seed and s alone.

So a resumed run draws what an uninterrupted one would have drawn, and a process of a distributed run that
takes every n-th sample of a step's batch sees just what one process alone would have given it.
"""

import numpy as np
import torch
from torch import Tensor

from voice2face_gan.audio.encoder_input import LOG_MEL, RAW_LOG_MEL, SPEECH, SPEECH_SAMPLES
from voice2face_gan.data.batches.speech import SpeechBank, check_kept
from voice2face_gan.data.store import Store
from voice2face_gan.device import resident, send
from voice2face_gan.errors import DataError
from voice2face_gan.faces.mean_shape import mirrored
from voice2face_gan.faces.pixels import to_unit

# Independent streams of random numbers: a name has one purpose, so that one more draw for a purpose leaves
# the others alone. The names of orders count passes over the data as steps, the others iterations or batches.
# A number, once given, stays: what a seed gives depends on it.
STREAMS = {
    # The GAN stages
    "voices": 0,  # order of the voices
    "faces": 1,  # order of the faces
    "crops": 2,  # how long a batch's voices are, and where they are cut
    "pairs": 11,  # which face of a voice's identity
    "flips": 3,  # which real faces are mirrored
    "noise": 4,  # on e; on a face space, of simulated voices
    "z": 8,
    "augmentation": 7,  # of what the discriminator sees
    "grid": 6,  # z of the image grids
    # The GAN stages on a face space
    "fully visible": 10,  # order of the faces that lie wholly within their images
    "simulated voices": 9,  # which e are as a voice would have given them
    "strength": 12,  # of simulated voices
    "zero z": 5,  # which z are 0
    "own z": 23,  # which faces come with their own z
    "linear image": 24,  # simulated voices that it is fitted on
    "zooms": 13,  # zooms and shifts of the images that the space reads
    "flow faces": 28,  # that an appearance model's flow is fitted on
    "flow noise": 29,  # likewise
    "flow lengths": 30,  # how much shorter than a face's own its e is made
    "window": 31,  # which part of the images an iteration judges
    "detail": 32,  # how noisy an iteration's detail and coarse images are, and what these are made of
    "detail noise": 33,  # that is added to detail
    "coarse noise": 34,  # that is added to coarse images
    "ears": 35,  # sides of heads that templates begin with
    # The voice encoder's stages
    "clips": 14,  # order of the voices
    "cuts": 15,  # how long a batch's voices are, and where they are cut
    "clip augmentation": 16,  # which of them are augmented, and how
    "perturbation": 17,  # as which other speaker each is used
    "echo": 18,  # which kept examples serve again, and where they are cut
    "student weights": 19,  # first weights of the layers in a layer-wise distillation
    "paired faces": 25,  # which face of a person a clip is trained with
    "fixed faces": 26,  # likewise, the same in every pass
    "dropout": 27,  # within an encoder
    # The face classifier
    "classifier faces": 20,  # order of the faces
    "classifier flips": 21,  # which are mirrored
    "classifier augmentation": 22,  # what else is done to them
}


def random_source(seed: int, stream: str, step: int) -> np.random.Generator:
    """Source of the random numbers of one stream at one step; it depends on seed, stream and step alone.

    Raises:
        KeyError: STREAMS has no such name.
    """
    return np.random.default_rng([seed, STREAMS[stream], step])


def gaussian(shape: tuple[int, ...], seed: int, stream: str, step: int) -> Tensor:
    """Standard normal float32 numbers of one stream at one step."""
    return torch.from_numpy(random_source(seed, stream, step).standard_normal(shape, dtype=np.float32))


class EpochSampler:
    """Endless shuffled passes over `count` items: every item once before any comes again.

    Args:
        count: number of items.
        seed, stream: name the order.
    """

    def __init__(self, count: int, seed: int, stream: str):
        self.count, self.seed, self.stream = count, seed, stream
        self._orders: dict[int, np.ndarray] = {}

    def draw(self, step: int, batch: int) -> np.ndarray:
        """int64 (batch,): items number step x batch to (step + 1) x batch - 1 of the endless passes."""
        places = np.arange(step * batch, (step + 1) * batch)
        epochs = places // self.count
        needed = range(epochs[0], epochs[-1] + 1)
        self._orders = {e: self._orders[e] if e in self._orders else self._order(e) for e in needed}
        drawn = np.empty(batch, dtype=np.int64)
        for epoch, order in self._orders.items():
            mine = epochs == epoch
            drawn[mine] = order[places[mine] % self.count]
        return drawn

    def _order(self, epoch: int) -> np.ndarray:
        return random_source(self.seed, self.stream, epoch).permutation(self.count)


def check_takes(store: Store, takes: str) -> None:
    """Check that a store has what an encoder takes.

    Raises:
        DataError: raw log-mels or speech are wanted and the store has none.
    """
    check_kept(store, takes)
    if takes == RAW_LOG_MEL and not store.has_raw_log_mel:
        raise DataError(
            f"{store.folder}: was prepared without raw log-mels, which this voice encoder takes; prepare it "
            "again with --force."
        )


class VoiceBank:
    """The voices of a store, cut to equal length for a batch.

    Args:
        store: records with voices only.
        labels: int64 (records,), the class of each record's identity.
        min_frames: shorter voices count as repeated to this length before they are cut (10 s).
        device: a GPU that keeps the log-mels and cuts them, if they fit there.
        takes: what the encoder takes (audio/encoder_input.py); of SPEECH a frame is `hop` samples.

    Raises:
        DataError: raw log-mels or speech are wanted and the store has none.
    """

    def __init__(
        self,
        store: Store,
        labels: np.ndarray,
        min_frames: int = 1000,
        device: torch.device | None = None,
        takes: str = LOG_MEL,
    ):
        check_takes(store, takes)
        self.takes = takes
        # (rows of all, mel bins), float16
        self.frames = resident(torch.from_numpy(np.asarray(store.voices)), device)
        self.offset = torch.from_numpy(store.voice_offset)
        self.length = torch.from_numpy(store.voice_frames)
        self.labels = torch.from_numpy(labels)
        self.min_frames = min_frames
        self.speech = None
        if takes == SPEECH:
            about = store.about["features"]
            self.hop = round(about["sample_rate"] * about["hop_ms"] / 1000)
            self.speech = SpeechBank(store, 1)

    @classmethod
    def unlabelled(cls, store: Store, takes: str = LOG_MEL) -> "VoiceBank":
        """The same for `whole` alone, repeated to what the store's log-mel settings ask for."""
        labels = np.zeros(len(store), dtype=np.int64)
        return cls(store, labels, store.about["features"]["min_frames"], takes=takes)

    def __len__(self) -> int:
        return len(self.offset)

    def crops(
        self, items: np.ndarray, frames: int, rng: np.random.Generator, mine: slice = slice(None)
    ) -> tuple[Tensor, Tensor]:
        """Random pieces of `frames` frames: float32 (batch, mel bins, frames), or (batch, samples) of speech,
        and int64 labels (batch,).

        Args:
            mine: the part of the batch that is cut; numbers are drawn for all of it.
        """
        chosen = torch.from_numpy(items[mine])
        if self.speech is not None:
            return self.speech.crops(items, frames * self.hop, rng, mine), self.labels[chosen]
        length = self.length[chosen]
        room = (length.clamp(min=self.min_frames) - frames).clamp(min=0)
        start = (torch.from_numpy(rng.random(len(items))[mine]) * (room + 1)).long()
        within = (start[:, None] + torch.arange(frames)) % length[:, None]  # a short voice is repeated
        places = send(self.offset[chosen][:, None] + within, self.frames.device)
        mel = self.frames[places].float()  # (batch, frames, mel bins)
        if self.takes == RAW_LOG_MEL:
            mean, std = (self._row(self.offset[chosen] - k)[:, None] for k in (2, 1))
            mel = mel * std + mean
        return mel.transpose(1, 2).contiguous(), self.labels[chosen]

    def whole(self, item: int) -> Tensor:
        """The whole voice as an encoder takes it: float32 (mel bins, T), repeated to `min_frames` if shorter,
        or the first 30 s of the speech (samples,)."""
        if self.speech is not None:
            return self.speech.whole(item)[:SPEECH_SAMPLES]
        length = int(self.length[item])
        within = torch.arange(max(length, self.min_frames)) % length
        mel = self.frames[send(self.offset[item] + within, self.frames.device)].float()
        if self.takes == RAW_LOG_MEL:
            mel = mel * self._row(self.offset[item] - 1) + self._row(self.offset[item] - 2)
        return mel.t().contiguous()

    def _row(self, places: Tensor) -> Tensor:
        return self.frames[send(places, self.frames.device)].float()


class FaceBank:
    """The faces of a store.

    Args:
        store: records with faces only.
        labels: int64 (records,), the class of each record's identity.
        device: a GPU that keeps the faces, if they fit there.
        missing: pixels beyond the edges of the image that a face was taken from are NaN, not made up.
    """

    def __init__(
        self,
        store: Store,
        labels: np.ndarray,
        device: torch.device | None = None,
        missing: bool = False,
    ):
        self.faces = resident(torch.from_numpy(np.asarray(store.faces)), device)
        self.index = torch.from_numpy(store.face_index)
        self.visible_box = torch.from_numpy(np.asarray(store.visible_box)) if missing else None
        self.labels = torch.from_numpy(labels)
        self.landmarks = store.landmarks if store.has_landmarks else None

    def __len__(self) -> int:
        return len(self.index)

    def batch(self, items: np.ndarray, flips: np.ndarray | None = None) -> tuple[Tensor, Tensor]:
        """float32 (batch, 3, side, side) in [-1, 1], mirrored where `flips` is true, and labels (batch,)."""
        chosen = torch.from_numpy(items)
        index = self.index[chosen]
        faces = to_unit(self.faces[send(index, self.faces.device)])
        if self.visible_box is not None:
            known = send(within(self.visible_box[index], faces.shape[-1]), faces.device)
            faces = torch.where(known, faces, torch.nan)
        if flips is not None:
            mirrored = send(torch.from_numpy(flips), faces.device)[:, None, None, None]
            faces = torch.where(mirrored, faces.flip(-1), faces)
        return faces, self.labels[chosen]

    def landmarks_of(self, items: np.ndarray, flips: np.ndarray | None = None) -> Tensor:
        """float32 (batch, 68, 2), x and y of the landmarks of these faces in fractions of the side,
        mirrored as in `batch`; the store must have kept them."""
        found = self.landmarks[self.index[torch.from_numpy(items)].numpy()]
        if flips is not None:
            found = np.where(flips[:, None, None], mirrored(found), found)
        return torch.from_numpy(found.astype(np.float32))

    def of_identities(self, labels: Tensor, rng: np.random.Generator) -> np.ndarray:
        """int64 (batch,): for each label a random face of that identity; each must have one."""
        order = torch.argsort(self.labels, stable=True)
        first = torch.searchsorted(self.labels[order], labels)
        count = torch.searchsorted(self.labels[order], labels, right=True) - first
        drawn = (torch.from_numpy(rng.random(len(labels))) * count).long()
        return order[first + drawn].numpy()


def within(box: Tensor, side: int) -> Tensor:
    """bool (B, 1, side, side): the pixels of each box (B, 4) of left, top, right and bottom."""
    place = torch.arange(side)
    left, top, right, bottom = box[:, :, None].unbind(dim=1)
    rows, columns = ((place >= a) & (place < b) for a, b in ((top, bottom), (left, right)))
    return rows[:, None, :, None] & columns[:, None, None, :]


def classes(store: Store) -> tuple[list[str], np.ndarray]:
    """The identities of a store in sorted order, and each record's class among them, int64 (records,)."""
    names, labels = np.unique(store.identity, return_inverse=True)
    return names.tolist(), labels.astype(np.int64)
