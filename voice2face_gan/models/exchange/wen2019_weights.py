"""Weights of the released code of Wen et al. (cmu-mlsp/reconstructing_faces_from_voices) -> our checkpoint.

Two files, each a PyTorch state dict: the voice encoder and the generator. Layers are told by order and
shape, not by name, so `module.` prefixes and other names of the same layers do not matter.

    voice encoder  (convolution of kernel 3 without bias, BatchNorm1d) x n, then a convolution with bias;
                    or one without and a fifth BatchNorm1d, as in the paper's Table 1
    generator       up-convolutions of kernels 4, k, k, k, k, 1 with bias, k = 4 (released) or 3 (paper); with
                    or without BatchNorm2d after each of the first five

No pickled code is run: what is more than tensors is refused.
"""

import hashlib
import io
import re
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from voice2face_gan.audio.log_mel import FeatureSettings
from voice2face_gan.audio.vad import VadSettings
from voice2face_gan.errors import CheckpointError, first_line
from voice2face_gan.models import registry
from voice2face_gan.models.checkpoint import Checkpoint
from voice2face_gan.models.conditioning import Controls
from voice2face_gan.models.encoders.conv import ConvEncoderConfig
from voice2face_gan.models.generators.wen2019 import Wen2019GeneratorConfig

# Of the released code (utils.py, rm_sil): it looks back on 50 ms, two whole frames, where we look on three;
# its log-mel is our default.
RELEASED_VAD = VadSettings(aggressiveness=2, frame_ms=20, padding_ms=50, ratio=0.9)
_UP_CONVOLUTIONS = 6  # 1 -> 4 -> 8 -> 16 -> 32 -> 64 pixels, then to RGB
_NORM = {"weight", "bias", "running_mean", "running_var"}
_COUNT = "num_batches_tracked"  # files from before PyTorch 0.4.1 have none; evaluation does not use it
_DEPTH = 3  # of wrappers in wrappers
_WRAPPERS = ("state_dict", "model_state_dict", "net", "model")


@dataclass
class Layer:
    """One layer's tensors by their last names ("weight", "bias", ...), and their full names by the same."""

    tensors: dict[str, Tensor]
    names: dict[str, str]

    @property
    def is_norm(self) -> bool:
        return "running_mean" in self.tensors


def convert_wen(
    voice_embedding: str | Path, generator: str | Path, tanh: bool | None = None, normalise: bool = True
) -> Checkpoint:
    """The checkpoint that two released files hold, nets in evaluation mode.

    Args:
        voice_embedding, generator: the files.
        tanh: the generator ends in tanh, which its tensors do not show; None for yes where it has BatchNorm2d
            (the poster's variant), else no (the released one).
        normalise: the generator takes e / |e|, as in the released code; the paper has e itself.
    Raises:
        CheckpointError: a file cannot be read, holds more than tensors, or a tensor does not fit; the message
            names the file and the first such tensor.
    """
    files = [Path(voice_embedding), Path(generator)]
    contents = [_read(path) for path in files]
    voice, image = (_layers(path, _state(path, data)) for path, data in zip(files, contents, strict=True))
    if _weight(voice[0]).dim() == 4 and _weight(image[0]).dim() == 3:
        raise CheckpointError(
            f"{files[0]} holds a generator and {files[1]} a voice encoder; give the voice encoder first."
        )
    encoder = _encoder_config(_Stack(files[0], "voice encoder", voice))
    made = _generator_config(_Stack(files[1], "generator", image), encoder.embedding, tanh)
    controls = Controls(normalise_embedding=normalise, embedding_noise_std=0.05 if normalise else 0.0)
    nets = registry.build_encoder(encoder), registry.build_generator(made)
    for net, layers in zip(nets, (voice, image), strict=True):
        _fill(net, layers)
    sources = {
        role: {"file": path.name, "sha256": hashlib.sha256(data).hexdigest()}
        for role, path, data in zip(("voice_encoder", "generator"), files, contents, strict=True)
    }
    about = {
        "converted_from": {"layout": "wen", **sources},
        "recognised": recognised(encoder, made, controls),
    }
    return Checkpoint(encoder, nets[0], made, nets[1], controls, vad=asdict(RELEASED_VAD), info=about)


