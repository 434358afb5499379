"""HTTP/1.1 of uvicorn and h11, with a time within which a request's header must have come.

uvicorn waits for a header for ever: it only ends connections on which nothing at all comes after an answer.
The body's time is the application's to watch (`body.read_body`).
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from adaloraqat.serve.problems import PROBLEM_JSON, problem_body


class TimedProtocol(H11Protocol):
    """A connection; subclass with `header_s` set."""

    header_s = 20.0
    """Seconds from a connection's start, or from the first byte of a later request, to the header's end."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Start the clock at a later request's first byte, stop it at the header's end."""
        if self._timer is None and self._is_idle():
            self._watch()
        super().data_received(data)
        if not self._is_idle():
            self._unwatch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._unwatch()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP as every other problem is answered."""
        self._send_problem(400, "This is no HTTP/1.1 request that can be understood: check the client.")

    def _is_idle(self) -> bool:
        """Tell whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _watch(self) -> None:
        self._timer = self.loop.call_later(self.header_s, self._late)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if self.transport.is_closing() or not self._is_idle():
            return
        self._send_problem(408, "The request's header did not arrive in time: send it faster.")

    def _send_problem(self, status: int, sentence: str) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = problem_body(status, sentence)
            headers = [
                (b"content-type", PROBLEM_JSON.encode()),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
            ]
            for event in (
                h11.Response(status_code=status, headers=headers),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
