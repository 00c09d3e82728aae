"""A recipe is a TOML file in experiments/: the whole difference between two runs.

    base = "wen2019"          # start from another recipe; what follows overrides it
    architecture = "wen2019"
    [model]                   # dimensions, see the architecture's configuration (models/wen2019.py)
    [data]  [embedder]  [gan]  [run]

`--set gan.batch=64` overrides one key for one run. Unknown keys are refused with the nearest known one, keys
that have no effect beside the others (keys.py) with the reason.
"""

import difflib
import os
import tomllib
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from voice2face_gan.errors import CheckpointError, RecipeError
from voice2face_gan.models.registry import ARCHITECTURES, model_config
from voice2face_gan.resources import resource, resources
from voice2face_gan.training.recipe.checks import check_keys, check_values, typed
from voice2face_gan.training.recipe.keys import check_effect, settle


@dataclass(frozen=True)
class DataRecipe:
    """What a batch is made of.

    Args:
        gender: "female", "male" or "all": whose records are used; `train --gender` overrides it.
        split: "train" (the store's training identities) or "all" (every identity, as the poster did).
        crop_frames: shortest and longest random crop of a voice, in frames of 10 ms; one length a batch.
        flip: mirror half of the real faces.
        hold_out_clip: leave out the last voice of each training identity that has two or more. Wen et al. ask
            their classifier who of the training people a face made from an unheard voice of theirs is
            (closed-set identity, section 4.2): without an unheard voice that cannot be asked. The poster
            trained on every clip.
    """

    gender: str = "all"
    split: str = "train"
    crop_frames: tuple[int, int] = (300, 800)
    flip: bool = True
    hold_out_clip: bool = True


@dataclass(frozen=True)
class EmbedderRecipe:
    """The voice embedder's pretraining: speaker classification with cross-entropy (Wen et al., issue 9 of
    their repository says so; the paper does not), or with a space distillation of a teacher
    (training/stages/distillation.py).

    Args:
        iterations, batch: length of the stage.
        lr, betas, weight_decay: of AdamW; the rate falls to zero along half a cosine. With a space lr and
            betas are Adam's (training/stages/layerwise_distillation.py).
        crop_frames: shortest and longest random crop of a voice, in frames of 10 ms; one length a batch. With
            a space crops are of 1.6 s.
        augment: share of a batch's clips that are distorted: noise, babble, rooms, bands, codecs, gain, speed
            (audio/augment/policy.py), or what can be done to a log-mel where the store keeps no speech.
        augment_snr: lowest and highest signal-to-noise ratio of the noise, in dB.
        augment_speed: a distorted clip is at most so much faster or slower, as a part of 1.
        space: folder of a face space (`v2f-gan face-space`): the embedder learns to give its e, from a
            teacher and from the people who have both voices and faces. Empty for speaker classification.
        teacher: file of the teacher's weights; empty for those of the installed package resemblyzer; with a
            space.
        speeds: at which every clip is heard, in order; between the outermost it is heard as further speakers
            too (training/augmentation/speaker_perturbation.py); with a space.
    """

    iterations: int = 20_000
    batch: int = 64
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-4
    crop_frames: tuple[int, int] = (300, 800)
    augment: float = 0.0
    augment_snr: tuple[float, float] = (0.0, 20.0)
    augment_speed: float = 0.03
    space: str = ""
    teacher: str = ""
    speeds: tuple[float, ...] = (0.8, 0.9, 1.0, 1.11, 1.25)


@dataclass(frozen=True)
class GanRecipe:
    """The adversarial stage (Wen et al., Algorithm 1).

    Args:
        iterations, batch: length of the stage.
        lr, betas: of Adam, for generator, trunk, discriminator and classifier alike.
        identity: weight of the identity loss in the judges' step, beside the adversarial one.
        fool, likeness: weights of the two losses in the generator's step.
        pixel: weight of the mean absolute difference (of values in [-1, 1]) between the generated face and a
            real face of the voice's identity (SF2F, Bai et al. 2022, takes 10). Above 0 the real faces of a
            batch are of its voices' identities; Wen et al. draw them independently.
        decay: share of the iterations, the last ones, over which the learning rate falls evenly to zero.
        ema: decay of the average of the generator's weights per iteration; 0 keeps the last weights.
    """

    iterations: int = 50_000
    batch: int = 128
    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    identity: float = 1.0
    fool: float = 1.0
    likeness: float = 1.0
    pixel: float = 0.0
    decay: float = 0.0
    ema: float = 0.0


