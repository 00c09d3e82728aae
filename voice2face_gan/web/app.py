"""The application: routes, and what is started and ended with it."""

import asyncio
import contextlib
import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from voice2face_gan.version import __version__
from voice2face_gan.web.api import Engine
from voice2face_gan.web.checkpoints import SHIPPED, Checkpoints
from voice2face_gan.web.decoder import Decoders
from voice2face_gan.web.examples import example_wav, list_examples
from voice2face_gan.web.limits import Limits
from voice2face_gan.web.metrics import resident_bytes
from voice2face_gan.web.openapi import openapi_document
from voice2face_gan.web.pool import Pool
from voice2face_gan.web.refusal import Refusal, refusal_response
from voice2face_gan.web.run_pages import RunPages
from voice2face_gan.web.security import Guard

_log = logging.getLogger("voice2face_gan.web")
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_PAGES = {"/": "index.html", "/api": "api.html", "/runs": "runs.html"}


@dataclass(frozen=True)
class Settings:
    """What a server is started with.

    Attributes:
        checkpoints: names, the first is the default of requests.
        runs: folder of run folders; None for no run pages.
        token: that clients must know; None for none.
        hosts: further names under which the server may be addressed.
        device: as `choose_device` takes it.
        limits: of sizes, durations and numbers.
    """

    checkpoints: tuple[str, ...] = SHIPPED
    runs: str | Path | None = None
    token: str | None = None
    hosts: tuple[str, ...] = ()
    device: str = "cpu"
    limits: Limits = field(default_factory=Limits)


def create_app(settings: Settings, on_error: Callable[[str], None] | None = None) -> Starlette:
    """The studio as an ASGI application.

    Models are loaded, and decoding processes started, when the server starts.

    Args:
        settings: of the server.
        on_error: called with a sentence for each checkpoint that does not load.
    Raises:
        ServeError: no checkpoint, or no such folder of runs.
    """
    checkpoints = Checkpoints(settings.checkpoints, settings.device)
    runs = None if settings.runs is None else RunPages(settings.runs)
    state: dict[str, Engine] = {}

    @contextlib.asynccontextmanager
    async def lifespan(app):
        decoders = Decoders(settings.limits)
        checkpoints.load(on_error)
        pool = Pool(settings.limits, lambda: _set_threads(settings.limits.workers))
        state["engine"] = app.state.engine = Engine(settings.limits, checkpoints, decoders, pool)
        yield
        pool.close()
        decoders.close()

    def engine() -> Engine:
        return state["engine"]

    async def health(request: Request) -> Response:
        states = {key: checkpoints.state(key) for key in checkpoints.ids}
        ready = states[checkpoints.ids[0]]
        status = {"ready": "ok"}.get(ready, ready)
        document = {"status": status, "version": __version__, "checkpoints": states}
        return JSONResponse(document, 503 if status == "failed" else 200)

    async def metrics(request: Request) -> Response:
        e = engine()
        gauges = {
            "v2f_jobs_in_flight": ("Jobs running or waiting.", e.pool.in_flight),
            "v2f_job_seconds": ("Mean duration of the last jobs.", e.pool.mean_seconds),
            "v2f_refused_total": ("Requests refused with 429.", e.pool.refused),
            "v2f_decoders_ended_total": ("Decoding processes that died or were ended.", e.decoders.killed),
            "process_resident_memory_bytes": ("Memory of the server's process.", resident_bytes()),
        }
        return Response(e.metrics.text(gauges), media_type="text/plain; version=0.0.4")

    async def examples(request: Request) -> Response:
        return JSONResponse({"examples": await run_in_threadpool(list_examples)})

    async def example(request: Request) -> Response:
        content = await run_in_threadpool(example_wav, request.path_params["key"])
        if content is None:
            raise Refusal(404, "There is no such example.")
        return Response(content, media_type="audio/wav")

    async def openapi(request: Request) -> Response:
        return JSONResponse(openapi_document(settings.limits, runs is not None))

    async def list_runs(request: Request) -> Response:
        return JSONResponse({"runs": await run_in_threadpool(_runs().entries)})

    async def run(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(_runs().detail, request.path_params["name"]))

    async def grid(request: Request) -> Response:
        parameters = request.path_params
        content = await run_in_threadpool(_runs().grid, parameters["name"], parameters["file"])
        return Response(content, media_type="image/png")

    def _runs() -> RunPages:
        if runs is None:
            raise Refusal(404, "No runs are shown here; start the server with --runs FOLDER.")
        return runs

    def route(path: str, handler, method: str = "GET") -> Route:
        return Route(path, _answering(handler, path, lambda: engine().metrics), methods=[method])

    routes = [
        route("/health", health),
        route("/metrics", metrics),
        route("/openapi.json", openapi),
        route("/api/v1/checkpoints", lambda request: engine().list_checkpoints(request)),
        route("/api/v1/faces", lambda request: engine().faces(request), "POST"),
        route("/api/v1/embeddings", lambda request: engine().embeddings(request), "POST"),
        route("/api/v1/morph", lambda request: engine().morph(request), "POST"),
        route("/api/v1/examples", examples),
        route("/api/v1/examples/{key}", example),
        route("/api/v1/runs", list_runs),
        route("/api/v1/runs/{name}", run),
        route("/api/v1/runs/{name}/grids/{file}", grid),
        *_page_routes(),
    ]
    handlers = {HTTPException: _http_error}
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)
    app.add_middleware(Guard, token=settings.token, hosts=settings.hosts)
    return app


def _answering(handler, path: str, metrics: Callable):
    """A handler whose refusals become answers, and which is counted. What is unexpected is logged by its type
    and place alone, without values."""

    async def answer(request: Request) -> Response:
        start = perf_counter()
        try:
            response = await handler(request)
        except Refusal as refusal:
            response = refusal_response(refusal)
        except asyncio.CancelledError:  # the server ends, and waits no longer
            response = refusal_response(Refusal(503, "The studio is ending; ask again once it runs."))
        except ClientDisconnect:
            response = refusal_response(Refusal(400, "The client has left."))
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            _log.error("%s at %s:%d", type(error).__name__, place.filename, place.lineno)
            response = refusal_response(Refusal(500, "Something went wrong here; it is in the server's log."))
        metrics().answered(path, response.status_code, perf_counter() - start)
        return response

    return answer


def _page_routes() -> list[Route]:
    """Routes of the files in pages/, read once: no path of a request reaches the file system."""
    folder = Path(__file__).parent / "pages"
    files = {p.name: p for p in folder.iterdir() if p.suffix in _KINDS}
    places = {**_PAGES, **{f"/{name}": name for name in files if not name.endswith(".html")}}

    def page(name: str):
        content, kind = files[name].read_bytes(), _KINDS[files[name].suffix]

        async def answer(request: Request) -> Response:
            return Response(content, media_type=f"{kind}; charset=utf-8")

        return answer

    return [Route(path, page(name), methods=["GET"]) for path, name in places.items()]


async def _http_error(request: Request, error: HTTPException) -> Response:
    """404 and 405 of the router, as JSON."""
    sentences = {404: "There is nothing under this address.", 405: "This address takes another method."}
    document = {"error": sentences.get(error.status_code, str(error.detail))}
    return JSONResponse(document, error.status_code, error.headers)


def _set_threads(workers: int) -> None:
    """Share the processors among the workers, or fewer where OMP_NUM_THREADS says so; for each thread."""
    import os

    import torch

    torch.set_num_threads(max(1, min(torch.get_num_threads(), (os.cpu_count() or 1) // workers)))
