"""Figures printed by papers and projects, each with what is known of its protocol.

All of them are of other data than any run here: they give the order of magnitude, not a ranking of models.
"""

from dataclasses import dataclass

WEN = "Wen et al., NeurIPS 2019"
POSTER = "Ain Shams poster, 2023, Table 2"
SPEECH2FACE = "Oh et al. (Speech2Face), CVPR 2019, Table 3"


@dataclass(frozen=True)
class Published:
    """A published figure.

    Attributes:
        metric: name of the nearest metric here.
        what: the row's label.
        value: as printed, with its unit; several with slashes between.
        source: the paper or project.
        protocol: data, counts and network, as far as they are stated.
    """

    metric: str
    what: str
    value: str
    source: str
    protocol: str


_VOX = "VoxCeleb voices and VGGFace faces"
_POSTER_LACKS = f"{_VOX}; sample counts not stated"


def _poster(metric: str, values: str, lacks: str = "") -> Published:
    return Published(metric, "general / female / male", values, POSTER, _POSTER_LACKS + lacks)


def _retrieval(seconds: int, values: str) -> Published:
    return Published(
        "retrieval",
        f"R@1 / 2 / 5 / 10, {seconds} s",
        f"{values} % (chance 1 / 2 / 5 / 10 %)",
        SPEECH2FACE,
        f"AVSpeech, 5,000 test clips of {seconds} s, cosine of VGG-Face features; its chance row is that of "
        "a gallery of 100, though its text speaks of 5,000 images",
    )


_MATCHING = f"{_VOX}, 189 people of the names C to E, 2,353,560 trials; chance 50 %"
_MATCHERS = "as Wen et al. quote it: a network trained to match voices and faces, which makes no faces"

PUBLISHED: tuple[Published, ...] = (
    _poster("fid", "114.45 / 126.37 / 129.30"),
    _poster("l1", "61.95 / 29.41 / 33.09", "; scale of the pixels not stated"),
    _poster("cosine", "0.245 / 0.399 / 0.209", "; embedding network not stated"),
    Published(
        "gender",
        "generated",
        "96.45 %",
        f"{WEN}, section 4.3",
        f"{_VOX}, 21,850 generated test faces; a classifier right on 98.97 % of real faces",
    ),
    Published("matching", "U (any imposter)", "76.07 %", f"{WEN}, Table 3", _MATCHING),
    Published("matching", "G (imposter of the same gender)", "59.69 %", f"{WEN}, Table 3", _MATCHING),
    Published("matching", "U / G", "81.00 / 65.20 %", "SVHF, 2018", _MATCHERS),
    Published("matching", "U / G", "83.45 / 70.91 %", "DIMNet-I, 2019", _MATCHERS),
    Published(
        "identity",
        "top-1 / top-5",
        "61.7 / 82.3 %",
        WEN,
        f"{_VOX}, 4,620 recordings of the 924 training people",
    ),
    _retrieval(6, "10.92 / 17.00 / 30.60 / 45.82"),
    _retrieval(3, "8.54 / 13.64 / 24.80 / 38.54"),
)

NO_PROTOCOL = (
    'The "six-second" project: 91 percent, no protocol published. What it counts, on how many people and '
    "against what chance is not said, so it stands beside nothing here.",
    "SF2F's VGGFace Score (15.47 for Wen's model, 19.49 for its own, at 64 pixels) needs a network that this "
    "package does not use; no figure here is that score.",
)


def published_for(metric: str) -> list[Published]:
    """Published figures that are nearest to a metric."""
    return [entry for entry in PUBLISHED if entry.metric == metric]