@dataclass(frozen=True)
class ModernRecipe:
    """What the modern adversarial stage adds to [gan] (training/stages/r3gan.py); space, heard, strength and
    whole also serve Wen et al.'s nets.

    Args:
        loss: "relativistic" (a generated face against the real one of the same pair) or "softplus" (each
            against zero, non-saturating).
        gamma, gamma_end: weight of the zero-centred gradient penalties R1 + R2 at the beginning and at the
            end, along half a cosine; 0 and 0 for none.
        penalty_share: share of each batch on which the penalties are computed, above 0 to 1.
        augment: probability of each kind of augmentation of what the discriminator sees.
        read: weight of the loss that a generated face give back its embedding, 0 for none.
        paired: the real faces of a batch are of its voices' identities; projection needs it.
        space: folder of a face space (`v2f-gan face-space`), or "checkpoint" for the one that the voice
            embedder's checkpoint keeps: all faces teach, each with its own e, and the space reads e back from
            what is generated (training/stages/face_embedding.py). Empty for none.
        read_space: weight of that reading.
        read_from: share of the iterations without that reading; it sets in evenly over as many again.
        heard: share of a batch whose e is what a voice would have given; with a space.
        strength: lowest and highest factor of that e; with a space.
        whole: least share of a batch that are faces wholly within their pictures; with a space. Of the others
            what lies beyond the pictures' edges teaches nothing.
    """

    loss: str = "relativistic"
    gamma: float = 2.0
    gamma_end: float = 0.2
    penalty_share: float = 0.25
    augment: float = 0.3
    read: float = 1.0
    paired: bool = True
    space: str = ""
    read_space: float = 2.0
    read_from: float = 0.1
    heard: float = 0.5
    strength: tuple[float, float] = (0.5, 3.0)
    whole: float = 0.0


@dataclass(frozen=True)
class RunRecipe:
    """How a run is done; changes no mathematics.

    Args:
        precision: "bf16" (autocast), "fp32", or "auto": bf16 where the processor multiplies it natively.
        compile: torch.compile the adversarial stage's nets; needs a C++ compiler on a CPU, Triton on a GPU.
        checkpoint_every, grid_every, log_every: iterations.
        keep: checkpoints kept, the newest ones; the best is kept besides.
        evaluate_every: iterations of the GAN stage between evaluations on validation people; 0 for none.
        best: the figure that says which checkpoint is the best (training/run/tracked_metrics.py).
        tensorboard: "auto" (events are written where TensorBoard is installed), "on" or "off"; true and false
            mean the same as the last two.
    """

    precision: str = "auto"
    compile: bool = False
    checkpoint_every: int = 250
    grid_every: int = 250
    log_every: int = 10
    keep: int = 2
    evaluate_every: int = 0
    best: str = "fid_trunk"
    tensorboard: str = "auto"


@dataclass(frozen=True)
class Recipe:
    """A resolved recipe.

    Attributes:
        model: the architecture's settings, checked.
        idle: keys without an effect in this recipe, and why; they have the values that the stages expect.
    """

    name: str
    architecture: str
    model: dict
    data: DataRecipe = field(default_factory=DataRecipe)
    embedder: EmbedderRecipe = field(default_factory=EmbedderRecipe)
    gan: GanRecipe = field(default_factory=GanRecipe)
    modern: ModernRecipe = field(default_factory=ModernRecipe)
    run: RunRecipe = field(default_factory=RunRecipe)
    idle: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    def to_dict(self) -> dict:
        """Name, architecture and every key that has an effect, in nested plain settings."""
        about = asdict(self)
        for key in about.pop("idle"):
            section, _, name = key.partition(".")
            about[section].pop(name, None)
        return {k: v for k, v in about.items() if v != {}}


_SECTIONS = {
    "data": DataRecipe,
    "embedder": EmbedderRecipe,
    "gan": GanRecipe,
    "modern": ModernRecipe,
    "run": RunRecipe,
}
_TOP = ("base", "description", "architecture", "model", *_SECTIONS)


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return [path.stem for path in resources("recipes", "*.toml")]


def load_recipe(name: str, overrides: tuple[str, ...] = ()) -> Recipe:
    """A recipe by name or by path of a TOML file, with overrides like "gan.batch=64".

    Raises:
        RecipeError: no such recipe, a file that is not TOML, an unknown key, a value of the wrong type or out
            of its range, a key that is set by the file itself or by an override and has no effect.
    """
    own, tree = _read(name, ())
    stem = Path(name).stem
    keys = [f"{section}.{key}" for section, part in own.items() if isinstance(part, dict) for key in part]
    recipe = build_recipe(stem, tree, keys)
    return _overridden(stem, tree, overrides) if overrides else recipe


