"""The links of a chained Ogg file: recordings joined end to end, as radio streams are.

FFmpeg reads on only where the next link has the same number of channels, and drops it otherwise. So each link
is decoded as a file of its own.
"""

from __future__ import annotations

import struct

from voice2face_gan.audio.decoding.source import RecordingFile

_CHUNK = 2**22  # bytes searched at a time
_HEAD = struct.Struct(
    "<4sBBqIIIB"
)  # mark, version, flags, granule, serial number, page number, CRC, segments
_FIRST_PAGE = 2  # flag of the first page of a stream
_MAX_LINKS = 10_000


def ogg_links(file: RecordingFile) -> list[RecordingFile]:
    """The links in order; the file itself if it is no Ogg or has one link.

    The first pages of all streams of a link come before all others (RFC 3533, section 4), so a link begins
    where a first page follows a page that is none.
    """
    if file.head(4) != b"OggS":
        return [file]
    starts, inside, position, size = [], False, 0, file.size()
    while position < size and len(starts) < _MAX_LINKS:
        chunk = file.head(_CHUNK + _HEAD.size, position)
        at = chunk.find(b"OggS")
        while 0 <= at < _CHUNK and at + _HEAD.size <= len(chunk):
            _, version, flags, granule, _, number, _, _ = _HEAD.unpack_from(chunk, at)
            first = version == 0 and flags == _FIRST_PAGE and granule == 0 and number == 0
            if first and not inside:
                starts.append(position + at)
            if version == 0 and flags < 8:
                inside = first
            at = chunk.find(b"OggS", at + 4)
        position += _CHUNK
    if len(starts) < 2:
        return [file]
    return [file.part(a, b) for a, b in zip([0, *starts[1:]], [*starts[1:], None], strict=True)]
