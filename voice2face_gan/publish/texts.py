"""Sentences of every card and report: uses, limits, ethics; and recipes as TOML."""

import json

ETHICS = (
    "Every generated face is synthetic: what the training data associate with a voice, not the speaker's "
    "face. It identifies nobody, proves nothing, and must not be used to decide anything about a person."
)
INTENDED = "Research on what voices and faces share, teaching, and avatars of people who asked for one."
NOT_FOR = (
    "Identification, evidence, forensics, law enforcement, surveillance, hiring, credit, insurance or any "
    "other decision about a person; guessing anybody's origin, health or character; an image of somebody "
    "who did not agree to it."
)
LIMITS = (
    "Voices unlike those of the training data, children, noise, telephone sound and clips under two seconds "
    "of speech give a face that means little. Hair, skin tone, glasses and background are not in a voice: "
    "they are made up. The labels female and male are the data set's own, and the model repeats them."
)


def toml(tree: dict) -> str:
    """Nested settings as TOML: top-level keys first, then a table for each section."""
    lines = [f"{key} = {_value(v)}" for key, v in tree.items() if not isinstance(v, dict) and v is not None]
    for key, section in tree.items():
        if isinstance(section, dict):
            lines += ["", f"[{key}]"]
            lines += [f"{k} = {_value(v)}" for k, v in section.items() if v is not None]
    return "\n".join(lines).strip()


def _value(value) -> str:
    """A value as TOML: JSON's text of strings, numbers, lists and booleans is valid TOML."""
    return json.dumps(value, ensure_ascii=False)
