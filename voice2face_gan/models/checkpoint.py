"""A checkpoint is a folder: `config.json` says what the nets are, `model.safetensors` holds them.

    checkpoint/
      config.json         tables encoder {type, ...} and generator {type, ...} (models/registry.py) and
                          controls (models/conditioning.py), log-mel and VAD settings, what it was trained on
      model.safetensors   encoder.*, generator.* (absent in a checkpoint of a voice encoder alone),
                          gender_probe (65,), a logistic regression from the predicted e to "female":
                          weights, then bias;
                          probe.*, what else is told of a voice (models/probes.py); older checkpoints have
                          none or fewer;
                          face_space.*, the face space that the networks were trained on, without the face
                          reader's weights (models/face_space_base.py), where there was one; always float32;
                          voice_simulation.*, voices simulated for its faces (models/voice_simulation.py),
                          where the encoder's fit brought them

Half-precision weights are cast to float32 when loaded. A weight may be kept in 8 bits: NAME.int8 (rows, ...)
and NAME.int8_scale (rows,), whose product it is. No pickle is read.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from voice2face_gan.audio.encoder_input import SPEECH
from voice2face_gan.audio.log_mel import FeatureSettings
from voice2face_gan.errors import CheckpointError, DataError, first_line
from voice2face_gan.files import new_folder
from voice2face_gan.models import hub, registry
from voice2face_gan.models.conditioning import Controls
from voice2face_gan.models.probes import check_probe
from voice2face_gan.models.registry import EncoderConfig, GeneratorConfig
from voice2face_gan.models.voice_simulation import VoiceSimulation
from voice2face_gan.resources import resource
from voice2face_gan.version import __version__

CONFIG, WEIGHTS, FORMAT = "config.json", "model.safetensors", 2
SHIPPED = ("default", "speech2face", "r3gan", "wen2019-small", "synthetic")  # synthetic: no real people
_INT8, _SCALE = ".int8", ".int8_scale"  # of a weight that is kept in 8 bits
_PROBE, _SPACE, _SIMULATION = "probe.", "face_space.", "voice_simulation."
BEST = "best.json"  # in a run folder: names its best checkpoint
HASH_DIGITS = 16  # of SHA-256, in hexadecimal, by which weights are known


class _WithoutDrawing(TorchFunctionMode):
    """Leaves random initial weights out: on the device meta a normal distribution imports PyTorch's compiler,
    which takes seconds."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (Tensor.normal_, Tensor.uniform_) or getattr(func, "__module__", "") == nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


