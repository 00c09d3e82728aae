"""Answers of the HTTP API: recordings in, images and embeddings out."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from voice2face_gan.errors import VoiceToFaceError
from voice2face_gan.web.checkpoints import Checkpoints
from voice2face_gan.web.decoder import Decoded, Decoders
from voice2face_gan.web.limits import Limits
from voice2face_gan.web.metrics import Metrics
from voice2face_gan.web.options import Fields, read_fields
from voice2face_gan.web.pool import Pool
from voice2face_gan.web.refusal import Refusal, refusal_of
from voice2face_gan.web.upload import read_upload

SAMPLE_RATE = 16_000
NOTICE = (
    "Synthetic. It shows what the training data associate with such a voice, "
    "not the speaker's face; it identifies nobody."
)
_OF_BOTH = ("checkpoint", "track", "start", "end")
FACES_FIELDS = (*_OF_BOTH, "variants", "seed", "gender", "strength", "noise_scale", "size", "details")
EMBEDDINGS_FIELDS = _OF_BOTH
MORPH_FIELDS = ("checkpoint", "steps", "gender", "strength", "size")


@dataclass
class Engine:
    """What answers need: limits, models, decoding processes, workers, counters."""

    limits: Limits
    checkpoints: Checkpoints
    decoders: Decoders
    pool: Pool
    metrics: Metrics = field(default_factory=Metrics)
    uploads: int = 0

    async def work(self, request: Request, files: int, allowed: tuple[str, ...], job: Callable) -> Any:
        """Read a form, then do `job(model, fields, decoded ...)` in a worker.

        Raises:
            Refusal: whatever stands against it, as one sentence.
        """
        if self.uploads >= self.limits.uploads:
            self.pool.refused += 1
            raise Refusal(429, "Too many uploads at once; try again in 1 s.", 1)
        self.uploads += 1
        try:
            recordings, given = await read_upload(request, self.limits, files)
        finally:
            self.uploads -= 1
        fields = read_fields(given, allowed, self.limits)
        model = await self.checkpoints.get(fields.checkpoint)
        try:
            model.check_options(**fields.options)
        except VoiceToFaceError as error:
            raise refusal_of(error) from None

        def run():
            decoded = []
            while recordings:  # the file is let go as soon as its waveform is there
                which = "recording" if files == 1 else f"{('first', 'second')[len(decoded)]} recording"
                decoded.append(self.decoders.decode(recordings.pop(0), called=which, **fields.part))
            try:
                return job(model, fields, *decoded)
            except VoiceToFaceError as error:
                raise refusal_of(error) from None

        return await self.pool.run(run)

    # Routes

    async def faces(self, request: Request) -> Response:
        as_json = _wants_json(request)
        made = await self.work(request, 1, FACES_FIELDS, _faces if as_json else _faces_png)
        self.metrics.images += made[1]
        return JSONResponse(made[0]) if as_json else _png(made[0])

    async def embeddings(self, request: Request) -> Response:
        return JSONResponse(await self.work(request, 1, EMBEDDINGS_FIELDS, _embedding))

    async def morph(self, request: Request) -> Response:
        as_json = _wants_json(request)
        made = await self.work(request, 2, MORPH_FIELDS, _morph if as_json else _morph_png)
        self.metrics.images += made[1]
        return JSONResponse(made[0]) if as_json else _png(made[0])

    async def list_checkpoints(self, request: Request) -> Response:
        limits = {"upload_bytes": self.limits.upload_bytes, "variants": self.limits.variants}
        limits |= {"recording_seconds": self.limits.recording_seconds, "steps": self.limits.morph_steps}
        return JSONResponse({"checkpoints": self.checkpoints.describe(), "limits": limits})


def _wants_json(request: Request) -> bool:
    """True where Accept prefers JSON to PNG; without a preference the answer is PNG."""
    quality = {"json": 0.0, "png": 0.0}
    for entry in request.headers.get("accept", "*/*").split(","):
        kind, _, rest = entry.strip().partition(";")
        weight = 1.0
        for parameter in rest.split(";"):
            name, _, value = parameter.strip().partition("=")
            if name == "q":
                try:
                    weight = float(value)
                except ValueError:
                    weight = 0.0
        kind = kind.strip().lower()
        if kind == "application/json":
            quality["json"] = max(quality["json"], weight)
        elif kind in ("image/png", "image/*", "*/*"):
            quality["png"] = max(quality["png"], weight if kind == "image/png" else 0.9 * weight)
    return quality["json"] > quality["png"]


def _png(content: bytes) -> Response:
    return Response(content, media_type="image/png", headers={"X-Synthetic": "yes"})


def _generation(model, fields: Fields, decoded: Decoded):
    return model.generate_detailed((decoded.waveform, SAMPLE_RATE), **fields.options)


def _faces(model, fields: Fields, decoded: Decoded) -> tuple[dict, int]:
    from voice2face_gan.faces.png import png_bytes

    made = _generation(model, fields, decoded)
    seed = fields.options.get("seed", 0)
    faces = [
        {"png": _base64(png_bytes(image)), "variant": number, "seed": seed}
        for number, image in enumerate(made.faces, 1)
    ]
    answer = {"checkpoint": model.name, "notice": NOTICE, "faces": faces}
    answer |= made.to_dict() | _track(decoded)
    if fields.details:
        answer["details"] = _details(model, decoded)
    return answer, len(faces)


def _faces_png(model, fields: Fields, decoded: Decoded) -> tuple[bytes, int]:
    faces = _generation(model, fields, decoded).faces
    more = {"Variant": f"1 to {len(faces)}"} if len(faces) > 1 else {}
    return _one_png(faces, more), len(faces)


def _embedding(model, fields: Fields, decoded: Decoded) -> dict:
    (found,) = model.embeddings([(decoded.waveform, SAMPLE_RATE)])
    if isinstance(found, VoiceToFaceError):
        raise found
    values = found.embedding.tolist()
    return {
        "checkpoint": model.name,
        "dimensions": len(values),
        "embedding": values,
        "seconds": round(found.seconds, 3),
        "speech_seconds": round(found.speech_seconds, 3),
        "warning": found.warning,
        **_track(decoded),
    }


def _morph_images(model, fields: Fields, a: Decoded, b: Decoded) -> list:
    clips = [(decoded.waveform, SAMPLE_RATE) for decoded in (a, b)]
    return model.interpolate(*clips, fields.steps, **fields.options)


def _morph(model, fields: Fields, a: Decoded, b: Decoded) -> tuple[dict, int]:
    from voice2face_gan.faces.png import png_bytes

    images = _morph_images(model, fields, a, b)
    answer = {"checkpoint": model.name, "notice": NOTICE}
    answer["faces"] = [{"png": _base64(png_bytes(image)), "step": k} for k, image in enumerate(images, 1)]
    answer["strip"] = _base64(_one_png(images, {"Morph": f"1 to {len(images)}"}))
    return answer, len(images)


def _morph_png(model, fields: Fields, a: Decoded, b: Decoded) -> tuple[bytes, int]:
    images = _morph_images(model, fields, a, b)
    return _one_png(images, {"Morph": f"1 to {len(images)}"}), len(images)


def _one_png(images: list, metadata: dict[str, str]) -> bytes:
    """One image, or all of them in a row, with the first one's metadata and more."""
    from voice2face_gan.faces.pixels import to_row
    from voice2face_gan.faces.png import png_bytes

    image = images[0] if len(images) == 1 else to_row(images)
    return png_bytes(image, {**images[0].info, **metadata})


def _details(model, decoded: Decoded) -> dict:
    from voice2face_gan.audio.inspection import inspect

    found = inspect(decoded.waveform, model.vad, model.features)
    bins, columns = found.log_mel.shape
    return {
        "seconds": round(found.seconds, 3),
        "speech": [[round(start, 3), round(end, 3)] for start, end in found.speech],
        "envelope": [[round(float(low), 3), round(float(high), 3)] for low, high in found.envelope],
        "log_mel": {"bins": bins, "columns": columns, "data": _base64(found.log_mel.tobytes())},
    }


def _track(decoded: Decoded) -> dict:
    """The JSON entries of `results.audio_to_dict`, of what the decoding process said."""
    entry = {"audio_tracks": decoded.tracks, "audio_track": decoded.track} if decoded.tracks > 1 else {}
    return entry | ({"audio_note": decoded.note} if decoded.note else {})


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
