"""A multipart body in memory, never in a file, within limits of size and time."""

import asyncio
import logging
from collections.abc import AsyncIterator

from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from voice2face_gan.web.limits import Limits
from voice2face_gan.web.refusal import Refusal

logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # a client's faults are told to the client
_FIELDS = 32
_FIELD_BYTES = 4096


class _InMemory(MultiPartParser):
    spool_max_size = 2**40  # Starlette's would write what is larger than 1 MiB to a temporary file


async def read_upload(request: Request, limits: Limits, files: int) -> tuple[list[bytes], dict[str, str]]:
    """The recordings and the fields of a request.

    Args:
        request: its body was not read yet.
        limits: of size and time.
        files: number of parts `audio` that are wanted.
    Returns:
        The content of the parts `audio`, in their order, and the other fields. File names are not looked at.
    Raises:
        Refusal: 415 for another content type, 413 beyond the size, 408 beyond the time, 400 for a body that
            is no form, holds other files, or another number of recordings, and for options in the address.
    """
    if unknown := [name for name in request.query_params if name != "token"]:
        raise Refusal(400, f"'{unknown[0][:40]}' stands in the address; send it as a field of the form.")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise Refusal(415, "Send multipart/form-data with the recording as the file field 'audio'.")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limits.upload_bytes:
        raise _too_large(limits)
    stream = _bounded(request, limits)
    parser = _InMemory(
        request.headers, stream, max_files=files, max_fields=_FIELDS, max_part_size=_FIELD_BYTES
    )
    try:
        async with asyncio.timeout(limits.upload_seconds):
            form = await parser.parse()
    except TimeoutError:
        raise Refusal(408, "The upload took too long; send a shorter or compressed recording.") from None
    except ClientDisconnect:
        raise Refusal(400, "The upload was cut short.") from None
    except (MultiPartException, AssertionError, UnicodeError, ValueError) as error:
        detail = str(error) if isinstance(error, MultiPartException) else "it is not well formed"
        if detail.startswith("Too many files"):
            raise Refusal(400, f"Send {_wanted(files)}, and everything else as text.") from None
        raise Refusal(400, f"The form could not be read ({detail.rstrip('.')}).") from None
    try:
        return await _parts(form, files)
    finally:
        await form.close()


async def _parts(form, files: int) -> tuple[list[bytes], dict[str, str]]:
    recordings, fields = [], {}
    for name, value in form.multi_items():
        if isinstance(value, str):
            if name == "audio":
                raise Refusal(400, "The field 'audio' must be a file; with curl: -F audio=@clip.wav.")
            if name in fields:
                raise Refusal(400, f"The field '{name[:40]}' is given twice.")
            fields[name] = value
        elif name != "audio":
            raise Refusal(400, f"The file field is called 'audio', not '{name[:40]}'.")
        else:
            recordings.append(await value.read())
    if len(recordings) != files:
        raise Refusal(400, f"Send {_wanted(files)}, not {len(recordings)}.")
    return recordings, fields


def _wanted(files: int) -> str:
    return ("one recording" if files == 1 else f"{files} recordings") + " as the file field 'audio'"


async def _bounded(request: Request, limits: Limits) -> AsyncIterator[bytes]:
    """The body in pieces."""
    total, stream = 0, aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(limits.stall_seconds):
                piece = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise Refusal(408, "The upload stood still; try again.") from None
        total += len(piece)
        if total > limits.upload_bytes:
            raise _too_large(limits)
        yield piece


def _too_large(limits: Limits) -> Refusal:
    size = f"{limits.upload_bytes / 2**20:.0f} MiB"
    return Refusal(413, f"The upload is larger than {size}; send a shorter or compressed recording.")
