"""The API's description, OpenAPI 3.1; the page /api draws it without another host."""

from voice2face_gan.version import __version__
from voice2face_gan.web.api import EMBEDDINGS_FIELDS, FACES_FIELDS, MORPH_FIELDS
from voice2face_gan.web.limits import Limits
from voice2face_gan.web.options import GENDERS, MAX_SECONDS, MAX_SEED, MAX_SIDE, MAX_TRACK


def openapi_document(limits: Limits, with_runs: bool = False) -> dict:
    """The description as a dictionary ready for JSON.

    Args:
        limits: of the server, which the description names.
        with_runs: with the routes of run folders.
    """
    fields = _fields(limits)
    paths = {
        "/api/v1/faces": _post(
            "Faces of a recording",
            "PNG (several variants in a row); where Accept prefers application/json, JSON with base64 PNGs "
            "and what was found.",
            _form(fields, FACES_FIELDS),
            {"image/png": {"type": "string", "format": "binary"}, "application/json": _FACES},
        ),
        "/api/v1/embeddings": _post(
            "The voice embedding of a recording",
            "The numbers that `v2f-gan embed` writes.",
            _form(fields, EMBEDDINGS_FIELDS),
            {"application/json": _EMBEDDING},
        ),
        "/api/v1/morph": _post(
            "A morph between two voices",
            "The field `audio` twice: from, to. PNG is one strip.",
            _form(fields, MORPH_FIELDS, two=True),
            {"image/png": {"type": "string", "format": "binary"}, "application/json": _MORPH},
        ),
        "/api/v1/checkpoints": _get("The checkpoints named at the start, and the limits"),
        "/api/v1/examples": _get("Example recordings, synthesised voices"),
        "/api/v1/examples/{key}": _get("One of them", "audio/wav", "key"),
        "/health": _get("State of the server and of its checkpoints; needs no token"),
        "/metrics": _get("Counters as Prometheus reads them", "text/plain"),
    }
    if with_runs:
        paths["/api/v1/runs"] = _get("Run folders with their best figures")
        paths["/api/v1/runs/{name}"] = _get("Loss curves, figures and grids of a run", parameters="name")
        paths["/api/v1/runs/{name}/grids/{file}"] = _get("An image grid", "image/png", "name", "file")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "voice2face-gan",
            "version": __version__,
            "description": "A recording in, faces out. Images are synthetic and identify nobody. Recordings "
            f"are kept in memory for one answer. At most {limits.upload_bytes / 2**20:.0f} MiB and "
            f"{limits.recording_seconds / 60:g} minutes. 429 carries Retry-After. Errors are "
            '{"error": sentence}.',
        },
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _fields(limits: Limits) -> dict[str, dict]:
    return {
        "checkpoint": {"type": "string", "description": "id of /api/v1/checkpoints; default the first"},
        "variants": {"type": "integer", "minimum": 1, "maximum": limits.variants, "default": 1},
        "seed": {"type": "integer", "minimum": 0, "maximum": MAX_SEED, "default": 0},
        "gender": {"type": "string", "enum": list(GENDERS), "default": "auto"},
        "strength": {
            "type": "number",
            "minimum": 0,
            "maximum": 10,
            "description": "default: the model's own",
        },
        "noise_scale": {"type": "number", "minimum": 0, "maximum": 10, "default": 1},
        "size": {"type": "integer", "minimum": 8, "maximum": MAX_SIDE, "description": "default: the model's"},
        "details": {"type": "boolean", "default": False, "description": "envelope, speech and log-mel too"},
        "steps": {"type": "integer", "minimum": 2, "maximum": limits.morph_steps, "default": 7},
        "track": {
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_TRACK,
            "description": "sound track of a film",
        },
        **dict.fromkeys(
            ("start", "end"),
            {"type": "number", "minimum": 0, "maximum": MAX_SECONDS, "description": "seconds"},
        ),
    }


def _form(fields: dict, names: tuple[str, ...], two: bool = False) -> dict:
    audio = {"type": "string", "format": "binary", "description": "any file with sound"}
    if two:
        audio = {"type": "array", "items": audio, "minItems": 2, "maxItems": 2}
    properties = {"audio": audio, **{name: fields[name] for name in names}}
    schema = {"type": "object", "required": ["audio"], "properties": properties}
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


_REFUSALS = {
    "400": "no recording, or an option out of its range",
    "401": "a token is needed",
    "408": "the upload stood still",
    "413": "too large or too long",
    "415": "no form",
    "422": "too little speech",
    "429": "busy; Retry-After says when to come again",
    "503": "the checkpoint does not load",
}


def _post(summary: str, description: str, body: dict, answers: dict) -> dict:
    content = {kind: {"schema": schema} for kind, schema in answers.items()}
    responses = {"200": {"description": "done", "content": content}}
    responses |= {status: {"description": text} for status, text in _REFUSALS.items()}
    return {
        "post": {
            "summary": summary,
            "description": description,
            "requestBody": body,
            "responses": responses,
            "security": [{}, {"token": []}],
        }
    }


def _get(summary: str, kind: str = "application/json", *names: str, parameters: str = "") -> dict:
    given = [*names, *parameters.split()]
    listed = [{"name": n, "in": "path", "required": True, "schema": {"type": "string"}} for n in given]
    answer = {"description": "done", "content": {kind: {}}}
    return {"get": {"summary": summary, "parameters": listed, "responses": {"200": answer}}}


def _object(**properties) -> dict:
    return {"type": "object", "properties": properties}


_PNG = {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"}
_NUMBER, _TEXT = {"type": ["number", "null"]}, {"type": "string"}
_IMAGES = {"type": "array", "items": _object(png=_PNG, variant={"type": "integer"}, seed={"type": "integer"})}
_FACES = _object(
    checkpoint=_TEXT,
    notice=_TEXT,
    faces=_IMAGES,
    seconds=_NUMBER,
    speech_seconds=_NUMBER,
    speech_level_db=_NUMBER,
    female_probability=_NUMBER,
    speech_probability=_NUMBER,
    child_probability=_NUMBER,
    several_voices_probability=_NUMBER,
    warning=_TEXT,
    details={"type": "object"},
)
_EMBEDDING = _object(
    checkpoint=_TEXT,
    dimensions={"type": "integer"},
    embedding={"type": "array", "items": {"type": "number"}},
    seconds=_NUMBER,
    speech_seconds=_NUMBER,
    warning=_TEXT,
)
_MORPH = _object(
    checkpoint=_TEXT,
    notice=_TEXT,
    strip=_PNG,
    faces={"type": "array", "items": _object(png=_PNG, step={"type": "integer"})},
)
