"""Who may call: by Host, Origin and token; how many at once; and what is counted and logged of each call.

A web page can post to 127.0.0.1 from any browser on this computer, and with a name of its own that it lets
point there (DNS rebinding) it could read the answer. So calls that name another host, or come from a page
of another origin, are refused before their body is read.
"""

import hmac
import logging
import time
from collections.abc import Iterable
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route, Router
from starlette.types import Message, Receive, Scope, Send

from adaloraqat.errors import AdaloraqatError
from adaloraqat.serve.body import discard
from adaloraqat.serve.film import WorkerDefect
from adaloraqat.serve.film_work import place_of
from adaloraqat.serve.pool import WorkerPool
from adaloraqat.serve.problems import Problem, busy, problem_of, problem_response
from adaloraqat.serve.settings import ServerSettings, is_loopback

TEXT = "text/plain; version=0.0.4; charset=utf-8"
"""What /metrics is called in Content-Type."""
_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60)
log = logging.getLogger("adaloraqat")
OPEN_PATHS = ("/healthz", "/readyz")
"""What answers without a token, and however much there is to do: it tells only that the server is there."""
_READING = ("GET", "HEAD", "OPTIONS")
_DISCARD_S = 2.0
_CLIENT_GONE = 499  # in the log and the metrics only; as nginx has it
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Server": "adaloraqat"}


class Metrics:
    """What /metrics tells, nothing of any film: calls counted by route and status, and how the pool is."""

    def __init__(self, pool: WorkerPool) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "adaloraqat_requests", "Requests answered.", ("route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "adaloraqat_request_seconds",
            "Time from a request's header to its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.registry.register(_Pool(pool))

    def count(self, route: str, status: int, seconds: float) -> None:
        """Note one request; `route` as it is declared, so that there are few."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """Return the page."""
        return generate_latest(self.registry)


class _Pool(Collector):
    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool

    def collect(self) -> Iterable[Metric]:
        pool = self._pool
        for name, text, value in (
            ("waiting_films", "Films waiting for a worker.", pool.waiting),
            ("films_in_work", "Films that a worker is reading or segmenting.", pool.in_work),
            ("ready_workers", "Workers whose models are loaded.", pool.ready_workers),
            ("workers", "Workers that the server was started with.", pool.workers),
        ):
            yield GaugeMetricFamily(f"adaloraqat_{name}", text, value)
        yield CounterMetricFamily("adaloraqat_worker_deaths", "Workers that died or were ended.", pool.deaths)


class Guard:
    """The outermost application: checks a call, answers its errors, counts it, and writes one line of it.

    The line has method, route, status and time; never a path as it was sent, a query, a header or a name.
    """

    def __init__(self, router: Router, settings: ServerSettings, metrics: Metrics) -> None:
        self._router = router
        self._paths = {route.endpoint: route.path for route in router.routes if isinstance(route, Route)}
        self._settings = settings
        self._metrics = metrics
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["type"] != "http":  # there is nothing to start, and there are no web sockets
            return
        scope["app"] = self  # so that the router raises what it refuses
        started = time.perf_counter()
        status: int | None = None
        left = scope["method"] not in _READING  # whether there may be more of the body
        if "100-continue" in Headers(scope=scope).get("Expect", "").lower():
            left = False  # the client waits to be told to send it

        async def heard() -> Message:
            nonlocal left
            message = await receive()
            left = message.get("more_body", False)
            return message

        async def refuse(problem: Problem) -> None:
            if left:  # unread, the client would see a reset
                await discard(heard, self._settings.max_bytes, _DISCARD_S)
            await problem_response(problem)(scope, heard, noted)

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        self._open += 1
        try:
            try:
                self._check(scope)
                await self._router(scope, heard, noted)
            except ClientDisconnect:
                status = status or _CLIENT_GONE
            except HTTPException as error:
                await refuse(_of_router(error))
            except AdaloraqatError as error:
                if status is None:
                    await refuse(problem_of(error))
            except Exception as error:  # a defect; its text may hold what a film says, so it is not logged
                place = str(error) if isinstance(error, WorkerDefect) else place_of(error)
                log.error("Bug in adaloraqat: %s.", place)
                if status is None:
                    sentence = "Internal error: the details are in the server's log, without the film."
                    await refuse(Problem(500, sentence))
        finally:
            self._open -= 1
            self._note(scope, status or _CLIENT_GONE, time.perf_counter() - started)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = self._paths.get(scope["endpoint"], "other") if "endpoint" in scope else "other"
        method = scope["method"] if route != "other" else "-"
        self._metrics.count(route, status, seconds)
        level = logging.DEBUG if route in OPEN_PATHS else logging.INFO
        log.log(level, "%s %s %d %.0f ms", method, route, status, 1000 * seconds)

    def _check(self, scope: Scope) -> None:
        """Refuse a call that may not come in.

        Raises:
            Problem: 400 no or two Hosts, 401 no token, 403 another host or origin, 503 too many calls.
        """
        headers = Headers(scope=scope)
        hosts = headers.getlist("Host")
        if len(hosts) != 1:
            raise Problem(400, "The request needs exactly one Host header: send one.")
        self._check_host(hosts[0])
        self._check_origin(scope, headers, hosts[0])
        if scope["path"] in OPEN_PATHS:
            return
        if self._open > self._settings.open_requests:
            raise busy("Too many requests are open: try again in a moment.")
        if self._settings.token is not None:
            _check_token(headers.get("Authorization", ""), self._settings.token)

    def _check_host(self, host: str) -> None:
        allowed = self._settings.allowed_hosts
        if not (is_loopback(self._settings.host) or allowed):
            return  # by which names it is reached is not known here; the token guards it
        name = _host_name(host)
        if name is None or not (is_loopback(name) or name in allowed):
            raise Problem(
                403,
                (
                    "This server does not answer to that host name: use 127.0.0.1, or start it with "
                    "--allow-host."
                ),
            )

    def _check_origin(self, scope: Scope, headers: Headers, host: str) -> None:
        origin = headers.get("Origin")
        if origin is not None and _place(origin) != host.lower():
            raise Problem(403, "A web page of another origin may not call this server.")
        if scope["method"] not in _READING and headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
            raise Problem(403, "A web page of another origin may not call this server.")


def _host_name(host: str) -> str | None:
    """Return the name in a Host header, without the port; None where there is none."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _place(origin: str) -> str | None:
    """Return host and port of an Origin header; None where it has none, as "null" and what is no URL."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


def _check_token(given: str, token: str) -> None:
    scheme, _, value = given.partition(" ")
    fits = hmac.compare_digest(value.strip().encode("utf-8", "surrogateescape"), token.encode())
    if scheme.lower() != "bearer" or not fits:
        raise Problem(
            401,
            "This server requires a token: send Authorization: Bearer TOKEN.",
            {"WWW-Authenticate": "Bearer"},
        )


def _of_router(error: HTTPException) -> Problem:
    """Return the message for what the router refuses: no such path, or another method."""
    sentences = {404: "There is nothing here: see /openapi.json.", 405: "That method is not allowed here."}
    sentence = sentences.get(error.status_code, "The request cannot be answered.")
    return Problem(error.status_code, sentence, dict(error.headers or {}))
