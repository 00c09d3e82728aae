"""A studio on a port of this machine, in a thread, with the shipped checkpoint of the synthetic world."""

import contextlib
import http.client
import json
import socket
import threading
import time
from pathlib import Path

import pytest

from voice2face_gan.web.app import Settings, create_app
from voice2face_gan.web.limits import Limits
from voice2face_gan.web.server import bind, make_server

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "assets" / "sample.wav"
BOUNDARY = "b0undary"


def multipart(files=(), boundary: str = BOUNDARY, **fields) -> bytes:
    """A form: files as (field, file name, bytes), and fields."""
    parts = []
    for name, value in fields.items():
        parts.append(f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode())
    for field, name, content in files:
        head = f'Content-Disposition: form-data; name="{field}"; filename="{name}"'
        parts.append(head.encode() + b"\r\nContent-Type: application/octet-stream\r\n\r\n" + content)
    mark = f"--{boundary}".encode()
    return b"".join(mark + b"\r\n" + part + b"\r\n" for part in parts) + mark + b"--\r\n"


class Answer:
    """An answer: status, headers (a message object), body."""

    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()

    @property
    def json(self):
        return json.loads(self.body)


class Client:
    """Requests to one server; a connection each."""

    def __init__(self, port: int, host: str = "127.0.0.1"):
        self.port, self.host = port, host
        self.url = f"http://{host}:{port}/"

    def __call__(self, method: str, path: str, body=None, **headers) -> Answer:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=300)  # busy machines
        with contextlib.closing(connection):
            names = {key.replace("_", "-"): value for key, value in headers.items()}
            connection.request(method, path, body, names)
            return Answer(connection.getresponse())

    def get(self, path: str, **headers) -> Answer:
        return self("GET", path, **headers)

    def post(self, route: str, /, *recordings: bytes, accept: str = "application/json", **fields) -> Answer:
        """Recordings as the fields `audio`."""
        body = multipart([("audio", f"{i}.wav", content) for i, content in enumerate(recordings)], **fields)
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        return self("POST", route, body, content_type=kind, accept=accept)

    def raw(self, content: bytes, seconds: float = 10.0) -> bytes:
        """All that the server sends upon some bytes, until it closes the connection or the time is over."""
        with socket.create_connection((self.host, self.port), timeout=seconds) as sock:
            found = b""
            with contextlib.suppress(OSError):
                sock.sendall(content)
                while piece := sock.recv(65536):
                    found += piece
            return found


@contextlib.contextmanager
def running(settings: Settings, host: str = "127.0.0.1"):
    """Context with a client of a server that runs in a thread; `client.app` is the application."""
    app = create_app(settings)
    sock = bind(host, 0)
    server = make_server(app, settings.limits.connections)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    client = Client(sock.getsockname()[1])
    client.app = app
    deadline = time.monotonic() + 60
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    try:
        yield client
    finally:
        server.should_exit = True
        thread.join(20)
        sock.close()
        assert not thread.is_alive(), "the server does not end"


@pytest.fixture(scope="session")
def studio(own_cache):
    """Client of a studio with default limits."""
    with running(Settings(("synthetic",), limits=Limits(workers=2, wait_seconds=60))) as client:
        yield client


@pytest.fixture(scope="session")
def small(own_cache):
    """Client of a studio with limits that a test reaches at once."""
    limits = Limits(
        upload_bytes=2**20, recording_seconds=8, workers=1, queue=2, uploads=3, stall_seconds=1.5,
        upload_seconds=4, decode_seconds=5, wait_seconds=60,
    )  # fmt: skip
    with running(Settings(("synthetic",), limits=limits)) as client:
        yield client


@pytest.fixture(scope="session")
def sample() -> bytes:
    """The shipped sample clip, 5 s."""
    return SAMPLE.read_bytes()


@pytest.fixture(scope="session")
def model():
    """The model that the studios serve."""
    from voice2face_gan.pipeline import VoiceToFace

    return VoiceToFace.from_pretrained("synthetic")


@pytest.fixture(scope="session")
def form():
    """The function `multipart`."""
    return multipart


@pytest.fixture(scope="session")
def serving():
    """The context manager `running`."""
    return running


@pytest.fixture(scope="session")
def client():
    """The class `Client`."""
    return Client


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT
