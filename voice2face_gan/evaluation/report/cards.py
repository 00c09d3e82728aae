"""Data set card and model card: origin, counts, intended use, limits, licence."""

from voice2face_gan.data.synthetic import is_synthetic
from voice2face_gan.evaluation.report.gather import DataCard, RunReport
from voice2face_gan.publish.texts import INTENDED, LIMITS, NOT_FOR, toml

REAL_PEOPLE = "This page holds photographs of real people: do not publish or commit it."


def data_card(card: DataCard) -> dict:
    """Counts by split and gender, records dropped with reasons, and sources of the data."""
    store = card.store
    sources = store.about["source"].get("stores", [store.about["source"]])
    features = store.about["features"]
    return {
        "name": card.name,
        "real_people": card.real_people,
        "rows": store.breakdown(),
        "totals": store.summary(),
        "dropped": list(store.dropped().items()),
        "made_from": [_made_from(source) for source in sources],
        "settings": f"log-mel of {features['n_mels']} bins, {features['window_ms']:g} ms every "
        f"{features['hop_ms']:g} ms, at {features['sample_rate']:,} Hz; faces of {store.about['side']} x "
        f"{store.about['side']} pixels",
    }


def _made_from(source: dict) -> str:
    """Clause about a store's origin, without the paths of the machine that prepared it."""
    layout = source.get("layout", "unknown")
    if layout == "synthetic":
        return (
            f"the synthetic world: computed voices and rendered faces of {source.get('speakers', 0):,} "
            f"invented people, seed {source.get('seed')}, {source.get('clips')} voices and "
            f"{source.get('views')} faces each"
        )
    family = source.get("family") or layout
    words = f"{family}, layout {layout}: recordings and photographs of real people"
    if "split" in source:
        words += f"; split {source['split']}, seed {source.get('seed')}"
    return words


def model_card(report: RunReport) -> dict:
    """Facts about a checkpoint: networks, recipe, training, data, use, licence."""
    config = report.config
    summary = config.get("data") if isinstance(config.get("data"), dict) else {}
    facts = [
        ("Encoder", _type(config, "encoder")),
        ("Generator", f"{_type(config, 'generator')}, {report.checkpoint}"),
        ("Parameters", ", ".join(f"{name} {count:,}" for name, count in report.parameters.items())),
        ("Trained for", _length(config)),
        ("Trained on", _people(summary, config.get("gender", "all"), report.trained_on)),
        ("Weights", f"SHA-256 {report.weights}…"),
        ("Made with", f"voice2face-gan {config.get('voice2face_gan', 'of unknown version')}"),
        (
            "Evaluated on people it may have been trained on",
            "yes" if report.about.get("trained_on") else "no",
        ),
        ("Meant for", INTENDED),
        ("Not for", NOT_FOR),
        ("Limits", LIMITS),
        ("Licence", _licence(report)),
    ]
    recipe = config.get("recipe")
    return {
        "label": report.label,
        "facts": [(name, text) for name, text in facts if text],
        "recipe": toml(recipe) if isinstance(recipe, dict) else "",
    }


def _type(config: dict, table: str) -> str:
    part = config.get(table)
    return str(part.get("type")) if isinstance(part, dict) else "none"


def _length(config: dict) -> str:
    recipe = config.get("recipe") if isinstance(config.get("recipe"), dict) else {}
    encoder = recipe.get("encoder", {}).get("iterations")
    words = (
        f"{config['iteration']:,} iterations of the {config.get('stage')} stage"
        if "iteration" in config
        else ""
    )
    return words + (f", after {encoder:,} of the voice encoder's" if words and encoder else "")


def _people(summary: dict, gender: str, source: str | None) -> str:
    parts = [source] if source else []
    if summary:
        genders = ", ".join(f"{n:,} {g}" for g, n in summary.get("identities_by_gender", {}).items())
        parts.append(
            f"{summary.get('identities', 0):,} people ({genders}), {summary.get('voices', 0):,} voices "
            f"({summary.get('hours', 0):g} h), {summary.get('faces', 0):,} faces"
        )
    return "; ".join([*parts, f"gender {gender}"]) if parts else ""


def _licence(report: RunReport) -> str:
    if report.shipped:
        return "MIT, code and weights."
    if report.trained_on and all(is_synthetic(name) for name in report.trained_on.split(" + ")):
        return "The code is MIT; the weights have seen computed voices and rendered faces only."
    return (
        "The code is MIT. Weights fall under the terms of the recordings and photographs they were trained "
        "on; most collections of faces allow research alone."
    )
