"""Frames on the pipe to a decoding process: length of the head (4 bytes, big endian), head (JSON), body."""

import json
import struct


def frame(head: dict, body: bytes = b"") -> bytes:
    """A head with its body, as it goes over the pipe."""
    text = json.dumps(head).encode()
    return struct.pack(">I", len(text)) + text + body


def read_head(source) -> dict | None:
    """The next head from a binary file; None at its end."""
    length = source.read(4)
    if len(length) < 4:
        return None
    text = source.read(struct.unpack(">I", length)[0])
    try:
        return json.loads(text)
    except ValueError:
        return None
