"""Videos on the network: found by yt-dlp, read in pieces, so that a clip of a long film costs megabytes.

yt-dlp is used as a library: it finds the addresses of a video's files and opens them with the headers,
cookies and proxies the site wants. It downloads nothing itself and needs no ffmpeg program: the pieces go to
PyAV.
"""

import io
import re
import tempfile
import threading
from collections import OrderedDict
from email.utils import parsedate_to_datetime
from time import time
from typing import IO, Any

from voice2face_gan.data.fetch.errors import FetchError, FetchStopped
from voice2face_gan.errors import DataError

YOUTUBE = "https://www.youtube.com/watch?v={id}"
BLOCK = 256 * 1024  # bytes of one request
_CACHED_BLOCKS = 48  # of a file: a clip's sound and images, and the index
_MAX_WHOLE_BYTES = 2 << 30  # of a file that the server only gives whole
_THROTTLED = re.compile(
    r"not a bot|too many requests|rate.?limit|try again later|HTTP Error (429|503)", re.IGNORECASE
)
# Said of a video that is there: yt-dlp is out of date, or lacks the JavaScript runtime that YouTube needs.
_OURS = re.compile(r"format is not available|needs to be reloaded|update.* yt-dlp", re.IGNORECASE)
_PASSING = (403, 408, 425, 500, 502, 504)  # 403: an address of YouTube's has expired; a new one may be had


def import_yt_dlp() -> Any:
    """yt-dlp, or a sentence that names the extra.

    Raises:
        DataError: it is not installed.
    """
    try:
        import yt_dlp
    except ImportError:
        raise DataError(
            "fetching needs yt-dlp; install it with: pip install 'voice2face-gan[avspeech]'."
        ) from None
    return yt_dlp


class Site:
    """One worker's yt-dlp (an instance serves one thread).

    Args:
        stop: set when the run is to stop.
        height: of the images, at most, where there is a choice.
        timeout: seconds without an answer that count as a failure.
    """

    def __init__(self, stop: threading.Event, height: int = 480, timeout: float = 30.0):
        yt_dlp = import_yt_dlp()
        self._download_error = yt_dlp.utils.DownloadError
        direct = "[protocol~='^https?$']"  # files that can be read in pieces, not playlists
        small = f"[height<=?{height}]{direct}"
        self._ydl = yt_dlp.YoutubeDL(
            {
                "format": f"bv*{small}+ba{direct}/b{small}/bv*{direct}+ba{direct}/b{direct}",
                "logger": _Silence(),
                "quiet": True,
                "noprogress": True,
                "noplaylist": True,
                "retries": 0,  # tried again by us, with everybody's patience in mind
                "extractor_retries": 0,
                "socket_timeout": timeout,
            }
        )
        self._stop = stop

    def open(self, url: str) -> "list[RemoteFile]":
        """A video's files: one with sound and images, or one of each.

        Raises:
            FetchError: there is no such video, or not now.
        """
        try:
            info = self._ydl.extract_info(url, download=False)
        except self._download_error as error:
            raise fetch_error(error) from error
        formats = info.get("requested_formats") or [info]
        if not all(f.get("url") for f in formats):
            raise FetchError("the address leads to no video", final=True)
        return [RemoteFile(self._ydl, f["url"], f.get("http_headers") or {}, self._stop) for f in formats]

    def close(self) -> None:
        self._ydl.close()