def kept_recipe(about: dict, overrides: tuple[str, ...] = ()) -> Recipe:
    """The recipe that a checkpoint or a run keeps, with overrides as `load_recipe` takes them."""
    return _overridden(str(about.get("name", "")), {k: v for k, v in about.items() if k != "name"}, overrides)


def override_keys(overrides: tuple[str, ...]) -> list[str]:
    """The keys of overrides such as "gan.batch=64"."""
    return [text.partition("=")[0].strip() for text in overrides]


def _overridden(name: str, tree: dict, overrides: tuple[str, ...]) -> Recipe:
    tree = {k: dict(v) if isinstance(v, dict) else v for k, v in tree.items()}
    for override in overrides:
        _override(tree, override)
    return build_recipe(name, tree, override_keys(overrides))


def build_recipe(name: str, tree: dict, keys=()) -> Recipe:
    """A recipe from nested settings, as read from TOML or from a run folder.

    Args:
        name: of the recipe.
        tree: the settings.
        keys: "section.key" of those that must have an effect.
    Raises:
        RecipeError: as `load_recipe`.
    """
    check_keys(name, tree, _TOP, "")
    architecture = tree.get("architecture", "wen2019")
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        raise RecipeError(
            f"Recipe {name}: unknown architecture {architecture!r}; known are {', '.join(ARCHITECTURES)}."
        )
    if not isinstance(tree.get("description", ""), str):
        raise RecipeError(f"Recipe {name}: 'description' must be text, not {tree['description']!r}.")
    kinds = {"model": ARCHITECTURES[architecture], **_SECTIONS}
    defaults = {f"{s}.{f.name}": f.default for s, kind in kinds.items() for f in fields(kind)}
    values = {"architecture": architecture, **defaults}
    for section, kind in kinds.items():
        part = tree.get(section, {})
        check_keys(name, part, [f.name for f in fields(kind)], f"{section}.")
        for key, value in part.items():
            key = f"{section}.{key}"
            values[key] = typed(name, key, value, defaults[key])
    idle = settle(name, values, defaults)
    check_effect(name, idle, keys)
    parts = {s: {f.name: values[f"{s}.{f.name}"] for f in fields(kind)} for s, kind in kinds.items()}
    try:
        model = model_config(architecture, parts.pop("model")).to_dict()
    except CheckpointError as error:
        raise RecipeError(f"Recipe {name}: model.{str(error).removeprefix('Model settings: ')}") from error
    sections = {s: _SECTIONS[s](**part) for s, part in parts.items()}
    recipe = Recipe(name, architecture, model, **sections, idle=idle)
    check_values(recipe)
    return recipe


def _read(name: str, seen: tuple[str, ...]) -> tuple[dict, dict]:
    """What a recipe's file says, and the same with what its base says besides."""
    path = Path(name) if name.endswith(".toml") else resource("recipes", f"{name}.toml")
    if not path.is_file():
        near = difflib.get_close_matches(name, recipe_names(), 1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(recipe_names())}."
        raise RecipeError(f"No recipe '{name}'; {hint}")
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not valid TOML: {error}.") from error
    base = tree.get("base")
    if base is None:
        return tree, tree
    if not isinstance(base, str):
        raise RecipeError(f"Recipe {name}: 'base' must be a recipe's name or file, not {base!r}.")
    if base.endswith(".toml"):
        base = os.path.normpath(path.parent / base)  # as the file that says so sees it
    chain = (*seen, name)
    if base in chain:
        raise RecipeError(f"Recipe {name}: its bases go round in a circle ({' -> '.join((*chain, base))}).")
    return tree, _merge(_read(base, chain)[1], tree)


def _merge(below: dict, above: dict) -> dict:
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(below.get(key), dict)
        merged[key] = _merge(below[key], value) if both else value
    return merged


def _override(tree: dict, text: str) -> None:
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if parts[0] in ("base", "description") and len(parts) == 1:
        raise RecipeError(f"--set {text}: '{parts[0]}' is said in a recipe's file alone.")
    if not equals or len(parts) > 2 or not all(parts):
        raise RecipeError(f"--set {text}: write --set section.key=value, for example --set gan.batch=64.")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()  # a bare word is a string: --set data.split=all
    if len(parts) == 1:
        tree[parts[0]] = parsed
    else:
        section = tree.setdefault(parts[0], {})
        if not isinstance(section, dict):
            raise RecipeError(f"--set {text}: '{parts[0]}' is no section of a recipe.")
        section[parts[1]] = parsed
