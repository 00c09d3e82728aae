"""Write the default's checkpoint with its card, figures and licence; a part of default_model.py."""

import json
from pathlib import Path


def brief(report: dict) -> dict:
    """The figures in a few lines."""
    short: dict = {}
    for name, readers in report["test"].items():
        for reader, metrics in readers.items():
            for metric, figures in metrics.items():
                for figure, value in figures.items():
                    if ", " not in figure:
                        short[f"{name} {reader} {metric} {figure}"] = round(value["value"], 3)
    return {**short, **report["distance"]}


def _matching(reader: str) -> tuple[tuple, ...]:
    """The rows of `matching` by one face reader."""
    return tuple(
        (f"matching {letter}{centred} % ({reader})", reader, "matching", letter + centred.replace(",", ""), 1)
        for centred in ("", ", centred")
        for letter in "UG"
    )


ROWS = (  # title, judge, metric, figure, digits
    ("gender agreement %", "trunk", "gender", "generated", 1),
    ("the face reader on the real faces %", "trunk", "gender", "real", 1),
    *_matching("dlib"),
    *_matching("trunk"),
    ("age r", "trunk", "age", "r", 2),
    *_matching("mobileface"),
    ("gender agreement %, faceres", "faceres", "gender", "generated", 1),
    *_matching("faceres"),
    ("age r (faceres)", "faceres", "age", "r", 2),
    ("R@1 % of the set's people (dlib)", "dlib", "retrieval", "R@1 cosine", 1),
    ("R@5 %", "dlib", "retrieval", "R@5 cosine", 1),
    ("R@10 %", "dlib", "retrieval", "R@10 cosine", 1),
    ("HOG finds a face %", "dlib", "detection", "generated", 1),
    ("HOG on the real faces %", "dlib", "detection", "real", 1),
)


JUDGES = ("trunk", "faceres")  # of ages
MEMORY = (  # name in the card, figure, digits
    ("nearest", "generated nearest", 3),
    ("nearest_real", "held-out real nearest", 3),
    ("memory_ratio", "ratio", 2),
    ("unseen_ratio", "trained / unseen", 2),
)


