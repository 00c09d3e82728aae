"""A checkpoint as ONNX graphs, for phones, browsers and servers without PyTorch.

    FOLDER/encoder.onnx    log_mel (batch, 64, frames) -> e (batch, embedding), normalised where the model is
                            [, speech (batch,), child (batch,), several (batch,)]
    FOLDER/generator.onnx   e [, z (batch, z_dim)] -> face (batch, 3, side, side)
    FOLDER/config.json      their inputs and outputs, value ranges, log-mel and VAD settings
    FILE.onnx               both as one graph, log_mel [, z] -> face [, speech, child, several]; the same
                            config inside it, as metadata

Speech, child and several are probabilities, where the checkpoint has such probes: by them the pipeline
warns. All float32; batch and frames are free. What is written was run by ONNX Runtime on random inputs
beside PyTorch, where the package is installed; a graph that differs is not written.
"""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from voice2face_gan.audio.encoder_input import RAW_LOG_MEL, SPEECH
from voice2face_gan.device import full_precision
from voice2face_gan.errors import OutputError, first_line
from voice2face_gan.files import new_folder, write_bytes
from voice2face_gan.models.checkpoint import Checkpoint
from voice2face_gan.models.conditioning import Controls, condition
from voice2face_gan.models.probes import PROBES, read_voice
from voice2face_gan.models.registry import check_takes_voices
from voice2face_gan.version import __version__

CONFIG, ENCODER, FORMAT = "config.json", "encoder.onnx", 1
METADATA = "voice2face_gan"  # the key of the config in a single file
LIMIT = 1e-3  # of the difference from PyTorch; two orders above float32's rounding
_OPSET = 18
_TRIALS = ((1, 1000), (3, 257), (2, 1))  # (batch, frames) compared

_MEANING = {
    "log_mel": "of the speech, each bin of mean 0 and variance 1 over the clip, repeated to min_frames",
    "e": "the voice embedding as the generator takes it",
    "z": "standard normal noise; zeros give the plain face",
    "face": "RGB; pixel = min(max(round(127.5 face + 127.5), 0), 255)",
    "speech": "probability that somebody speaks, rather than noise, machines, music or animals being heard",
    "child": "probability that a child younger than 13 speaks, rather than an adult",
    "several": "probability that more than one person speaks, one after the other",
}
_RAW_LOG_MEL = "of the speech, not normalised, repeated to min_frames"


class Voice(nn.Module):
    """log_mel (B, mel_bins, T) -> e (B, embedding), as the pipeline hands it to the generator, and of each
    probe in `names` its probability (B,)."""

    def __init__(self, checkpoint: Checkpoint):
        super().__init__()
        self.encoder, self.controls = checkpoint.encoder, checkpoint.controls
        self.names = [name for name in PROBES if name in checkpoint.probes]
        for name in self.names:
            self.register_buffer(f"probe_{name}", checkpoint.probes[name])

    def forward(self, log_mel: Tensor) -> tuple[Tensor, ...]:
        probes = {name: getattr(self, f"probe_{name}") for name in self.names}
        e, told = read_voice(self.encoder, probes, log_mel)
        return condition(e, self.controls), *told.values()


class Whole(nn.Module):
    """log_mel (B, mel_bins, T), and z (B, z_dim) where the generator takes noise -> face, and what the probes
    tell."""

    def __init__(self, checkpoint: Checkpoint):
        super().__init__()
        self.voice, self.generator = Voice(checkpoint), checkpoint.generator

    def forward(self, log_mel: Tensor, z: Tensor | None = None) -> tuple[Tensor, ...]:
        e, *told = self.voice(log_mel)
        return self.generator(e) if z is None else self.generator(e, z), *told


@dataclass(frozen=True)
class Graph:
    """A net to be written.

    Attributes:
        file: its file's name.
        net: called with the inputs in order; gives the outputs in order, or the only one.
        inputs, outputs: name -> shape; "batch" and "frames" are free.
    """

    file: str
    net: nn.Module
    inputs: dict[str, tuple[str | int, ...]]
    outputs: dict[str, tuple[str | int, ...]]

    def example(self, batch: int, frames: int, seed: int = 0) -> list[Tensor]:
        """Standard normal inputs, which is what log-mels and noise are like."""
        sizes, random = {"batch": batch, "frames": frames}, torch.Generator().manual_seed(seed)
        shapes = [[sizes.get(n, n) for n in shape] for shape in self.inputs.values()]
        inputs = dict(zip(self.inputs, (torch.randn(s, generator=random) for s in shapes), strict=True))
        if "e" in inputs:
            inputs["e"] = nn.functional.normalize(inputs["e"], dim=1)
        return list(inputs.values())


