"""A recipe is a TOML file in experiments/: the whole difference between two runs.

    base = "wen2019"          # start from another recipe; what follows overrides it
    stages = ["encoder", "gan"]   # or ["encoder"]: a voice encoder alone
    [model.encoder]           # type, and dimensions: see the types in models/registry.py
    [model.generator]         # likewise
    [model.controls]          # models/conditioning.py
    [data]  [encoder]  [gan]  [r3gan]  [face_embedding]  [face_decoder]  [appearance_model]
    [speech2face]  [run]      # schema.py

`--set gan.batch=64` or `--set model.generator.width=64` overrides one key for one run. Unknown keys are
refused with the nearest known one, keys that have no effect beside the others (keys.py) with the reason.
"""

import os
import tomllib
from dataclasses import MISSING, Field, fields
from pathlib import Path

from voice2face_gan.errors import CheckpointError, RecipeError
from voice2face_gan.models.conditioning import Controls
from voice2face_gan.models.registry import ENCODERS, GENERATORS
from voice2face_gan.overrides import nearest, split_override
from voice2face_gan.resources import resource, resources
from voice2face_gan.training.recipe.checks import check_keys, check_values, checked
from voice2face_gan.training.recipe.keys import check_effect, settle, with_effect
from voice2face_gan.training.recipe.schema import (
    ENCODER,
    ENCODER_ALONE,
    SECTIONS,
    STAGES,
    ModelRecipe,
    Recipe,
)

_TOP = ("base", "description", "stages", "model", *SECTIONS)
_TABLES = ("encoder", "generator", "controls")  # of [model]
_TYPES = {"encoder": (ENCODERS, "conv"), "generator": (GENERATORS, "wen2019")}  # all, and the default


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
    recipe = build_recipe(stem, tree, _keys(own))
    return _overridden(stem, tree, overrides) if overrides else recipe


def kept_recipe(about: dict, overrides: tuple[str, ...] = ()) -> Recipe:
    """The recipe that a checkpoint or a run keeps, with overrides as `load_recipe` takes them."""
    return _overridden(str(about.get("name", "")), {k: v for k, v in about.items() if k != "name"}, overrides)


def _overridden(name: str, tree: dict, overrides: tuple[str, ...]) -> Recipe:
    tree = _copy(tree)
    # Types first: what else is said of a table is of the new type.
    for override in sorted(overrides, key=lambda text: not text.partition("=")[0].strip().endswith(".type")):
        _override(tree, override)
    return build_recipe(name, tree, [text.partition("=")[0].strip() for text in overrides])


def build_recipe(name: str, tree: dict, keys=()) -> Recipe:
    """A recipe from nested settings, as read from TOML or from a run folder.

    Args:
        name: of the recipe.
        tree: the settings.
        keys: "section.key" or "model.table.key" of those that must have an effect.
    Raises:
        RecipeError: as `load_recipe`.
    """
    _check_sections(name, tree)
    check_keys(name, tree, _TOP, "")
    stages = tree.get("stages", STAGES[0])
    stages = tuple(stages) if isinstance(stages, (list, tuple)) else stages
    if stages not in STAGES:
        allowed = " or ".join(str(list(one)) for one in STAGES)
        raise RecipeError(f"Recipe {name}: stages must be {allowed}, not {tree['stages']!r}.")
    if not isinstance(tree.get("description", ""), str):
        raise RecipeError(f"Recipe {name}: 'description' must be text, not {tree['description']!r}.")
    kinds = {**_model_kinds(name, tree), **SECTIONS}
    defaults = {f"{s}.{f.name}": _default_of(f) for s, kind in kinds.items() for f in fields(kind)}
    types = {f"{s}.type": kinds[s].type for s in ("model.encoder", "model.generator")}
    pairs = isinstance(tree.get("speech2face"), dict) and tree["speech2face"].get("pairing")
    if stages == (ENCODER,) and not pairs:
        defaults |= ENCODER_ALONE
    values = {"stages": stages, **types, **defaults}
    for section, kind in kinds.items():
        part = _section(tree, section)
        known = [f.name for f in fields(kind)]
        check_keys(name, part, ["type", *known] if f"{section}.type" in types else known, f"{section}.")
        for key, value in part.items():
            key = f"{section}.{key}"
            if key not in types:
                values[key] = checked(name, key, value, defaults[key])
    keys = with_effect(values, keys)
    idle = settle(values, defaults)
    check_effect(name, idle, keys)
    parts = {s: {f.name: values[f"{s}.{f.name}"] for f in fields(kind)} for s, kind in kinds.items()}
    try:
        encoder, generator = (
            kinds[section](**part) if f"{section}.type" not in idle else _default(section)
            for section, part in ((s, parts.pop(s)) for s in ("model.encoder", "model.generator"))
        )
        model = ModelRecipe(encoder, generator, Controls(**parts.pop("model.controls")))
    except CheckpointError as error:
        raise RecipeError(f"Recipe {name}: model.{error}") from error
    sections = {s: SECTIONS[s](**part) for s, part in parts.items()}
    recipe = Recipe(name, model, stages, **sections, idle=idle)
    check_values(recipe)
    return recipe


