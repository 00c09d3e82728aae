"""Model card: the checkpoint, its data, its uses and limits, in the hub's format (Markdown below YAML).

It states nothing about a checkpoint but what the checkpoint and its evaluations hold.

Sections: Mitchell et al. 2019, "Model Cards for Model Reporting", section 4; for voice-to-face models also
Oh et al. 2019 (Speech2Face), "Ethical Considerations".
"""

import json

from jinja2 import Environment, PackageLoader, StrictUndefined

from voice2face_gan.data.synthetic import is_synthetic
from voice2face_gan.models.checkpoint import Checkpoint
from voice2face_gan.models.hub import LIBRARY, MARK
from voice2face_gan.publish.texts import ETHICS, INTENDED, LIMITS, NOT_FOR, toml
from voice2face_gan.results import results_of
from voice2face_gan.version import __version__

TAGS = ("voice-to-face", "speech", "audio", "face-generation", "gan", "synthetic-media")
ENCODER_TAGS = ("speech", "audio", "speaker-embedding")
NO_LICENCE = "unknown"  # the hub's word for none stated


def model_card(
    repo: str,
    checkpoint: Checkpoint,
    trained_on: list[str],
    records: list[dict],
    licence: str | None = None,
) -> str:
    """The card as Markdown, which ends with a line break.

    Args:
        repo: "owner/name" on the hub.
        checkpoint: the checkpoint; a voice encoder alone will do.
        trained_on: names of the data sets, [] where they are not known.
        records: records of evaluation.jsonl, oldest first, all of these weights.
        licence: as the hub spells it, None where none was stated.
    """
    info, nets = checkpoint.info, {"voice encoder": checkpoint.encoder, "generator": checkpoint.generator}
    recipe, data = _table(info.get("recipe")), _table(info.get("data"))
    environment = Environment(
        loader=PackageLoader("voice2face_gan.publish", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = _number
    return environment.get_template("card.md.j2").render(
        repo=repo,
        name=repo.rpartition("/")[2],
        mark=MARK,
        library=LIBRARY,
        tags=TAGS if checkpoint.generator is not None else ENCODER_TAGS,
        licence=licence,
        no_licence=NO_LICENCE,
        types={k: part["type"] for k, part in checkpoint.tables().items() if "type" in part},
        embedding=checkpoint.encoder_config.embedding,
        features=checkpoint.features,
        parameters={
            k: sum(p.numel() for p in net.parameters()) for k, net in nets.items() if net is not None
        },
        has_generator=checkpoint.generator is not None,
        version=info.get("voice2face_gan", __version__),
        data=data,
        genders=_table(data.get("identities_by_gender")),
        gender=info.get("gender", "all"),
        trained_on=trained_on,
        invented=bool(trained_on) and all(is_synthetic(name) for name in trained_on),
        recipe_name=recipe.get("name"),
        recipe=toml(recipe) if recipe else "",
        stage=info.get("stage"),
        iteration=info.get("iteration"),
        evaluations=_evaluations(records),
        ETHICS=ETHICS,
        INTENDED=INTENDED,
        NOT_FOR=NOT_FOR,
        LIMITS=LIMITS,
    )


def _table(value) -> dict:
    return value if isinstance(value, dict) else {}


def _number(value) -> str:
    """A count with thousands separated; other values of a foreign config.json as they are."""
    return f"{value:,}" if isinstance(value, (int, float)) else _cell(value)


def _evaluations(records: list[dict]) -> list[dict]:
    """The evaluation set and the newest figures, for each data set, split, gender and face reader."""
    found: dict[tuple, dict] = {}
    for record in records:
        reader = _table(record.get("judge"))
        key = [record.get(k) for k in ("data", "split", "gender")] + [reader.get("name")]
        earlier = found.get(key := json.dumps(key), {"results": {}})
        found[key] = {**record, "judge": reader, "results": earlier["results"] | results_of(record)}
    return [_evaluation(record) for record in found.values() if record["results"]]


def _evaluation(record: dict) -> dict:
    rows, protocols = [], {}
    for metric, figures in record["results"].items():
        for name, f in figures.items():
            interval = "" if f.low is None or f.high is None else f"{f.low:.3f} to {f.high:.3f}"
            chance = "" if f.chance is None else f"{f.chance:.3g}"
            value = f"{f.value:.3f} {f.unit}".strip()
            rows.append([_cell(x) for x in (metric, name, value, interval, chance, f"{f.n} {f.counted}")])
            if (
                whole := name.split(", ")[0]
            ) == name or whole not in figures:  # the figures of either gender share the protocol of the whole
                protocols.setdefault((metric, f.protocol), []).append(name)
    return {
        "data": str(record.get("data", "unknown")).rsplit("/", 1)[-1],
        "split": record.get("split", "unknown"),
        "gender": record.get("gender", "all"),
        "counts": [(record.get(k), k) for k in ("identities", "clips", "faces") if k in record],
        "trained_on": bool(record.get("trained_on")),
        "judge": record["judge"].get("name", "unnamed"),
        "judge_trained_on": record["judge"].get("trained_on"),
        "rows": rows,
        "protocols": [f"{metric}, {', '.join(names)}: {text}" for (metric, text), names in protocols.items()],
    }


def _cell(text) -> str:
    """Text that cannot end a cell of a Markdown table."""
    return " ".join(str(text).replace("|", "\\|").split())
