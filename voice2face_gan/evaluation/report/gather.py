"""Content of a report: for each run its figures, images, training log and configuration."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from voice2face_gan.audio.encoder_input import SPEECH
from voice2face_gan.data.open import source_names
from voice2face_gan.data.store import Store
from voice2face_gan.data.synthetic import is_synthetic
from voice2face_gan.errors import CheckpointError, MetricError
from voice2face_gan.evaluation import protocol
from voice2face_gan.evaluation.eval_set import EvalSet
from voice2face_gan.evaluation.metrics.memory import closest_sheet
from voice2face_gan.evaluation.readers import FaceReader
from voice2face_gan.evaluation.record import (
    append_record,
    build_record,
    compute_all,
    identity_of,
    kept_figures,
)
from voice2face_gan.evaluation.registry import METRICS, Options
from voice2face_gan.faces.pixels import to_image
from voice2face_gan.models.checkpoint import SHIPPED, run_of, weights_hash
from voice2face_gan.pipeline import VoiceToFace
from voice2face_gan.resources import resource
from voice2face_gan.results import Results, read_lines, read_records

_GAP_PIXELS, _WHITE = 2, 255  # pixels between faces


@dataclass
class ReportImage:
    """An image on the page.

    Attributes:
        name: name of its file, without ending.
        png: its bytes.
        alt: description for readers who cannot see it.
        svg: the same as a drawing, or None.
        caption: text below it; default the alt.
    """

    name: str
    png: bytes
    alt: str
    svg: bytes | None = None
    caption: str = ""


@dataclass
class DataCard:
    """A data set: its name without folders, its store, and `real_people`, True for photographs of people."""

    name: str
    store: Store
    real_people: bool


@dataclass
class RunReport:
    """One run's part of the report.

    Attributes:
        label: its name on the page, different from the others'.
        checkpoint: the checkpoint's own name.
        config: the checkpoint's config.json.
        weights: hash of the checkpoint's weights.
        shipped: True for a checkpoint that comes with the package.
        trained_on: the data it was trained on, without folders; None where that is unknown.
        parameters: number of parameters of each network.
        data: the data it was evaluated on.
        about: split, gender, identities, clips, faces, trained_on of the evaluation set.
        reader: the face reader's name, training data, and figures on people it never saw.
        metrics, skipped: figures, and reasons why others are missing.
        fresh: metrics computed now, not taken from evaluation.jsonl.
        notes: further sentences of the metrics.
        people: an image for each of the first identities: real faces left, generated ones right.
        each: largest number of real faces, and of generated ones, in such an image.
        closest: generated faces beside the nearest faces of the training split, or None.
        log: lines of train.jsonl.
    """

    label: str
    checkpoint: str
    config: dict
    weights: str
    shipped: bool
    trained_on: str | None
    parameters: dict[str, int]
    data: DataCard
    about: dict
    reader: dict
    metrics: Results
    skipped: dict[str, str]
    fresh: list[str]
    notes: list[str] = field(default_factory=list)
    people: list[ReportImage] = field(default_factory=list)
    each: int = 2
    closest: ReportImage | None = None
    log: list[dict] = field(default_factory=list)


@dataclass
class ReportRequest:
    """Request for a report.

    Args:
        runs: "default", checkpoints or run folders.
        data: the data to evaluate all runs on; None for the data that each was trained on.
        split: split of the identities.
        metrics: names of the metrics; () for all of them.
        options: options of the metrics.
        fresh: compute every figure, even if evaluation.jsonl holds it.
        people: number of identities whose images are shown for each run.
        device: device of the generators.
    """

    runs: tuple[str, ...]
    data: str | None = None
    split: str = "test"
    metrics: tuple[str, ...] = ()
    options: Options = field(default_factory=Options)
    fresh: bool = False
    people: int = 12
    device: str = "cpu"


def gather_runs(
    request: ReportRequest,
    reader: FaceReader,
    open_data: Callable[..., Store],
    say: Callable[[str], None] = lambda text: None,
) -> list[RunReport]:
    """Everything on the page. Figures computed here are added to each run's evaluation.jsonl.

    Args:
        request: the content wanted.
        reader: the face reader of all faces.
        open_data: function from the value of --data to a store; with True after it one that keeps speech.
        say: called with a sentence for the user.
    Raises:
        CheckpointError: a run is missing or damaged, or the data that it was trained on are unknown.
        MetricError: an unknown metric.
        StoreError, DataError: data that cannot be opened, or hold no identity to evaluate.
    """
    unknown = [name for name in request.metrics if name not in METRICS]
    if unknown:
        raise MetricError(f"Unknown metric '{unknown[0]}'; there are {', '.join(sorted(METRICS))}.")
    # One checkpoint in two spellings is one column.
    models = {}
    for name in request.runs:
        model = VoiceToFace.from_pretrained(name, request.device)
        model.check_options(strength=request.options.strength, noise_scale=request.options.noise_scale)
        models.setdefault(model.checkpoint.folder.resolve(), model)
    models = list(models.values())
    # Before anything is computed: a data set for each.
    names = [_data_for(model, request) for model in models]
    speech = any(model.encoder.takes == SPEECH for model in models)
    cards = {name: _open(name, open_data, speech) for name in dict.fromkeys(names)}
    labels = _labels([run_of(m.checkpoint.folder) or m.checkpoint.folder for m in models], models)
    return [
        _one(model, label, cards[name], request, reader, say)
        for model, label, name in zip(models, labels, names, strict=True)
    ]


def data_of(model: VoiceToFace) -> str | None:
    """The data that a model was trained on, as --data names them; None where they are unknown."""
    if model.checkpoint.info.get("trained_on") == ["synthetic"]:
        return "synthetic"
    try:
        run = run_of(model.checkpoint.folder)
        return str(json.loads((run / "run.json").read_text(encoding="utf-8"))["data"])
    except (TypeError, OSError, ValueError, KeyError):  # no run, no run.json, or one of something else
        return None


def _is_shipped(model: VoiceToFace) -> bool:
    """True for a checkpoint that comes with the package; other folders may be called "default" too."""
    return model.checkpoint.folder.resolve() in [resource("assets", name).resolve() for name in SHIPPED]


def _data_for(model: VoiceToFace, request: ReportRequest) -> str:
    name = request.data or data_of(model)
    if name is None:
        raise CheckpointError(
            f"{model.checkpoint.folder}: nothing says what data it was trained on; name the data to "
            "evaluate it on with --data."
        )
    return name


def _title(data: str) -> str:
    """The name of data without folders."""
    return " + ".join(name if is_synthetic(name) else Path(name).name for name in source_names(data))


def _open(name: str, open_data, speech: bool) -> DataCard:
    store = open_data(name, True) if speech else open_data(name)
    layouts = [part.get("layout") for part in store.about["source"].get("stores", [store.about["source"]])]
    return DataCard(_title(name), store, real_people=any(layout != "synthetic" for layout in layouts))


def _labels(places: list[Path], models: list[VoiceToFace]) -> list[str]:
    """A name for each run: its folder's, or owner/name on the hub.

    Where two would be equal, the checkpoint's name is added, then a number."""
    named = [m.name in SHIPPED or "/" in m.name for m in models]
    first = [m.name if own else p.resolve().name for p, m, own in zip(places, models, named, strict=True)]
    second = [
        f"{n}/{m.name}" if first.count(n) > 1 and n != m.name else n
        for n, m in zip(first, models, strict=True)
    ]
    return [n if second.count(n) == 1 else f"{n} ({second[: i + 1].count(n)})" for i, n in enumerate(second)]


