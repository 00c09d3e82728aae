"""A recipe is a TOML file in experiments/: the whole difference between two runs.

    base = "wen2019"          # start from another recipe; what follows overrides it
    architecture = "wen2019"
    stages = ["encoder", "gan"]   # or ["encoder"]: a voice encoder alone
    [model]                   # dimensions, see the architecture's configuration (models/wen2019.py)
    [data]  [encoder]  [gan]  [run]

`--set gan.batch=64` overrides one key for one run. Unknown keys are refused with the nearest known one, keys
that have no effect beside the others (keys.py) with the reason.
"""

import os
import tomllib
from dataclasses import fields
from pathlib import Path

from voice2face_gan.errors import CheckpointError, RecipeError
from voice2face_gan.models.registry import ARCHITECTURES, model_config
from voice2face_gan.overrides import nearest, split_override
from voice2face_gan.resources import resource, resources
from voice2face_gan.training.recipe.checks import check_keys, check_values, checked
from voice2face_gan.training.recipe.keys import check_effect, settle
from voice2face_gan.training.recipe.schema import ENCODER, ENCODER_ALONE, SECTIONS, STAGES, Recipe

_TOP = ("base", "description", "architecture", "stages", "model", *SECTIONS)


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


def _overridden(name: str, tree: dict, overrides: tuple[str, ...]) -> Recipe:
    tree = {k: dict(v) if isinstance(v, dict) else v for k, v in tree.items()}
    for override in overrides:
        _override(tree, override)
    return build_recipe(name, tree, [text.partition("=")[0].strip() for text in overrides])


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
    stages = tree.get("stages", STAGES[0])
    stages = tuple(stages) if isinstance(stages, (list, tuple)) else stages
    if stages not in STAGES:
        allowed = " or ".join(str(list(one)) for one in STAGES)
        raise RecipeError(f"Recipe {name}: stages must be {allowed}, not {tree['stages']!r}.")
    if not isinstance(tree.get("description", ""), str):
        raise RecipeError(f"Recipe {name}: 'description' must be text, not {tree['description']!r}.")
    kinds = {"model": ARCHITECTURES[architecture], **SECTIONS}
    defaults = {f"{s}.{f.name}": f.default for s, kind in kinds.items() for f in fields(kind)}
    if stages == (ENCODER,):
        defaults |= ENCODER_ALONE
    values = {"architecture": architecture, "stages": stages, **defaults}
    for section, kind in kinds.items():
        part = tree.get(section, {})
        check_keys(name, part, [f.name for f in fields(kind)], f"{section}.")
        for key, value in part.items():
            key = f"{section}.{key}"
            values[key] = checked(name, key, value, defaults[key])
    idle = settle(values, defaults)
    check_effect(name, idle, keys)
    parts = {s: {f.name: values[f"{s}.{f.name}"] for f in fields(kind)} for s, kind in kinds.items()}
    try:
        model = model_config(architecture, parts.pop("model")).to_dict()
    except CheckpointError as error:
        raise RecipeError(f"Recipe {name}: model.{str(error).removeprefix('Model settings: ')}") from error
    sections = {s: SECTIONS[s](**part) for s, part in parts.items()}
    recipe = Recipe(name, architecture, model, stages, **sections, idle=idle)
    check_values(recipe)
    return recipe


def _read(name: str, seen: tuple[str, ...]) -> tuple[dict, dict]:
    """What a recipe's file says, and the same with what its base says besides."""
    path = Path(name) if name.endswith(".toml") else resource("recipes", f"{name}.toml")
    if not path.is_file():
        raise RecipeError(f"No recipe '{name}'; {nearest(name, recipe_names())}")
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
    try:
        key, value = split_override(text)
    except ValueError:
        key, value = "", None
    section, dot, last = key.partition(".")
    if not key or "." in last:
        raise RecipeError(f"--set {text}: write --set section.key=value, for example --set gan.batch=64.")
    if key in ("base", "description"):
        raise RecipeError(f"--set {text}: '{key}' is said in a recipe's file alone.")
    if not dot:
        tree[key] = value
    elif isinstance(tree.setdefault(section, {}), dict):
        tree[section][last] = value
    else:
        raise RecipeError(f"--set {text}: '{section}' is no section of a recipe.")