def publish(composed: Path, report: dict, out: Path, looked: str = "") -> None:
    """The checkpoint with its card, its figures and its licence.

    Args:
        looked: a paragraph for the card, on what people saw who looked at its images.
    """
    from voice2face_gan.models.checkpoint import load_checkpoint

    def parameters(net) -> int:
        return sum(p.numel() for p in net.parameters())

    checkpoint = load_checkpoint(composed)
    checkpoint.save(out, half=True)
    (out / "measured.json").write_text(json.dumps(brief(report), indent=2) + "\n")
    here = Path(__file__).parent
    card = (here / "default_card.md").read_text(encoding="utf-8")
    memory = report["test"]["both"]["trunk"]["memory"]
    filled = {
        **{name: str(value) for name, value in report["counts"].items()},
        "strength": f"{checkpoint.controls.strength:g}",
        "table": table(report["test"]),
        **{name: f"{memory[figure]['value']:.{digits}f}" for name, figure, digits in MEMORY},
        **{f"unseen_{end}": f"{memory['trained / unseen'][end]:.2f}" for end in ("low", "high")},
        "fid_images": f"{report['distance']['images']:,}",
        **{k: f"{v:.3g}" for k, v in report["distance"].items() if "_" in k and "images" not in k},
        **recordings(report["recordings"]),
        **ages(report["known_ages"]),
        "encoder_about": {
            "conv": "Wen et al.'s five 1-d convolutions",
            "lstm": "three LSTM layers on the power of 40 bands, pieces of 1.6 s",
        }[checkpoint.encoder_config.type],
        "encoder_size": f"{parameters(checkpoint.encoder) / 1e6:.2f} M",
        "generator_size": f"{parameters(checkpoint.generator) / 1e6:.2f} M",
        "generator_about": generator_about(checkpoint.generator_config),
        "side": str(checkpoint.generator_config.side),
        "detail_evaluations": evaluations(checkpoint.generator_config.detail_steps),
        "face_detail": f"{checkpoint.generator_config.face_detail:g}",
        "voices_taught": f"{checkpoint.info['data']['generator']['voices']:,}",
        "looked": looked,
        "half_pixels": f"{checkpoint.info['half_precision']['pixels']:.3f}",
        "made_by": f" The encoder was {made}." if (made := checkpoint.info.get("encoder_made_by")) else "",
        "gan_iterations": f"{checkpoint.info['iterations']['gan']:,}",
    }
    for name, text in filled.items():
        card = card.replace(f"{{{name}}}", text)
    if "{" in card:
        raise SystemExit(f"default_card.md: nothing fills {card[card.index('{') :][:30]!r}.")
    (out / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    print(f"{out}: written.")


def evaluations(count: int) -> str:
    """The card's words on the diffusion's speed."""
    return "one evaluation" if count == 1 else f"{count} evaluations"


def generator_about(config) -> str:
    """The card's words on a generator."""
    if config.type == "r3gan":
        return f"residual blocks, (e, z) to a {config.side} x {config.side} face, width {config.width}"
    return (
        "an active appearance model (Cootes et al. 2001): what e says of landmarks and texture, by a face "
        f"decoder; {config.shape_components} principal components of landmarks and "
        f"{config.texture_components} of textures of {config.texture_side} pixels that e leaves open, drawn "
        "by a rectified flow; lips closed, a moustache or none, no glasses, even skin; warp; hair, skin and "
        "background by a diffusion of that side (Karras et al. 2022); a refiner, trained adversarially"
    )


IN_TURN = "two speakers, one after the other"
HARD = (  # title in the card, row of robustness.py
    ("as recorded", "clean"),
    ("phone memo, Opus at 24 kbit/s, a room, noise", "phone memo (Opus, 24 kbit/s)"),
    ("telephone, 8 kHz", "telephone, 8 kHz"),
    ("white noise, 5 dB", "white noise, 5 dB"),
    ("other people talking, 5 dB", "babble noise, 5 dB"),
    ("music behind, 5 dB", "music behind, 5 dB"),
    ("2 s", "2.0 s of speech"),
    ("1 s", "1.0 s of speech"),
    ("two speakers, one after the other", IN_TURN),
    ("two speakers at once", "two speakers at once, 0 dB"),
)


def ages(known: dict[str, dict]) -> dict[str, str]:
    """Correlation of the ages that the face readers read with known ages."""
    faces = max((one["faces"] for one in known.values()), default=0)
    own = {f"age_{name}": f"{known[name]['r']:.2f}" if name in known else "not read" for name in JUDGES}
    return {"age_faces": f"{faces:,}", **own}


def recordings(result: dict) -> dict[str, str]:
    """Section of the card on recordings of common kinds."""
    columns = ("right sex", "moved", "HOG", "no speech", "several")
    lines = [
        "| recording | right sex % | pixels moved, of 255 | HOG % | called no speech %"
        " | called several people % |",
        "|---" * 6 + "|",
    ]
    for title, name in HARD:
        row = result["rows"][name]
        lines.append(f"| {title} | " + " | ".join(f"{row[c]:.1f}" for c in columns) + " |")
    children = result["rows"]["children under 13"]
    return {
        "recordings": "\n".join(lines),
        "between": f"{result['between people']:.1f}",
        "speech_auc": f"{result['separation']['AUC']:.3f}",
        "sounds": str(result["sounds"]["all"]["sounds"]),
        "unwarned": f"{result['sounds']['all']['unwarned']:.1f}",
        "children": str(children["clips"]),
        "warned_children": f"{children['child']:.0f}",
        "look_under_16": f"{children['under 16']:.0f}",
        "warned_two": f"{result['rows'][IN_TURN]['several']:.0f}",
        "warned_one": f"{result['rows']['clean']['several']:.0f}",
        "real_sounds": real_sounds(result.get("real", {})),
    }


def real_sounds(kinds: dict[str, dict]) -> str:
    """A sentence on the results of recorded sounds that are no speech."""
    if not kinds:
        return "Recorded sounds are untried."
    every = sum(row["sounds"] for row in kinds.values())
    passed = sum(row["sounds"] * row["unwarned"] / 100 for row in kinds.values())
    names = ", ".join(f"{row['sounds']} of {name}" for name, row in kinds.items())
    return f"Of {every} recorded sounds ({names}) {passed:.0f} pass unwarned."


def table(test: dict) -> str:
    """Markdown: a row a figure, a column a data set, each with its interval; then women and men."""
    columns = [(name, "") for name in test] + [("both", f", {gender}") for gender in ("female", "male")]
    titles = [name + suffix for name, suffix in columns]
    lines = ["| figure | " + " | ".join(titles) + " |", "|---" * (len(titles) + 1) + "|"]
    for title, reader, metric, figure, digits in ROWS:
        cells = []
        for name, suffix in columns:
            found = test[name].get(reader, {}).get(metric, {}).get(figure + suffix)
            cells.append("" if found is None else interval(found, digits))
        if any(cells):
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def interval(figure: dict, digits: int) -> str:
    value, low, high = (figure.get(k) for k in ("value", "low", "high"))
    text = f"{value:.{digits}f}"
    return text if low is None else f"{text} ({low:.{digits}f} to {high:.{digits}f})"