def _one(model, label: str, data: DataCard, request: ReportRequest, reader: FaceReader, say) -> RunReport:
    checkpoint = model.checkpoint
    run, info = run_of(checkpoint.folder), checkpoint.info
    gender = info.get("gender", "all")
    say(f"{label}: faces of the split {request.split} of {data.name}, gender {gender}.")
    strength, noise_scale = request.options.strength, request.options.noise_scale
    eval_set = protocol.generate_eval_set(
        model, data.store, request.split, gender, reader, strength, noise_scale
    )
    metrics, skipped, fresh, notes = _figures(eval_set, run, request, say)
    trained_on = data_of(model)
    people, each = _identity_images(eval_set, request.people)
    nets = {"voice encoder": checkpoint.encoder, "generator": checkpoint.generator}
    return RunReport(
        label=label,
        checkpoint=model.name,
        config=checkpoint.config(),
        weights=weights_hash(checkpoint.folder),
        shipped=_is_shipped(model),
        trained_on=None if trained_on is None else _title(trained_on),
        parameters={name: sum(p.numel() for p in net.parameters()) for name, net in nets.items()},
        data=data,
        about=eval_set.about,
        reader={**eval_set.reader.about, "name": eval_set.reader.name},
        metrics=metrics,
        skipped=skipped,
        fresh=fresh,
        notes=notes,
        people=people,
        each=each,
        closest=_closest(eval_set),
        log=read_lines(run, "train.jsonl"),
    )