def recognised(
    encoder: ConvEncoderConfig, generator: Wen2019GeneratorConfig, controls: Controls
) -> dict[str, str]:
    """What the nets were taken for, in words."""
    voice = " -> ".join(map(str, (encoder.mel_bins, *encoder.channels, encoder.embedding)))
    faces = " -> ".join(map(str, (generator.embedding, *generator.channels, 3)))
    last = "BatchNorm and ReLU after the last convolution" if encoder.norm_last else "last one plain"
    norm = "BatchNorm2d" if generator.norm == "batch" else "no norm"
    taken = "e / |e|" if controls.normalise_embedding else "e as it is"
    return {
        "voice_encoder": f"{voice}, {last}",
        "generator": f"{faces}, kernels {generator.kernel} x {generator.kernel}, {norm}, "
        f"{generator.output} output, takes {taken}",
    }


# Reading


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror or error}).") from error


def _state(path: Path, content: bytes) -> dict[str, Tensor]:
    """The tensors of a file by name, in its order, taken out of wrappers like {"net": ...}."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols; what is wrong comes as an error too
            found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the unpickler fail in any way there is
        asked = re.search(r"GLOBAL:? ([\w.]+)", str(error))
        if asked:
            raise CheckpointError(
                f"{path} holds more than tensors ({asked[1]}), which could run code, and was not opened; "
                "save its net's state_dict() alone."
            ) from None
        # The unpickler's own advice, to switch its guard off, is none that we pass on.
        why = "" if "Weights only load failed" in str(error) else f" ({first_line(error)})"
        raise CheckpointError(
            f"{path} cannot be read as PyTorch weights{why}; it is damaged or something else."
        ) from error
    for _ in range(_DEPTH):
        inside = (
            {k: v for k, v in found.items() if isinstance(v, Mapping)} if isinstance(found, Mapping) else {}
        )
        named = [k for k in _WRAPPERS if k in inside]
        if named or len(inside) == 1:
            found = inside[named[0]] if named else next(iter(inside.values()))
    if not isinstance(found, Mapping) or not any(isinstance(v, Tensor) for v in found.values()):
        raise CheckpointError(f"{path} holds no state dict of a net.")
    for name, value in found.items():
        plain = isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided
        # Strides of zero would let a small file ask for any amount of memory.
        if not plain or value.numel() * value.element_size() > len(content):
            raise CheckpointError(f"{path}: its entry {name!r} is no plain tensor.")
        if value.is_floating_point() and not value.isfinite().all():
            raise CheckpointError(f"{path}: the tensor '{name}' holds values that are not finite.")
    return dict(found)


def _layers(path: Path, state: dict[str, Tensor]) -> list[Layer]:
    """The tensors layer by layer: in the order of the numbers in an nn.Sequential, else of the file."""
    layers: dict[str, Layer] = {}
    for name, tensor in state.items():
        stem, _, last = name.rpartition(".")
        layer = layers.setdefault(stem, Layer({}, {}))
        layer.tensors[last], layer.names[last] = tensor, name
    numbers = [re.fullmatch(r"(.*?)(\d+)", stem) for stem in layers]
    if all(numbers) and len({n[1] for n in numbers}) == 1:  # sorted by name, "10" comes before "2"
        layers = dict(sorted(layers.items(), key=lambda item: int(re.search(r"\d+$", item[0])[0])))
    return list(layers.values())


def _weight(layer: Layer | None) -> Tensor:
    """A layer's weight; without one, a tensor of no dimension."""
    return torch.zeros(()) if layer is None else layer.tensors.get("weight", torch.zeros(()))


# Fitting