@dataclass
class Checkpoint:
    """What a checkpoint folder holds, ready for use.

    Attributes:
        encoder_config: dimensions of the encoder, its type among them.
        encoder: what it takes of a voice (audio/encoder_input.py) -> e.
        generator_config: dimensions of the generator; None in a checkpoint of a voice encoder alone.
        generator: e, and z where it takes noise -> face; None likewise.
        controls: strength and what else is done to e before the generator takes it.
        gender_probe: (embedding + 1,) float32, or None where the data had no genders.
        features: log-mel settings, a FeatureSettings as dict.
        vad: voice activity settings as dict.
        info: everything else: recipe, data summary, gender, stage, iteration, package version.
        folder: where it was loaded from.
        probes: name in PROBES of models/probes.py -> float32, weights, then bias.
        face_space: `map_tensors` of a face space (models/face_space_base.py), float32; empty where the
            networks were trained on none. `info["face_space"]` says how it was made.
        voice_simulation: how voices are simulated for faces of that space; None where that is not known.
    """

    encoder_config: EncoderConfig
    encoder: nn.Module
    generator_config: GeneratorConfig | None = None
    generator: nn.Module | None = None
    controls: Controls = field(default_factory=Controls)
    gender_probe: Tensor | None = None
    features: dict = field(default_factory=lambda: FeatureSettings().to_dict())
    vad: dict = field(default_factory=dict)
    info: dict = field(default_factory=dict)
    folder: Path | None = None
    probes: dict[str, Tensor] = field(default_factory=dict)
    face_space: dict[str, Tensor] = field(default_factory=dict)
    voice_simulation: VoiceSimulation | None = None

    def __post_init__(self) -> None:
        """
        Raises:
            CheckpointError: encoder, generator and controls are of embeddings of different sizes.
        """
        if self.generator is None:
            self.generator_config = None
        size, generator = self.encoder_config.embedding, self.generator_config
        if generator is not None and generator.embedding != size:
            raise CheckpointError(
                f"The encoder gives {size} numbers a voice, the generator takes {generator.embedding}."
            )
        self.controls.check_size(size)

    def save(self, folder: str | Path, half: bool = False) -> Path:
        """Write the folder anew: to a temporary name first, so that it is whole or not there.

        Args:
            folder: its path; an existing checkpoint there is replaced.
            half: store the weights as float16; in 8 bits those that the generator's settings name (`int8`),
                but for vectors: each row's largest is 127.
        """
        from safetensors.torch import save

        folder = Path(folder)
        with new_folder(folder) as temporary:
            dtype = torch.float16 if half else torch.float32
            tensors, int8 = {}, ()
            if half and self.generator is not None:
                int8 = tuple(f"generator.{name}" for name in self.generator_config.int8)
            for k, v in self.tensors().items():
                if k.startswith(int8) and v.is_floating_point() and v.dim() > 1:
                    tensors[k + _INT8], tensors[k + _SCALE] = _in_8_bits(v)
                else:
                    tensors[k] = _stored(v, torch.float32 if k.startswith(_SPACE) else dtype)
            # Not save_file, which does not say of a full disk what Python says (OSError).
            (temporary / WEIGHTS).write_bytes(save(tensors))
            (temporary / CONFIG).write_text(json.dumps(self.config(), indent=2) + "\n", encoding="utf-8")
        return folder

    def tensors(self) -> dict[str, Tensor]:
        tensors = {f"encoder.{k}": v for k, v in self.encoder.state_dict().items()}
        if self.generator is not None:
            tensors |= {f"generator.{k}": v for k, v in self.generator.state_dict().items()}
        if self.gender_probe is not None:
            tensors["gender_probe"] = self.gender_probe
        tensors |= {f"{_PROBE}{name}": probe for name, probe in self.probes.items()}
        simulation = {} if self.voice_simulation is None else self.voice_simulation.tensors()
        tensors |= {f"{_SIMULATION}{name}": part for name, part in simulation.items()}
        return tensors | {f"{_SPACE}{name}": part for name, part in self.face_space.items()}

    def tables(self) -> dict[str, dict]:
        """The tables encoder, generator (where there is one) and controls of config.json."""
        generator = None if self.generator is None else self.generator_config
        parts = (self.encoder_config, generator, self.controls)
        return {part.table: part.to_dict() for part in parts if part is not None}

    def config(self) -> dict:
        return {
            "format": FORMAT,
            "voice2face_gan": __version__,
            **self.tables(),
            "features": self.features,
            "vad": self.vad,
            **self.info,
        }