class RemoteFile:
    """A file on a server, read in blocks by range requests; for PyAV, which wants read, seek and tell.

    A server that gives the file only whole is read once, to a temporary file.

    Raises:
        FetchError, FetchStopped: by `read` and by seeking to the end.
    """

    def __init__(self, ydl: Any, url: str, headers: dict[str, str], stop: threading.Event):
        self._ydl, self._url, self._headers, self._stop = ydl, url, headers, stop
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._whole: IO[bytes] | None = None
        self._size: int | None = None
        self._position = 0
        self.fetched = 0

    def read(self, count: int = -1) -> bytes:
        if count < 0:
            count = self._length() - self._position
        parts = []
        while count > 0:
            number, offset = divmod(self._position, BLOCK)
            if self._size is not None and self._position >= self._size:
                break
            part = self._block(number)[offset : offset + count]
            if not part:
                break
            parts.append(part)
            self._position += len(part)
            count -= len(part)
        return b"".join(parts)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}.get(whence)
        self._position = max((self._length() if start is None else start) + offset, 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._blocks.clear()
        if self._whole is not None:
            self._whole.close()

    def _length(self) -> int:
        if self._size is None:
            self._block(0)
        return self._size

    def _block(self, number: int) -> bytes:
        if self._whole is not None:
            self._whole.seek(number * BLOCK)
            return self._whole.read(BLOCK)
        if number not in self._blocks:
            self._blocks[number] = self._request(number)
            if len(self._blocks) > _CACHED_BLOCKS:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def _request(self, number: int) -> bytes:
        from yt_dlp.networking import Request
        from yt_dlp.networking.exceptions import RequestError

        if self._stop.is_set():
            raise FetchStopped
        start = number * BLOCK
        headers = self._headers | {"Range": f"bytes={start}-{start + BLOCK - 1}"}
        try:
            with self._ydl.urlopen(Request(self._url, headers=headers)) as response:
                if response.status != 206:
                    return self._take_whole(response, number)
                found = re.match(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range") or "")
                if not found or int(found.group(1)) != start:
                    raise FetchError("the server answers with another piece than asked for")
                self._size = int(found.group(3))
                content = response.read()
        except RequestError as error:
            raise fetch_error(error) from error
        self.fetched += len(content)
        if len(content) != min(BLOCK, self._size - start):
            raise FetchError("the connection ended early")
        return content

    def _take_whole(self, response: Any, number: int) -> bytes:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object
        try:
            while piece := response.read(BLOCK):
                if self._stop.is_set():
                    raise FetchStopped
                file.write(piece)
                if file.tell() > _MAX_WHOLE_BYTES:
                    raise FetchError(
                        f"larger than {_MAX_WHOLE_BYTES >> 30} GiB, and not to be had in pieces", final=True
                    )
            announced = response.headers.get("Content-Length") or ""
            if announced.isdecimal() and int(announced) != file.tell():
                raise FetchError("the connection ended early")
        except BaseException:
            file.close()
            raise
        self._whole, self._size = file, file.tell()
        self.fetched += self._size
        return self._block(number)


def fetch_error(error: BaseException) -> FetchError:
    """The failure of a clip that an error of yt-dlp means."""
    from yt_dlp.networking.exceptions import HTTPError, TransportError
    from yt_dlp.utils import ExtractorError

    chain = list(_chain(error))
    http = next((e for e in chain if isinstance(e, HTTPError)), None)
    reason = _one_line(str(chain[0]))
    if http is not None:
        throttled = http.status in (429, 503)
        final = not throttled and http.status not in _PASSING
        return FetchError(f"HTTP {http.status} {http.reason}", final, throttled, _retry_after(http))
    if _THROTTLED.search(reason):
        return FetchError(reason, throttled=True)
    if any(isinstance(e, TransportError) for e in chain):
        return FetchError(f"the connection failed: {reason}")
    # "Video unavailable", "Private video", "This video has been removed": expected by an extractor.
    expected = any(isinstance(e, ExtractorError) and e.expected for e in chain)
    return FetchError(reason, final=expected and not _OURS.search(reason))


def _chain(error: BaseException | None):
    """An error and all that it wraps: yt-dlp keeps the first one in `exc_info`, in `cause`, or in neither."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        one = waiting.pop(0)
        if not isinstance(one, BaseException) or any(one is other for other in seen):
            continue
        seen.append(one)
        yield one
        inner = (getattr(one, "exc_info", None) or (None, None))[1]
        waiting += [inner, getattr(one, "cause", None), one.__cause__, one.__context__]


def _retry_after(error: Any) -> float | None:
    """Seconds that a Retry-After header asks for: a number of them, or a date."""
    text = error.response.headers.get("Retry-After") or ""
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - time(), 0.0)
    except (TypeError, ValueError):
        return None


def _one_line(text: str) -> str:
    """An error message of yt-dlp's without colours, its "ERROR:", and its plea for a report."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = re.sub(r"^ERROR:\s*", "", text)
    text = re.split(r"[;.]\s+(?:please report this issue|Confirm you are on)", text)[0]
    return " ".join(text.split())[:200] or "unknown error"


class _Silence:
    """yt-dlp's messages: every one that matters comes as an exception too."""

    def debug(self, message: str) -> None: ...

    def info(self, message: str) -> None: ...

    def warning(self, message: str, *args, **kwargs) -> None: ...

    def error(self, message: str) -> None: ...
