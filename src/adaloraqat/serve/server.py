"""The server's life: its connections, its socket, its signals, and in which order it starts and stops.

uvicorn waits for a request's header forever: it only ends connections on which nothing at all comes after an
answer. Here a header has a time within which it must have come; the body's time is the application's to watch
(`body.read_body`).
"""

import asyncio
import errno
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from adaloraqat.errors import AdaloraqatError
from adaloraqat.serve.guard import Guard
from adaloraqat.serve.pool import WorkerPool
from adaloraqat.serve.problems import PROBLEM_JSON, problem_body
from adaloraqat.serve.settings import ServerSettings

_KEEP_ALIVE_S = 10
_HEADER_BYTES = 16 << 10
_LEAST_DRAIN_S = 1.0
_OPEN_FILES = 65_536
"""Files that may be open at once, where the system allows it: each film of a job that arrives is one."""


class TimedProtocol(H11Protocol):
    """A connection by HTTP/1.1 of uvicorn and h11; subclass with `header_s` set."""

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
        self._send_problem(400, "This is not a valid HTTP/1.1 request: check the client.")

    def _is_idle(self) -> bool:
        """Return whether no request is being answered."""
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


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        AdaloraqatError: the port is in use or may not be taken, or the address is not this computer's.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=1024)
    except socket.gaierror as error:
        raise AdaloraqatError(
            f"--host {host} is not an address of this computer: give one, or leave it out."
        ) from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            sentence = f"Port {port} is in use: stop what listens there, or choose another with --port."
        elif error.errno == errno.EACCES:
            sentence = f"Port {port} is reserved for administrators: choose one above 1023 with --port."
        else:
            sentence = f"--host {host} is not an address of this computer: give one, or leave it out."
        raise AdaloraqatError(sentence) from error


def allow_open_files(count: int) -> None:
    """Raise this process's limit of open files to `count`, or as far as the system allows."""
    with suppress(ImportError, OSError, ValueError):
        import resource  # not on Windows

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = count if hard == resource.RLIM_INFINITY else min(count, hard)
        if soft != resource.RLIM_INFINITY and soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def serve(
    listening: socket.socket,
    app: Guard,
    pool: WorkerPool,
    settings: ServerSettings,
    when_ready: Callable[[], None],
    when_stopping: Callable[[], None] = lambda: None,
) -> bool:
    """Start the workers and serve until a signal; then answer what is in progress, and end the workers.

    `when_stopping` is called first then, to end what would go on forever. Films of jobs that are in progress
    get what is left of `settings.drain_s` after the last client was answered.

    Returns:
        Whether it was Ctrl-C that ended it, and not SIGTERM.

    Raises:
        AdaloraqatError: no worker comes to be ready.
    """
    config = uvicorn.Config(
        app,
        http=type("_Protocol", (TimedProtocol,), {"header_s": settings.client_s}),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",  # uvicorn's own lines may quote what a client sent; the guard writes ours
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=min(_KEEP_ALIVE_S, settings.client_s),  # type: ignore[arg-type]
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
        h11_max_incomplete_event_size=_HEADER_BYTES,
    )
    server = _Server(config, when_ready, when_stopping)
    allow_open_files(_OPEN_FILES)
    try:
        with server.capture_signals():
            pool.start()
            server.run(sockets=[listening])
    finally:
        listening.close()
        pool.close(server.left(settings.drain_s))
    return server.last_signal == signal.SIGINT


class _Server(uvicorn.Server):
    """uvicorn's, which ends its own process by the signal that stopped it; here the caller ends it."""

    def __init__(
        self, config: uvicorn.Config, when_ready: Callable[[], None], when_stopping: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._when_ready = when_ready
        self._when_stopping = when_stopping
        self._capturing = False
        self.last_signal: int | None = None
        self._stopped_at: float | None = None

    def left(self, drain_s: float) -> float:
        """Return how many of `drain_s` seconds after the stop are left; hardly any after a second signal."""
        if self._stopped_at is None or self.force_exit:
            return _LEAST_DRAIN_S
        return max(_LEAST_DRAIN_S, self._stopped_at + drain_s - time.monotonic())

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Also say that it is ready."""
        await super().startup(sockets)
        self._when_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Also say that it stops."""
        self._stopped_at = time.monotonic()
        self._when_stopping()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Note SIGINT and SIGTERM within, from before the workers start."""
        if self._capturing:
            yield
            return
        self._capturing = True
        before = {number: signal.signal(number, self._noted) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _noted(self, number: int, frame: object) -> None:
        if self.should_exit:
            self.force_exit = True  # asked for a second time
        self.should_exit = True
        self.last_signal = number