def _model_kinds(name: str, tree: dict) -> dict[str, type]:
    """The class of the settings of each table of [model], by the types that it says.

    Raises:
        RecipeError: [model] has another table or a key of its own, or a type is unknown.
    """
    model = tree.get("model", {})
    if isinstance(model, dict):
        _check_tables(name, model)
    check_keys(name, model, _TABLES, "model.")
    kinds: dict[str, type] = {"model.controls": Controls}
    for table, (types, default) in _TYPES.items():
        check_keys(name, model.get(table, {}), model.get(table, {}), f"model.{table}.")
        kind = model.get(table, {}).get("type", default)
        if not isinstance(kind, str) or kind not in types:
            raise RecipeError(f"Recipe {name}: model.{table}.type is {kind!r}; known are {', '.join(types)}.")
        kinds[f"model.{table}"] = types[kind][0]
    return {f"model.{table}": kinds[f"model.{table}"] for table in _TABLES}


def _default_of(field: Field):
    """The default of a key; a table's is a new one each time."""
    return field.default if field.default is not MISSING else field.default_factory()


def _default(section: str):
    types, default = _TYPES[section.partition(".")[2]]
    return types[default][0]()


def _check_sections(name: str, tree: dict) -> None:
    """
    Raises:
        RecipeError: a key of a section stands without its section; all sections that have it are named.
    """
    sections = sorted(SECTIONS, key=lambda section: section != "gan")  # which is mostly meant
    for key in tree:
        homes = [f"'{s}.{key}'" for s in sections if key in [f.name for f in fields(SECTIONS[s])]]
        homes = homes or [f"'{place}'" for place in _places_in_model(key)[:1]]
        if key not in _TOP and homes:
            raise RecipeError(f"Recipe {name}: unknown key '{key}'; did you mean {' or '.join(homes)}?")


def _check_tables(name: str, model: dict) -> None:
    """
    Raises:
        RecipeError: a key of a table of [model] stands in [model] itself.
    """
    for key in model:
        homes = _places_in_model(key)
        if key not in _TABLES and homes:
            places = " or ".join(f"'{home}'" for home in homes)
            raise RecipeError(f"Recipe {name}: unknown key 'model.{key}'; did you mean {places}?")


def _places_in_model(key: str) -> list[str]:
    """ "model.table.key" of each table, of any type, that has a key."""
    every = [("controls", Controls)]
    every += [(table, kind) for table, (types, _) in _TYPES.items() for kind, _ in types.values()]
    places = (f"model.{table}.{key}" for table, kind in every if key in [f.name for f in fields(kind)])
    return list(dict.fromkeys(places))


def _section(tree: dict, section: str):
    for part in section.split("."):
        tree = tree.get(part, {})
    return tree


def _keys(tree: dict, prefix: str = "") -> list[str]:
    """ "section.key" and "model.table.key" of all that nested settings say."""
    keys = []
    for key, value in tree.items():
        if isinstance(value, dict):
            keys += _keys(value, f"{prefix}{key}.")
        elif prefix:
            keys.append(f"{prefix}{key}")
    return keys


def _copy(tree: dict) -> dict:
    return {k: _copy(v) if isinstance(v, dict) else v for k, v in tree.items()}


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
    if below.get("type", above.get("type")) != above.get("type", below.get("type")):
        return above  # of another type, which has other settings
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
    if key in ("base", "description"):
        raise RecipeError(f"--set {text}: '{key}' is said in a recipe's file alone.")
    *sections, last = key.split(".")
    if not key or len(sections) > (2 if sections[:1] == ["model"] else 1):
        raise RecipeError(
            f"--set {text}: write --set section.key=value, for example --set gan.batch=64 or "
            "--set model.generator.width=64."
        )
    section = tree
    for depth, part in enumerate(sections, 1):
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            raise RecipeError(f"--set {text}: '{'.'.join(sections[:depth])}' is no section of a recipe.")
    if last == "type" and section.get("type", value) != value:
        section.clear()
    section[last] = value
