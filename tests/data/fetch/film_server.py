"""A film whose every moment is known, and a server on 127.0.0.1 that behaves as badly as the network."""

import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from av import open as open_film

from voice2face_gan.audio.decode import load_audio

SECONDS, FPS, RATE = 6, 10, 16_000


def film_sound() -> np.ndarray:
    """A tone that changes every second: 200 Hz in the first, 400 Hz in the second, and so on."""
    t = np.arange(SECONDS * RATE) / RATE
    return (0.4 * np.sin(2 * np.pi * 200 * (np.floor(t) + 1) * t)).astype(np.float32)


def film_images() -> np.ndarray:
    """Grey that grows by 4 with every image: its level tells the time."""
    levels = (np.arange(SECONDS * FPS) * 4).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (len(levels), 64, 96, 3))


class Server:
    """Serves one film under every id; `behaviour[id]` says how badly.

    Attributes:
        behaviour: "404", "500", "429 once", "429", "short" (the connection ends early), "short once",
            "whole" (no pieces), "text" (not a film), "cut" (half the file), "slow"; else it is served well.
        requests: id -> how often anything of it was asked for.
    """

    def __init__(self, film: bytes):
        self.film = film
        self.behaviour: dict[str, str] = {}
        self.requests: Counter[str] = Counter()
        self.retry_after = "1"
        self.gate = threading.Event()  # "slow" waits for it
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_HEAD(self):
                self.do_GET()

            def do_GET(self):
                server.answer(self)

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._http.server_port}/{{id}}.mp4"

    def close(self) -> None:
        self.gate.set()
        self._http.shutdown()
        self._http.server_close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        video = handler.path.strip("/").removesuffix(".mp4")
        self.requests[video] += 1
        how = self.behaviour.get(video, "")
        once = how.endswith(" once") and self.requests[video] == 1
        if how in ("404", "500"):
            return self._refuse(handler, int(how))
        if how == "429" or (how == "429 once" and once):
            return self._refuse(handler, 429, {"Retry-After": self.retry_after})
        if how == "slow":
            self.gate.wait(20)
        content = {"text": b"no film at all " * 100, "cut": self.film[: len(self.film) // 2]}.get(
            how, self.film
        )
        asked = re.match(r"bytes=(\d+)-(\d*)", handler.headers.get("Range") or "")
        start, end = 0, len(content) - 1
        if asked and how != "whole":
            start = min(int(asked.group(1)), len(content))
            end = min(int(asked.group(2) or end), end)
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{end}/{len(content)}")
        else:
            handler.send_response(200)
        body = content[start : end + 1]
        handler.send_header("Content-Type", "video/mp4")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command == "HEAD":
            return None
        if (how == "short" or once) and len(body) > 2000:
            body = body[: len(body) // 2]
            handler.close_connection = True
        try:
            handler.wfile.write(body)
        except OSError:  # the client has heard enough
            handler.close_connection = True
        return None

    @staticmethod
    def _refuse(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str] | None = None) -> None:
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()


def levels(path) -> list[float]:
    """The grey of every image, and so its time in the film: 4 an image, ten images a second."""
    with open_film(str(path)) as film:
        return [float(frame.to_ndarray(format="gray").mean()) for frame in film.decode(video=0)]


def pitch(sound: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return float(np.fft.rfftfreq(len(sound), 1 / 16_000)[spectrum.argmax()])


def check(path, start: float, end: float) -> None:
    """The clip holds just that stretch of the film of `conftest`."""
    seen = levels(path)
    assert len(seen) == pytest.approx((end - start) * 10, abs=1)
    assert seen[0] == pytest.approx(40 * start, abs=5) and seen[-1] == pytest.approx(40 * end - 4, abs=6)
    sound = load_audio(path)
    assert len(sound) / 16_000 == pytest.approx(end - start, abs=0.15)  # AAC adds a packet or two
    for second in range(int(np.ceil(start)), int(end)):
        middle = round((second - start + 0.5) * 16_000)
        assert pitch(sound[middle - 3000 : middle + 3000]) == pytest.approx(200 * (second + 1), abs=15)
    with open_film(str(path)) as film:
        assert film.duration / 1e6 == pytest.approx(end - start, abs=0.15)