def graphs_of(checkpoint: Checkpoint, single: str | None = None) -> list[Graph]:
    """The encoder and the generator, or both in one file of the name `single`."""
    encoder, generator = checkpoint.encoder_config, checkpoint.generator_config
    log_mel = {"log_mel": ("batch", encoder.mel_bins, "frames")}
    e = {"e": ("batch", encoder.embedding)}
    face = {"face": ("batch", 3, generator.side, generator.side)}
    z = {"z": ("batch", generator.z_dim)} if generator.z_dim else {}
    told = {name: ("batch",) for name in PROBES if name in checkpoint.probes}
    if single:
        return [Graph(single, Whole(checkpoint).eval(), log_mel | z, face | told)]
    return [
        Graph(ENCODER, Voice(checkpoint).eval(), log_mel, e | told),
        Graph("generator.onnx", checkpoint.generator, e | z, face),
    ]


def export_onnx(checkpoint: Checkpoint, output: str | Path, opset: int = _OPSET) -> dict:
    """Write a checkpoint as ONNX. What is at `output` is replaced.

    Args:
        checkpoint: with a generator, on the CPU, in evaluation mode.
        output: a folder, or a file that ends in ".onnx".
        opset: version of ONNX's operators.
    Returns:
        The config; of each graph `max_abs_difference` from PyTorch in full precision on random inputs, None
        where ONNX Runtime is not installed.
    Raises:
        OutputError: the voice encoder takes speech, a package is missing, the opset is not to be had, or a
            graph differs from PyTorch by more than 1e-3. Nothing is written then.
        CheckpointError: the checkpoint has no voice encoder.
    """
    if checkpoint.encoder.takes == SPEECH:
        raise OutputError(
            f"A voice encoder of the type '{checkpoint.encoder_config.type}' takes speech, and the "
            "spectrogram that it makes is not written as ONNX; export a checkpoint whose encoder takes "
            "log-mels."
        )
    output = Path(output)
    single = output.name if output.suffix == ".onnx" else None
    check_takes_voices(checkpoint.encoder_config, f"The checkpoint {checkpoint.folder or ''}".rstrip())
    protos, about = {}, {}
    for graph in graphs_of(checkpoint, single):
        proto = to_onnx(graph, opset)
        difference = largest_difference(graph, proto.SerializeToString())
        if difference is not None and not difference <= LIMIT:  # nor where it is no number
            raise OutputError(
                f"{graph.file}: ONNX Runtime's result differs from PyTorch's by {difference:.2g}, more than "
                f"{LIMIT:g}; nothing was written."
            )
        protos[graph.file] = proto
        about[graph.file] = _describe(graph, checkpoint.encoder.takes) | {"max_abs_difference": difference}
    config = _config(checkpoint, about, opset)
    text = json.dumps(config, indent=2) + "\n"
    if single:
        entry = protos[single].metadata_props.add()
        entry.key, entry.value = METADATA, text
        output.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(output, protos[single].SerializeToString())
        return config
    with new_folder(output) as temporary:
        for file, proto in protos.items():
            (temporary / file).write_bytes(proto.SerializeToString())
        (temporary / CONFIG).write_text(text, encoding="utf-8")
    return config


def to_onnx(graph: Graph, opset: int = _OPSET):
    """The graph as onnx.ModelProto, checked by ONNX's own checker.

    Raises:
        OutputError: a package is missing or the opset is not to be had.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  torch.onnx writes by it
    except ImportError:
        raise OutputError(
            "Writing ONNX needs onnx and onnxscript: pip install 'voice2face-gan[export]'."
        ) from None
    if opset > onnx.defs.onnx_opset_version():
        newest = onnx.defs.onnx_opset_version()
        raise OutputError(f"ONNX opset {opset} is newer than what the onnx package knows ({newest}).")
    free = [{i: n for i, n in enumerate(s) if isinstance(n, str)} for s in graph.inputs.values()]
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                graph.net,
                # Sizes of 0 and 1 would be taken for fixed.
                tuple(graph.example(batch=2, frames=100)),
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                dynamic_shapes=tuple(free),
                opset_version=opset,
                external_data=False,
                dynamo=True,
                verbose=False,
            )
        proto = program.model_proto
        onnx.checker.check_model(proto)
    except Exception as error:  # torch.onnx, onnxscript and onnx have no base of errors in common
        raise OutputError(
            f"{graph.file} cannot be written as ONNX of opset {opset} ({first_line(error)}); "
            f"opset {_OPSET} is usual."
        ) from error
    written = {o.domain: o.version for o in proto.opset_import}.get("")
    if written != opset:  # the converter leaves what it cannot convert
        raise OutputError(
            f"{graph.file}: this PyTorch writes opset {written}, not {opset}; opset {_OPSET} is usual."
        )
    _strip(proto)
    return proto


def largest_difference(graph: Graph, content: bytes) -> float | None:
    """Of ONNX Runtime's results from PyTorch's, on random inputs of several sizes; None without it."""
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    largest = 0.0
    for seed, (batch, frames) in enumerate(_TRIALS):
        inputs = graph.example(batch, frames, seed)
        found = session.run(None, {n: x.numpy() for n, x in zip(graph.inputs, inputs, strict=True)})
        with torch.inference_mode(), full_precision():
            wanted = graph.net(*inputs)
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        if [x.shape for x in found] != [tuple(x.shape) for x in wanted]:
            return float("inf")
        for ours, theirs in zip(found, wanted, strict=True):
            difference = (torch.from_numpy(ours) - theirs).abs().max()
            largest = max(largest, float(difference.nan_to_num(nan=float("inf"))))
    return largest


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' notes on themselves."""
    levels = {
        logger: logger.level for logger in map(logging.getLogger, ("torch.onnx", "onnxscript", "onnx_ir"))
    }
    try:
        for logger in levels:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


def _strip(proto) -> None:
    """Take out the exporter's notes, stack traces with this machine's paths in them."""
    graph = proto.graph
    for item in (
        proto,
        graph,
        *graph.node,
        *graph.initializer,
        *graph.value_info,
        *graph.input,
        *graph.output,
    ):
        del item.metadata_props[:]
        item.doc_string = ""


def _describe(graph: Graph, takes: str) -> dict:
    meaning = _MEANING | ({"log_mel": _RAW_LOG_MEL} if takes == RAW_LOG_MEL else {})
    return {
        part: {name: {"shape": list(shape), "is": meaning[name]} for name, shape in what.items()}
        for part, what in (("inputs", graph.inputs), ("outputs", graph.outputs))
    }


def _config(checkpoint: Checkpoint, graphs: dict, opset: int) -> dict:
    controls, probe = checkpoint.controls, checkpoint.gender_probe
    again = ", then e / |e| again" if controls.normalise_embedding else ", s times |e|"
    return {
        "format": FORMAT,
        "voice2face_gan": __version__,
        "opset": opset,
        "dtype": "float32",
        "graphs": graphs,
        "compared_with": _runtime(),
        "face_range": [-1, 1],
        "normalise_embedding": controls.normalise_embedding,
        "embedding_noise_std": controls.embedding_noise_std,
        "variants": f"e + s * standard normal noise{again}; s is the embedding_noise_std above",
        "features": checkpoint.features,
        "vad": checkpoint.vad,
        "gender_probe": None if probe is None else _probe(probe.tolist(), controls),
        **checkpoint.tables(),
        "checkpoint": checkpoint.info,
    }


def _probe(numbers: list[float], controls: Controls) -> dict:
    """For e as the graph gives it, the strength in it; the soft clip, which is not linear, is left aside."""
    meaning = 'sigmoid(e . weights + bias) is the probability of the label "female"'
    strength = controls.strength or 1.0
    numbers = [*(x / strength for x in numbers[:-1]), numbers[-1]]
    return {"is": meaning, "weights": numbers[:-1], "bias": numbers[-1]}


def _runtime() -> str | None:
    try:
        import onnxruntime
    except ImportError:
        return None
    return f"onnxruntime {onnxruntime.__version__}"