class _Stack:
    """A file's layers, taken one by one; the first tensor that does not fit ends it with its name."""

    def __init__(self, path: Path, net: str, layers: list[Layer]):
        self.path, self.net, self.layers, self.place = path, net, layers, 0

    @property
    def next(self) -> Layer | None:
        return self.layers[self.place] if self.place < len(self.layers) else None

    def refuse(self, name: str, tensor: Tensor, wanted: str):
        raise CheckpointError(
            f"{self.path}: the tensor '{name}' {tuple(tensor.shape)} does not fit the {self.net} "
            f"of Wen et al. ({wanted})."
        )

    def take(self, wanted: str, shapes: dict[str, tuple[int | None, ...]]) -> Layer:
        """The next layer, whose tensors must have these shapes (None is any size) and be all it has."""
        layer = self.next
        if layer is None:
            raise CheckpointError(f"{self.path} ends before the {self.net} of Wen et al. does ({wanted}).")
        for last, tensor in layer.tensors.items():
            counts = last == _COUNT and "running_mean" in shapes
            shape = () if counts else shapes.get(last)
            if shape is None or not _fits(tensor, shape) or not (counts or tensor.is_floating_point()):
                self.refuse(layer.names[last], tensor, wanted)
        for last in shapes:
            if last not in layer.tensors:
                name, tensor = next(iter(zip(layer.names.values(), layer.tensors.values(), strict=True)))
                self.refuse(name, tensor, f"no '{last}' beside it; {wanted}")
        self.place += 1
        return layer

    def norm(self, channels: int) -> None:
        self.take(f"expected a BatchNorm of {channels} channels", {last: (channels,) for last in _NORM})

    def end(self, wanted: str) -> None:
        if self.next is not None:
            last = next(iter(self.next.tensors))
            self.refuse(self.next.names[last], self.next.tensors[last], wanted)


def _fits(tensor: Tensor, shape: tuple[int | None, ...]) -> bool:
    sizes = zip(tensor.shape, shape, strict=False)
    return tensor.dim() == len(shape) and all(wanted in (None, size) for size, wanted in sizes)


def _encoder_config(stack: _Stack) -> ConvEncoderConfig:
    """The dimensions that a voice encoder's layers show."""
    width, channels, norm_last = FeatureSettings().n_mels, [], False
    # What is missing of two, the least there can be, is named below.
    convolutions = max(2, sum(_weight(layer).dim() == 3 for layer in stack.layers))
    for number in range(convolutions):
        last, layer = number == convolutions - 1, stack.next
        plain = last and layer is not None and ("bias" in layer.tensors or layer is stack.layers[-1])
        wanted = f"expected a convolution (channels, {width}, 3) with{'' if plain else 'out'} bias"
        size = len(_weight(layer)) if _weight(layer).dim() == 3 else None
        stack.take(wanted, {"weight": (None, width, 3)} | ({"bias": (size,)} if plain else {}))
        if not plain:
            stack.norm(size)
            norm_last = last
        channels.append(size)
        width = size
    stack.end("no layer comes after the last convolution")
    *channels, embedding = channels
    return ConvEncoderConfig(FeatureSettings().n_mels, embedding, tuple(channels), norm_last)


def _generator_config(stack: _Stack, embedding: int, tanh: bool | None) -> Wen2019GeneratorConfig:
    """The dimensions that a generator's layers show; None: it ends in tanh where it has BatchNorm2d."""
    norm = len(stack.layers) > 1 and stack.layers[1].is_norm
    width, kernel, channels = embedding, None, []
    for number in range(_UP_CONVOLUTIONS):
        weight = _weight(stack.next)
        out, seen = (weight.shape[1], weight.shape[3]) if weight.dim() == 4 else (None, None)
        if number == 0:
            side, said = 4, "4, 4"
        elif number == _UP_CONVOLUTIONS - 1:
            side, said, out = 1, "1, 1", 3
        else:
            kernel = seen if kernel is None and seen in (3, 4) else kernel
            side, said = kernel, f"{kernel}, {kernel}" if kernel else "4, 4 or 3, 3"
        wanted = f"expected an up-convolution ({width}, {'3' if side == 1 else 'channels'}, {said}) with bias"
        # No kernel has side 0: where neither 3 nor 4 came, nothing fits.
        stack.take(wanted, {"weight": (width, out, side or 0, side or 0), "bias": (out,)})
        if side != 1:
            channels.append(out)
            if norm:
                stack.norm(out)
        width = out
    stack.end("no layer comes after the one to RGB")
    return Wen2019GeneratorConfig(
        embedding=embedding,
        channels=tuple(channels),
        kernel=kernel,
        norm="batch" if norm else "none",
        output="tanh" if (norm if tanh is None else tanh) else "linear",
    )


def _fill(net: nn.Module, layers: list[Layer]) -> None:
    """Our net's layers with tensors take those of the file's, in order."""
    ours = [module for module in net.model if module.state_dict()]
    for module, layer in zip(ours, layers, strict=True):
        state = module.state_dict()  # a count that the file lacks keeps its zero
        module.load_state_dict(state | {k: v.to(state[k].dtype) for k, v in layer.tensors.items()})
    net.eval().requires_grad_(False)