def _figures(eval_set: EvalSet, run: Path | None, request: ReportRequest, say):
    """The figures wanted: from evaluation.jsonl, or computed now and added to it.

    Returns:
        metrics, skipped, fresh and notes of the report.
    """
    names = request.metrics or tuple(METRICS)
    options = replace(request.options, notes=[])
    kept, notes = {}, []
    if not request.fresh and run is not None:
        like = {**eval_set.about, **identity_of(eval_set, options), "judge": {"name": eval_set.reader.name}}
        kept, notes = kept_figures(read_records(run), like, names)
    missing = [name for name in names if name not in kept]
    if kept:
        say(f"In its evaluation.jsonl already: {', '.join(kept)}.")
    if missing:
        say(f"Computing {', '.join(missing)}.")
    results, skipped = compute_all(eval_set, missing, options)
    if run is not None and results:
        try:
            append_record(run, build_record(eval_set, results, skipped, options))
        except OSError as error:  # another user's run, a read-only disk: the page is still made
            say(f"Warning: the figures are not kept, since {run} cannot be written ({error.strerror}).")
    figures = kept | results
    metrics = {name: figures[name] for name in names if name in figures}
    return metrics, skipped, list(results), list(dict.fromkeys([*notes, *options.notes]))


def _identity_images(eval_set: EvalSet, count: int) -> tuple[list[ReportImage], int]:
    """Images of the first identities in the data's order, and the largest number of faces of a kind in each.

    That number is two, or one where fewer than half of the identities have two real faces and two clips."""
    names = list(dict.fromkeys(eval_set.generated_identity.tolist()))[:count]
    own = {n: np.flatnonzero(eval_set.real_identity == n) for n in names}
    clips = {n: np.flatnonzero(eval_set.generated_identity == n) for n in names}
    several = sum(min(len(own[n]), len(clips[n])) >= 2 for n in names)
    each = 2 if 2 * several >= len(names) else 1
    images = []
    for number, name in enumerate(names, start=1):
        real = eval_set.real[own[name][:each]].numpy()
        generated = _at_side(eval_set.generated[clips[name][:each]], real)
        counts = len(real), len(generated)
        alt = f"Person {number}: reference left ({counts[0]}), generated from the voice right ({counts[1]})"
        images.append(ReportImage(f"person-{number}", _png(_strip(real, generated, each)), alt))
    return images, each


def _at_side(faces, like: np.ndarray) -> np.ndarray:
    """uint8 (N, s, s, 3) at the side of other faces."""
    side = like.shape[1]
    return np.stack([np.asarray(to_image(face, side)) for face in faces])


def _strip(real: np.ndarray, generated: np.ndarray, each: int) -> Image.Image:
    """Real faces, a wide gap, generated faces; blank where an identity has fewer than `each`."""
    side = real.shape[1]
    width = each * (side + _GAP_PIXELS) - _GAP_PIXELS
    sheet = np.full((side, 2 * width + 4 * _GAP_PIXELS, 3), _WHITE, dtype=np.uint8)
    # The real ones end at the gap and the generated ones begin there, so that a lone pair stands together.
    for start, faces in (
        (width - len(real) * (side + _GAP_PIXELS) + _GAP_PIXELS, real),
        (width + 4 * _GAP_PIXELS, generated),
    ):
        for i, face in enumerate(faces):
            left = start + i * (side + _GAP_PIXELS)
            sheet[:, left : left + side] = face
    return Image.fromarray(sheet)


def _closest(eval_set: EvalSet, count: int = 8) -> ReportImage | None:
    """Generated faces above the training faces nearest to them, where there are training faces to compare."""
    try:
        image = closest_sheet(eval_set, count, scale=1)
    except MetricError:
        return None
    alt = (
        "Above, generated faces, the nearest first, one a speaker; below, the training face nearest to each."
    )
    return ReportImage("closest", _png(image), alt)


def _png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()
