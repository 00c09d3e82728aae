"""Download of one file: tried at several addresses, checked, and written whole or not at all.

Proxies are those of http_proxy, https_proxy and no_proxy. The library function for this,
`torch.hub.download_url_to_file`, does not suffice: it waits without a limit for a connection and for a
stalled transfer, tries one address, and draws a bar of its own.
"""

import contextlib
import hashlib
import http.client
import os
import queue
import ssl
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from voice2face_gan.errors import DownloadError, OutputError, first_line
from voice2face_gan.version import __version__

CONNECT_SECONDS = 6.0  # seconds until a server must have been reached
STALL_SECONDS = 20.0  # seconds within which it must answer, and send LEAST bytes
MIN_BYTES_PER_STALL = 1 << 16
_BLOCK_BYTES = 1 << 18
_OFFLINE = ("V2F_OFFLINE", "HF_HUB_OFFLINE")


def offline() -> str:
    """The environment variable that forbids the network here; "" where none does."""
    values = {name: os.environ.get(name, "").strip().upper() for name in _OFFLINE}
    return next((name for name, value in values.items() if value in ("1", "ON", "YES", "TRUE")), "")


def download(
    addresses: Iterable[str],
    path: Path,
    digest: str,
    max_bytes: int,
    begin: Callable[[str, int | None], None] = lambda host, size: None,
    progress: Callable[[int], None] = lambda done: None,
    connect_timeout: float = CONNECT_SECONDS,
    stall_timeout: float = STALL_SECONDS,
) -> None:
    """Fetch a file from the first address that has it.

    Args:
        addresses: http(s) addresses of the same file, tried in turn.
        path: path of the file; its folder is made. Nothing is there until the file is complete and checked.
        digest: first hexadecimal digits of its SHA-256.
        max_bytes: largest size of the file; a longer answer is refused.
        begin: called with the server's name and the size in bytes (None: unknown) before a transfer.
        progress: called with the number of bytes received.
        connect_timeout: seconds to wait for a connection.
        stall_timeout: seconds to wait for an answer, and for the next MIN_BYTES_PER_STALL bytes.
    Raises:
        DownloadError: the network is forbidden, or no address gave the file; with the reason for each.
        OutputError: the file cannot be written.
    """
    if forbidden := offline():
        raise DownloadError(f"{forbidden} is set")
    reasons, unreachable = [], set()
    for address in addresses:
        host = urlsplit(address).netloc.rpartition("@")[2]
        if host in unreachable:  # it would only be waited for again
            continue
        try:
            with _open(address, host, connect_timeout, stall_timeout) as response:
                return _save(response, host, path, digest, max_bytes, begin, progress, stall_timeout)
        except _Unreachable as error:
            unreachable.add(host)
            reasons.append(str(error))
        except DownloadError as error:
            reasons.append(str(error))
    raise DownloadError("; ".join(dict.fromkeys(reasons)))


class _Unreachable(DownloadError):
    """No connection to a server: its other addresses need not be tried."""


def _open(address: str, host: str, connect_timeout: float, stall_timeout: float):
    """The server's answer, its headers read.

    The request runs in a thread, since a name look-up has no time limit of its own, and the limit of a
    connection holds for each of a server's addresses.
    """
    request = urllib.request.Request(address, headers={"User-Agent": f"voice2face-gan/{__version__}"})
    connected, answers = threading.Event(), queue.SimpleQueue()

    def ask():
        try:
            answers.put(_opener(connect_timeout, connected).open(request, timeout=stall_timeout))
        except Exception as error:
            answers.put(error)
        finally:
            connected.set()  # there is an answer, or an error to look at

    threading.Thread(target=ask, daemon=True).start()
    where = host + _by_proxy(address)
    if not connected.wait(connect_timeout):
        raise _Unreachable(f"{where} does not answer")
    try:
        answer = answers.get(timeout=2 * stall_timeout)  # with a redirection to follow there are two answers
    except queue.Empty:
        raise DownloadError(f"{where} does not answer") from None
    if isinstance(answer, urllib.error.HTTPError):
        with answer:
            raise DownloadError(f"{where} answers {answer.code} {answer.reason}")
    if isinstance(answer, Exception):
        unreachable = isinstance(answer, urllib.error.URLError)  # it wraps what went wrong with a connection
        reason = answer.reason if unreachable else answer
        timed_out = isinstance(reason, TimeoutError)
        why = "does not answer" if timed_out else f"cannot be reached: {_cause(reason)}"
        raise (_Unreachable if unreachable else DownloadError)(f"{where} {why}") from answer
    return answer


def _opener(connect_timeout: float, connected: threading.Event) -> urllib.request.OpenerDirector:
    """Opener of addresses through the proxies that the environment names now.

    A connection, with its TLS handshake, has a time limit of its own and is reported to `connected`."""

    def limited(kind):
        class Connection(kind):
            def connect(self):
                for_answers, self.timeout = self.timeout, connect_timeout
                super().connect()
                self.sock.settimeout(for_answers)
                connected.set()

        return Connection

    class Http(urllib.request.HTTPHandler):
        def http_open(self, request):
            return self.do_open(limited(http.client.HTTPConnection), request)

    class Https(urllib.request.HTTPSHandler):
        def https_open(self, request):
            context = ssl.create_default_context()
            return self.do_open(limited(http.client.HTTPSConnection), request, context=context)

    return urllib.request.build_opener(Http, Https)


def _by_proxy(address: str) -> str:
    """Clause about the proxy of an address; the proxy's own address may hold a password."""
    parts = urlsplit(address)
    if parts.scheme not in urllib.request.getproxies() or urllib.request.proxy_bypass(parts.netloc):
        return ""
    return f", through the proxy of {parts.scheme}_proxy,"


def _cause(error) -> str:
    """The cause in a few words, without an error's number."""
    if isinstance(error, ssl.SSLCertVerificationError):  # as where a company's proxy looks into the traffic
        return f"{error.verify_message} (SSL_CERT_FILE names the certificates that are trusted)"
    text = getattr(error, "strerror", None)
    return text or (first_line(error) if isinstance(error, Exception) else str(error))


def _save(
    response, host, path: Path, digest: str, max_bytes: int, begin, progress, stall_timeout: float
) -> None:
    """Save the body of an answer, in a hidden file of this call's own until it is checked."""
    length = response.headers.get("Content-Length", "")
    size = int(length) if length.isdecimal() else None
    if size is not None and size > max_bytes:
        raise DownloadError(f"{host} offers {size:,} bytes, which is not the file")
    begin(host, size)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    found, done = hashlib.sha256(), 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:
            for block in _blocks(response, host, stall_timeout):
                done += len(block)
                if done > max_bytes:
                    raise DownloadError(f"{host} sent more than {max_bytes:,} bytes, which is not the file")
                file.write(block)
                found.update(block)
                progress(done)
            file.flush()
            os.fsync(file.fileno())  # before the name is there
        if size is not None and done < size:
            raise DownloadError(f"the transfer from {host} broke off after {done:,} of {size:,} bytes")
        if not found.hexdigest().startswith(digest):
            raise DownloadError(
                f"{host} sent another file ({done:,} bytes, SHA-256 {found.hexdigest()[:8]}, not {digest})"
            )
        os.replace(part, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or error}).") from error
    finally:
        with contextlib.suppress(OSError):  # it was renamed, or could not be made
            part.unlink()


def _blocks(response, host: str, stall_timeout: float) -> Iterator[bytes]:
    """Blocks of the body as they arrive; a stalled or slow transfer ends in an error."""
    since, got = time.monotonic(), 0
    while True:
        try:
            block = response.read1(_BLOCK_BYTES)
        except TimeoutError as error:
            raise DownloadError(f"the transfer from {host} stalled") from error
        except (OSError, http.client.HTTPException) as error:
            raise DownloadError(f"the transfer from {host} broke off: {_cause(error)}") from error
        if not block:
            return
        yield block
        got, now = got + len(block), time.monotonic()
        if now - since >= stall_timeout:
            if got < MIN_BYTES_PER_STALL:
                raise DownloadError(f"the transfer from {host} stalled")
            since, got = now, 0
