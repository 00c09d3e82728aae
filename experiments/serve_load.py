"""Load on the studio: times, refusals and memory of a `v2f-gan serve` that this script starts and ends.

    python experiments/serve_load.py [--checkpoint default] [--requests 200] [--clients 16] [--more 1800]

Printed as JSON: seconds from the start of the process to the page and to the first face; seconds from the end
of an upload to its face, one client; then of many clients at once: 50th and 95th percentile of the answered
requests, refusals (429), failures, images a second, memory after these and after more requests. `plain` is
images a second of `VoiceToFace.generate` in one process, clip after clip.
"""

import argparse
import http.client
import json
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

BOUNDARY = "b0undary"


def form(recording: bytes) -> bytes:
    """A multipart body with one recording."""
    head = 'Content-Disposition: form-data; name="audio"; filename="a.wav"\r\n\r\n'
    return f"--{BOUNDARY}\r\n{head}".encode() + recording + f"\r\n--{BOUNDARY}--\r\n".encode()


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, dict, bytes, float]:
    """Status, headers, body, and seconds from the end of the upload to the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"} if body else {}
        connection.request(method, path, body, kind)
        sent = time.perf_counter()
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, dict(answer.getheaders()), content, time.perf_counter() - sent
    finally:
        connection.close()


def memory(port: int) -> float:
    """MiB that the server's process has in RAM."""
    text = ask(port, "GET", "/metrics")[2].decode()
    return float(re.search(r"^process_resident_memory_bytes (\S+)", text, re.MULTILINE)[1]) / 2**20


def load(port: int, body: bytes, clients: int, requests: int) -> dict:
    """`requests` answered by faces, of `clients` at once; a refused one comes again as it is told."""
    left, lock = iter(range(requests)), threading.Lock()
    seconds, refused, failed = [], [0], []

    def client() -> None:
        while True:
            with lock:
                if next(left, None) is None:
                    return
            while True:
                status, headers, content, taken = ask(port, "POST", "/api/v1/faces", body)
                if status != 429:
                    break
                with lock:
                    refused[0] += 1
                time.sleep(float(headers.get("retry-after", headers.get("Retry-After", 1))))
            with lock:
                seconds.append(taken)
                if status != 200:
                    failed.append(content[:100].decode("utf-8", "replace"))

    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        for future in [pool.submit(client) for _ in range(clients)]:
            future.result()
    whole = time.perf_counter() - start
    return {
        "requests": requests,
        "clients": clients,
        "p50": round(float(np.percentile(seconds, 50)), 3),
        "p95": round(float(np.percentile(seconds, 95)), 3),
        "refused": refused[0],
        "failed": len(failed),
        "images_per_second": round(requests / whole, 2),
        "mib": round(memory(port), 1),
    }


def plain(checkpoint: str, recording: Path, count: int) -> float:
    """Images a second of one process."""
    from voice2face_gan import VoiceToFace

    model = VoiceToFace.from_pretrained(checkpoint)
    model.generate(recording)
    start = time.perf_counter()
    for _ in range(count):
        model.generate(recording)
    return round(count / (time.perf_counter() - start), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="default")
    parser.add_argument("--clip", type=Path, default=Path(__file__).parents[1] / "assets" / "sample.wav")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--more", type=int, default=0, help="requests after these, for the memory")
    given = parser.parse_args()
    command = [
        sys.executable,
        "-m",
        "voice2face_gan",
        "serve",
        "--port",
        "0",
        "--checkpoint",
        given.checkpoint,
    ]
    start = time.perf_counter()
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    result = {"checkpoint": given.checkpoint, "clip": given.clip.name}
    try:
        port = int(re.search(r":(\d+)/", server.stderr.readline())[1])
        body = form(given.clip.read_bytes())
        while True:
            try:
                ask(port, "GET", "/")
                break
            except OSError:
                time.sleep(0.01)
        result["start_to_page"] = round(time.perf_counter() - start, 2)
        assert ask(port, "POST", "/api/v1/faces", body)[0] == 200
        result["start_to_face"] = round(time.perf_counter() - start, 2)
        alone = [ask(port, "POST", "/api/v1/faces", body)[3] for _ in range(10)]
        result["upload_to_face"] = round(float(np.median(alone)), 3)
        result["load"] = load(port, body, given.clients, given.requests)
        if given.more:
            result["later"] = load(port, body, given.clients, given.more)
            result["memory_ratio"] = round(result["later"]["mib"] / result["load"]["mib"], 3)
    finally:
        server.terminate()
        server.wait()
    result["plain"] = plain(given.checkpoint, given.clip, 20)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
