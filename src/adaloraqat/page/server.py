"""A server for the page: files that are known beforehand, for browsers on this computer, and nothing else.

It listens on the loopback address only and answers GET and HEAD. A film never reaches it: the page reads
films inside the browser, and its Content-Security-Policy forbids it to send anything anywhere else.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from adaloraqat.errors import AdaloraqatError
from adaloraqat.page.site import Site

log = logging.getLogger(__name__)

ADDRESS = "127.0.0.1"
_HOSTS = ("127.0.0.1", "localhost", "[::1]")
_CHUNK = 1 << 20
_SECONDS = 60  # a connection that says nothing for so long is closed

KINDS = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".onnx": "application/octet-stream",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
"""What a file is, by its suffix; the system's own table differs from one computer to the next."""

POLICY = {
    "default-src": "'none'",
    "script-src": "'self' 'wasm-unsafe-eval'",
    "worker-src": "'self'",
    "style-src": "'self'",
    "font-src": "'self'",
    "img-src": "'self' blob: data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}
"""What the page may do. Nothing it loads or sends may leave this address."""

_WORKER = "/assets/worker-"
_OF_WORKER = {"script-src": "'self' 'wasm-unsafe-eval' 'unsafe-eval'"}
"""What the worker may do that decodes and outlines films: the codecs of compressed pixels write glue code of
their own. It has no page to show, and no address but this one either."""

HEADERS = {
    # together these isolate the page, which lets WebAssembly use threads
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def policy(address: str) -> str:
    """Return the Content-Security-Policy for what stands at an address."""
    sources = POLICY | _OF_WORKER if address.startswith(_WORKER) else POLICY
    return "; ".join(f"{name} {allowed}" for name, allowed in sources.items())


class PageServer(ThreadingHTTPServer):
    """Serves one `Site` on the loopback address."""

    daemon_threads = True
    # elsewhere this only skips the wait after a restart; on Windows two servers would share a port
    allow_reuse_address = os.name != "nt"

    def __init__(self, site: Site, port: int) -> None:
        """Listen; 0 takes any free port.

        Raises:
            AdaloraqatError: the port is in use, or this user may not listen there.
        """
        self.site = site
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                reason = f"Port {port} is in use: close what uses it"
            elif error.errno in (errno.EACCES, errno.EPERM):
                reason = f"This user may not listen on port {port}: take one above 1023"
            else:
                reason = f"The page cannot be served on port {port} ({error.strerror})"
            raise AdaloraqatError(f"{reason}, or choose another with --port (0: any free one).") from error

    @property
    def url(self) -> str:
        """Where a browser on this computer finds the page."""
        return f"http://{ADDRESS}:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that went away, unless details are asked for."""
        log.debug("A connection of the page ended early.", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version = "adaloraqat"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = _SECONDS

    def do_GET(self) -> None:
        """Answer with a file."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer without its content."""
        self._answer(with_body=False)

    def _answer(self, with_body: bool) -> None:
        # a foreign name that resolves to this computer would make the page part of a foreign site
        if self.headers.get("Host", "").rpartition(":")[0] not in _HOSTS:
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST, "This page answers requests to localhost only.")
            return
        address = self.path.partition("?")[0]
        site = self.server.site
        if (document := site.documents.get(address)) is not None:
            self._begin(HTTPStatus.OK, ".json", len(document))
            if with_body:
                self.wfile.write(document)
            return
        path = site.files.get(address)
        try:
            if path is None:
                raise FileNotFoundError
            self._file(path, site.tags.get(address), with_body)
        except FileNotFoundError:
            self._refuse(HTTPStatus.NOT_FOUND, "There is no such file.")

    def _file(self, path: Path, digest: str | None, with_body: bool) -> None:
        status = path.stat()
        tag = f'"{digest or f"{status.st_mtime_ns:x}-{status.st_size:x}"}"'
        if self.headers.get("If-None-Match") == tag:
            self._begin(HTTPStatus.NOT_MODIFIED, path.suffix, None, tag)
            return
        with open(path, "rb") as stream:
            self._begin(HTTPStatus.OK, path.suffix, status.st_size, tag)
            for chunk in _chunks(stream) if with_body else ():
                self.wfile.write(chunk)

    def _begin(self, status: HTTPStatus, suffix: str, size: int | None, tag: str | None = None) -> None:
        self.send_response(status)
        if size is not None:
            self.send_header("Content-Type", KINDS.get(suffix, "application/octet-stream"))
            self.send_header("Content-Length", str(size))
        if tag is not None:
            self.send_header("ETag", tag)
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Content-Security-Policy", policy(self.path))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()

    def _refuse(self, status: HTTPStatus, sentence: str) -> None:
        body = f"{sentence}\n".encode()
        self._begin(status, ".txt", len(body))
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log requests only where details are asked for."""
        log.debug(format, *args)


def _chunks(stream: Any) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK):
        yield chunk
