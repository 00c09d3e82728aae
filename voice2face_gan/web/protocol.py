"""Uvicorn's HTTP protocol with a limit on slow headers and on bodies that nobody waits for any more."""

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 10.0


class BoundedProtocol(H11Protocol):
    """A connection is closed after `HEADER_SECONDS` in which a client completes no header, or still sends the
    body of a request that is answered already. While a request is read, `upload.py` has the limits; while a
    connection is idle, Uvicorn has."""

    _timer = None

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        answered = self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY
        if self.conn.their_state is h11.IDLE or answered:
            self._watch()
        else:
            self._unwatch()

    def connection_lost(self, exc) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()
