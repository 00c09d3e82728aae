"""A public speaker encoder, as a teacher of voice encoders. It serves in training alone.

Wan et al., "Generalized end-to-end loss for speaker verification" (GE2E), ICASSP 2018, as the package
Resemblyzer (Apache-2.0) brings it: 40-bin mel power, three LSTM layers of 256, a linear layer and a rectifier
on the last state, of length 1; the mean over pieces of 1.6 s. Its code is not used, its file of weights is
read: pip install --no-deps resemblyzer.
"""

import importlib.util
import pickle
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voice2face_gan.errors import CheckpointError

SAMPLE_RATE = 16_000
DIMENSIONS = 256
CHANNELS = (40, 256, 256, 256, DIMENSIONS)  # bands, LSTM layers and answer
WINDOW, HOP = 400, 160  # samples
_FRAMES, _STEP = 160, 77  # of 10 ms: a piece, and from one piece to the next
_LEVEL = -30.0  # dB of full scale: softer speech is made so loud
_FILE = "pretrained.pt"
_UNREADABLE = (OSError, LookupError, TypeError, RuntimeError, ValueError, EOFError, pickle.PickleError)


class GE2EEncoder(nn.Module):
    """Speech to a speaker embedding.

    Args:
        path: the file of weights; None: the installed package's.
    Raises:
        CheckpointError: it is missing, or not such a file.
    """

    def __init__(self, path: str | Path | None = None):
        super().__init__()
        import torchaudio

        self.lstm = nn.LSTM(40, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, DIMENSIONS)
        path = Path(path) if path else _installed()
        try:
            # Tensors alone: what else a pickle may hold is refused.
            state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
            wanted = {k: state[k] for k in self.state_dict()}
            self.load_state_dict(wanted)
        except _UNREADABLE as error:
            raise CheckpointError(f"{path}: not the weights of Resemblyzer's speaker encoder.") from error
        self.mel = torchaudio.transforms.MelSpectrogram(
            SAMPLE_RATE,
            n_fft=WINDOW,
            hop_length=HOP,
            n_mels=40,
            f_max=SAMPLE_RATE / 2,
            norm="slaney",
            mel_scale="slaney",
            pad_mode="constant",
        )
        self.eval().requires_grad_(False)

    def forward(self, speech: Tensor) -> Tensor:
        """float32 (samples,) in [-1, 1] at 16 kHz, some speech -> (256,), not negative, of length 1."""
        speech = speech * self.gain(speech)
        frames = self.mel(F.pad(speech, (0, max(0, HOP * _FRAMES - len(speech))))).t()
        last = len(frames) - _FRAMES
        # A piece that would reach beyond the end by a quarter of a step at most ends with the speech instead.
        starts = sorted({min(start, last) for start in range(0, last + _STEP // 4 + 1, _STEP)})
        pieces = torch.stack([frames[start : start + _FRAMES] for start in starts])
        heard = F.normalize(self.linear(self.lstm(pieces)[1][0][-1]).relu(), dim=1)
        return F.normalize(heard.mean(dim=0), dim=0)

    def gain(self, speech: Tensor) -> Tensor:
        """What soft speech (..., samples) is multiplied with: (...), 1 at least."""
        level = speech.square().mean(dim=-1).sqrt().clamp(min=1e-8)
        return (10 ** (_LEVEL / 20) / level).clamp(min=1.0)

    def bands(self, speech: Tensor) -> Tensor:
        """What the first layer hears of speech (B, samples), with frames where `log_mels` has them and not
        centred: (B, frames, 40)."""
        window = self.mel.spectrogram.window
        frames = (speech * self.gain(speech)[:, None]).unfold(1, WINDOW, HOP) * window
        return torch.fft.rfft(frames).abs().square() @ self.mel.mel_scale.fb

    def layers(self) -> list[nn.LSTM]:
        """The layers of the LSTM, one by one."""
        layers = []
        for i in range(self.lstm.num_layers):
            inputs = self.lstm.hidden_size if i else self.lstm.input_size
            layer = nn.LSTM(inputs, self.lstm.hidden_size, batch_first=True)
            names = layer.state_dict()
            layer.load_state_dict({n: getattr(self.lstm, n.replace("_l0", f"_l{i}")) for n in names})
            layers.append(layer.to(self.linear.weight.device).requires_grad_(False))
        return layers


def _installed() -> Path:
    found = importlib.util.find_spec("resemblyzer")
    if found is None or not found.submodule_search_locations:
        raise CheckpointError(
            "The teacher's weights are not installed: pip install --no-deps resemblyzer (Apache-2.0, 17 MB)."
        )
    return Path(next(iter(found.submodule_search_locations))) / _FILE
