"""Clients that send too little, too slowly, or no HTTP get an answer or an end, and the server goes on."""

import contextlib
import socket
import time
from collections.abc import Callable

import pytest
from served import PATIENCE, Served

LIMIT = 1.5  # seconds: the server's --client-timeout, see conftest


class Wire:
    """A raw connection."""

    def __init__(self, server: Served) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)

    def say(self, text: str | bytes) -> "Wire":
        self.socket.sendall(text.encode() if isinstance(text, str) else text)
        return self

    def heard(self) -> str:
        """Return all that comes until the server closes."""
        with self.socket:
            parts = []
            try:
                while part := self.socket.recv(1 << 16):
                    parts.append(part)
            except ConnectionResetError:
                pass
            return b"".join(parts).decode("latin-1")


@pytest.fixture
def wire(server: Served) -> Callable[[], Wire]:
    return lambda: Wire(server)


def head(length: object, *more: str) -> str:
    lines = ["POST /segment HTTP/1.1", "Host: localhost", f"Content-Length: {length}", *more]
    return "\r\n".join([*lines, "", ""])


@pytest.mark.parametrize("start", ["", "POST /segm", "POST /segment HTTP/1.1\r\nHost: local"])
def test_a_header_that_does_not_end(wire: Callable[[], Wire], start: str) -> None:
    begun = time.monotonic()
    assert wire().say(start).heard().startswith("HTTP/1.1 408")
    assert time.monotonic() - begun > LIMIT / 2


def test_a_header_that_drips(wire: Callable[[], Wire]) -> None:
    """Each byte comes soon after the one before; the whole takes too long."""
    one = wire().say("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ")
    end = time.monotonic() + 20 * LIMIT
    with one.socket, contextlib.suppress(OSError):
        while time.monotonic() < end:
            one.say("a")
            time.sleep(0.1)
    assert time.monotonic() < end


def test_a_second_header_that_does_not_end(wire: Callable[[], Wire]) -> None:
    one = wire().say("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea")
    heard = one.heard()
    assert heard.startswith("HTTP/1.1 200")
    assert heard.count("HTTP/1.1 200") == 1


def test_a_body_that_does_not_end(wire: Callable[[], Wire], film: bytes) -> None:
    heard = wire().say(head(len(film))).say(film[:-1]).heard()
    assert heard.startswith("HTTP/1.1 408")
    assert "did not arrive within 1.5 seconds" in heard


def test_a_body_that_breaks_off(server: Served, wire: Callable[[], Wire], film: bytes) -> None:
    one = wire().say(head(len(film))).say(film[:-1])
    one.socket.shutdown(socket.SHUT_WR)
    assert "HTTP/1.1 200" not in one.heard()
    assert server.client.get("/healthz").status_code == 200


def test_a_body_that_is_longer_than_it_says(wire: Callable[[], Wire], film: bytes) -> None:
    heard = wire().say(head(len(film) - 100)).say(film).heard()
    assert heard.startswith("HTTP/1.1 422")  # a film cut off
    assert heard.count("HTTP/1.1 2") == 0  # and what is left over is no request


@pytest.mark.parametrize("length", ["-1", "1e3", "99999999999999999999", "0x10", ""])
def test_lengths_that_are_none(wire: Callable[[], Wire], length: str) -> None:
    assert wire().say(head(length)).heard()[:12] in ("HTTP/1.1 400", "HTTP/1.1 413")


def test_two_lengths(wire: Callable[[], Wire]) -> None:
    assert wire().say(head(5, "Content-Length: 6")).say(b"hello").heard().startswith("HTTP/1.1 400")


def test_chunks(wire: Callable[[], Wire], film: bytes) -> None:
    start = (
        "POST /segment HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    parts = [film[at : at + 5000] for at in range(0, len(film), 5000)]
    whole = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    assert wire().say(start).say(whole).say("0\r\n\r\n").heard().startswith("HTTP/1.1 200")
    assert wire().say(start).say("fffffffffffffffffffff\r\n").heard()[:12] in ("HTTP/1.1 400", "HTTP/1.1 413")
    assert "HTTP/1.1 200" not in wire().say(start).say("zz\r\n").heard()


def test_a_header_without_end_is_cut_off(wire: Callable[[], Wire]) -> None:
    one = wire().say("GET / HTTP/1.1\r\nHost: localhost\r\n")
    with contextlib.suppress(OSError):
        for _ in range(100):
            one.say("X: " + "a" * 8000 + "\r\n")
    assert "200" not in one.heard()[:20]


def test_no_http(wire: Callable[[], Wire]) -> None:
    for start in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\0" * 100, b"GET\r\n\r\n"):
        assert wire().say(start).heard().startswith("HTTP/1.1 4")


def test_a_client_that_waits_to_be_told(wire: Callable[[], Wire], film: bytes) -> None:
    """curl does so with large films: what is refused by its header is never sent."""
    small = wire().say(head(len(film), "Expect: 100-continue", "Connection: close"))
    assert small.socket.recv(25).startswith(b"HTTP/1.1 100")
    assert "HTTP/1.1 200" in small.say(film).heard()
    assert wire().say(head(1 << 30, "Expect: 100-continue")).heard().startswith("HTTP/1.1 413")


def test_many_slow_clients_keep_nobody_out(server: Served, film: bytes) -> None:
    slow = [Wire(server).say(head(len(film))).say(film[:10]) for _ in range(60)]
    assert server.post("/segment", film).status_code == 200
    assert all(one.heard().startswith("HTTP/1.1 408") for one in slow)