def _stored(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    tensor = tensor.detach().cpu()
    return (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous()


def _in_8_bits(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """A weight (rows, ...) as int8 and the float32 scale of each row."""
    tensor = tensor.detach().cpu().float()
    rows = tensor.flatten(1)
    scale = rows.abs().amax(dim=1) / 127
    whole = (rows / scale.clamp(min=torch.finfo(torch.float32).tiny)[:, None]).round()
    return whole.to(torch.int8).view_as(tensor).contiguous(), scale


def _from_8_bits(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file, those in 8 bits as float32."""
    found = {k: v for k, v in tensors.items() if not k.endswith((_INT8, _SCALE))}
    for name in (k.removesuffix(_INT8) for k in tensors if k.endswith(_INT8)):
        whole, scale = tensors[name + _INT8], tensors[name + _SCALE]
        found[name] = (whole.flatten(1).float() * scale[:, None]).view(whole.shape)
    return found


def find_checkpoint(name: str | Path) -> Path:
    """The checkpoint folder that a name means.

    Args:
        name: one of SHIPPED (in the package), a checkpoint folder, a run folder (its newest one), RUN/best
            (its best one by the figures of training), or, where no such file or folder exists, "owner/name"
            or "owner/name@revision" on the Hugging Face hub (see `hub.hub_name`).
    Raises:
        CheckpointError: there is none, or the hub does not give it.
    """
    if str(name) in SHIPPED:
        folder = resource("assets", str(name))
        if not (folder / CONFIG).is_file():
            raise CheckpointError(f"The {name} checkpoint is missing from this installation ({folder}).")
        return folder
    folder = Path(name).expanduser()
    if (folder / CONFIG).is_file():
        return folder
    if folder.name == "best" and (folder.parent / "run.json").is_file():
        return _best_checkpoint(folder.parent)
    # By name the GAN's come after the encoder's, as they do in training; hidden ones are not finished.
    inside = sorted(p for p in folder.glob("checkpoints/[!.]*") if (p / CONFIG).is_file())
    # The finished voice encoder has the probes of the warnings, which those on the way to it have not.
    finished = folder / "encoder"
    if (finished / CONFIG).is_file() and not any(p.name.startswith("gan-") for p in inside):
        return finished
    if inside:
        return inside[-1]
    model = hub.hub_name(name)
    if model is not None:
        return _from_hub(model)
    if not folder.exists():
        raise CheckpointError(
            f"{folder}: no such checkpoint; give a checkpoint folder, a run folder, or one that ships: "
            f"{', '.join(SHIPPED)}."
        )
    raise CheckpointError(f"{folder} is not a checkpoint or a run with one: it has no {CONFIG}.")


def takes_speech(name: str | Path) -> bool:
    """True where the voice encoder of a checkpoint takes speech, which a store has to keep. False for what is
    no checkpoint, which `load_checkpoint` refuses."""
    try:
        config = json.loads((find_checkpoint(name) / CONFIG).read_text(encoding="utf-8"))
        return registry.ENCODERS[config["encoder"]["type"]][1].takes == SPEECH
    except (OSError, ValueError, KeyError, TypeError, CheckpointError):
        return False


def shown_name(name: str | Path, checkpoint: Checkpoint) -> str:
    """A checkpoint's name in messages and in images' metadata: what it was asked for by, where it ships or is
    of the hub, else its folder's."""
    keeps_name = str(name) in SHIPPED or hub.hub_name(name) is not None
    return str(name) if keeps_name else checkpoint.folder.resolve().name


def weights_hash(folder: Path) -> str | None:
    """SHA-256 of a checkpoint's weights file, its first HASH_DIGITS digits; None where there is none."""
    path = Path(folder) / WEIGHTS
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:HASH_DIGITS]


def run_of(checkpoint: Path | None) -> Path | None:
    """The run folder that a checkpoint folder (RUN/checkpoints/NAME or RUN/encoder) lies in, or None."""
    if checkpoint is None:
        return None
    folder = Path(checkpoint).resolve()
    run = folder.parent.parent if folder.parent.name == "checkpoints" else folder.parent
    return run if (run / "run.json").is_file() else None


def _from_hub(model: hub.HubName) -> Path:
    """The two files of a model on the hub, in its cache; nothing else there is read, so no pickle."""
    path = hub.download(model, CONFIG)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        config = None
    # Before the weights: those of another library's model may be many gigabytes.
    if not isinstance(config, dict) or not {"format", "voice2face_gan"} <= config.keys():
        raise CheckpointError(f"{model}: its {CONFIG} on the hub is not that of a voice2face-gan checkpoint.")
    # Of the same commit, whatever is uploaded meanwhile.
    hub.download(model, WEIGHTS, commit=path.parent.name)
    return path.parent


def _best_checkpoint(run: Path) -> Path:
    try:
        best = json.loads((run / BEST).read_text(encoding="utf-8"))
        folder = run / "checkpoints" / best["checkpoint"]
    except FileNotFoundError:
        raise CheckpointError(
            f"{run}: no checkpoint is known to be its best; train with --set run.evaluate_every=N, "
            "or take the newest by giving the run folder."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{run / BEST} cannot be read ({first_line(error)}).") from error
    if not (folder / CONFIG).is_file():
        raise CheckpointError(f"{folder}, the best checkpoint that {run / BEST} names, is missing.")
    return folder


def load_checkpoint(name: str | Path, need_generator: bool = True) -> Checkpoint:
    """Load a checkpoint, nets in evaluation mode, on the CPU, without gradients.

    Args:
        name: see `find_checkpoint`.
        need_generator: refuse a checkpoint of a voice encoder alone.
    Raises:
        CheckpointError: missing, incomplete, of another format, or weights that do not fit the configuration.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = find_checkpoint(name)
    called = folder if hub.hub_name(name) is None else name  # the cache's folders are named by numbers
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        tensors = {
            # A copy: the file's own mapped pages are read a third slower at every use.
            k: v.to(torch.float32 if v.is_floating_point() else v.dtype, copy=True)
            for k, v in _from_8_bits(load_file(folder / WEIGHTS)).items()
        }
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{called}: the checkpoint cannot be read ({first_line(error)}).") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{called}: its {CONFIG} is not that of a checkpoint.")
    _check_format(called, config)
    try:
        encoder_config, generator_config = registry.encoder_config(config["encoder"]), None
        if any(k.startswith("generator.") for k in tensors) or "generator" in config:
            generator_config = registry.generator_config(config["generator"])
        controls = Controls.from_dict(config["controls"])
        controls.check_size(encoder_config.embedding)
        # No time is spent on initial weights that are replaced at once.
        with torch.device("meta"), _WithoutDrawing():
            encoder, generator = registry.build_encoder(encoder_config), None
            if generator_config is not None:
                generator = registry.build_generator(generator_config)
        _fill(encoder, tensors, "encoder.")
        if generator is not None:
            _fill(generator, tensors, "generator.")
            if generator_config.channels_last:
                generator.to(memory_format=torch.channels_last)
        probe = tensors.get("gender_probe")
        if probe is not None and probe.shape != (encoder_config.embedding + 1,):
            raise ValueError(f"gender_probe has the shape {tuple(probe.shape)}")
        probes = {k.removeprefix(_PROBE): v for k, v in tensors.items() if k.startswith(_PROBE)}
        for what, value in probes.items():
            check_probe(what, value, encoder_config.feature_size)
        face_space = {k.removeprefix(_SPACE): v for k, v in tensors.items() if k.startswith(_SPACE)}
        if face_space and registry.face_space_class(face_space) is None:
            raise ValueError("its face space is not whole")
        parts = {k.removeprefix(_SIMULATION): v for k, v in tensors.items() if k.startswith(_SIMULATION)}
        shapes = VoiceSimulation.shapes(encoder_config.embedding)
        if parts and {k: tuple(v.shape) for k, v in parts.items()} != shapes:
            raise ValueError("its simulation of voices is not whole")
        features = FeatureSettings.from_dict(config["features"]).to_dict()
        vad = dict(config["vad"])
    except CheckpointError as error:
        raise CheckpointError(f"{called}: its {CONFIG} cannot be used. {error}") from error
    except KeyError as error:
        raise CheckpointError(f"{called}: its {CONFIG} has no entry {error}.") from error
    except (RuntimeError, TypeError, ValueError, AttributeError, DataError) as error:
        raise CheckpointError(f"{called}: weights and {CONFIG} do not fit ({first_line(error)}).") from error
    if generator is None and need_generator:
        raise CheckpointError(
            f"{called} holds a voice encoder alone; "
            f"train a generator on it with `v2f-gan train --encoder {called}`."
        )
    known = ("format", "encoder", "generator", "controls", "features", "vad")
    return Checkpoint(
        encoder_config=encoder_config,
        encoder=encoder,
        generator_config=generator_config,
        generator=generator,
        controls=controls,
        gender_probe=probe,
        probes=probes,
        face_space=face_space,
        voice_simulation=VoiceSimulation(**parts) if parts else None,
        features=features,
        vad=vad,
        info={k: v for k, v in config.items() if k not in known},
        folder=folder,
    )


def _check_format(called: str | Path, config: dict) -> None:
    """
    Raises:
        CheckpointError: another version made the checkpoint, which this one does not read.
    """
    number = config.get("format")
    if number == FORMAT:
        return
    if isinstance(number, int) and number < FORMAT:
        raise CheckpointError(
            f"{called} was made by an older version of voice2face-gan (checkpoint format {number}; this "
            f"version reads {FORMAT}); train it again, or use the version that made it."
        )
    raise CheckpointError(f"{called}: checkpoint format {number}, but this version reads {FORMAT}.")


def _fill(net: nn.Module, tensors: dict[str, Tensor], prefix: str) -> None:
    state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    net.load_state_dict(state, assign=True)
    net.eval().requires_grad_(False)
