"""Hostile requests, drawn from a seed: what a server must refuse, or answer, and survive."""

import functools
import io
import random
import socket
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Hostile:
    """Bytes to send, piece by piece with a pause between, and whether the sender stops sending at the end.

    `told`: the server is to answer; else it may just close.
    """

    kind: str
    pieces: list[bytes] = field(repr=False)
    pause: float = 0.0
    half_closes: bool = False
    told: bool = True


def request(body: bytes, *headers: str, path: str = "/segment", length: object = None) -> bytes:
    """Return a whole request."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Connection: close"]
    if length is not False:
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + body


def drawn(seed: int, films: list[bytes]) -> Hostile:
    """Return one hostile request, from valid films."""
    draw = random.Random(seed)
    kind = draw.choice(list(KINDS))
    return KINDS[kind](kind, draw, draw.choice(films))


def answer(port: int, hostile: Hostile, patience: float) -> str:
    """Send it; return the status line of the first answer, "closed" or, past `patience` seconds, "hung"."""
    with socket.create_connection(("127.0.0.1", port), timeout=patience) as wire:
        begun = time.monotonic()
        try:
            for piece in hostile.pieces:
                wire.sendall(piece)
                time.sleep(hostile.pause)
            if hostile.half_closes:
                wire.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has seen enough
        try:
            head = wire.recv(1 << 16)
            while wire.recv(1 << 16):
                if time.monotonic() - begun > patience:
                    return "hung"
        except TimeoutError:
            return "hung"
        except OSError:
            head = b""
    return head.partition(b"\r\n")[0].decode("latin-1") or "closed"


@functools.cache
def _zeros(mebibytes: int) -> bytes:
    return zlib.compress(bytes(mebibytes << 20), 9)


def _changed(kind: str, draw: random.Random, film: bytes) -> Hostile:
    body = bytearray(film)
    for _ in range(draw.choice((1, 4, 64))):
        body[draw.randrange(len(body))] = draw.randrange(256)
    return Hostile(kind, [request(bytes(body))])


def _truncated(kind: str, draw: random.Random, film: bytes) -> Hostile:
    return Hostile(kind, [request(film[: draw.randrange(len(film))])])


def _header_changed(kind: str, draw: random.Random, film: bytes) -> Hostile:
    body = bytearray(film)
    for _ in range(draw.choice((1, 2, 8))):
        body[draw.randrange(min(400, len(body)))] = draw.choice((0, 255, 127, draw.randrange(256)))
    return Hostile(kind, [request(bytes(body), "Accept: application/dicom, */*;q=0.5")])


def _noise(kind: str, draw: random.Random, film: bytes) -> Hostile:
    start = draw.choice(
        (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"PK\3\4", bytes(128) + b"DICM")
    )
    return Hostile(kind, [request(start + draw.randbytes(draw.randrange(1, 5000)))])


def _png_bomb(kind: str, draw: random.Random, film: bytes) -> Hostile:
    """Of a size that its header says, or of one that it hides."""
    side = draw.choice((9_000, 60_000, 2**31 - 1))
    told = draw.choice((side, 64))
    header = struct.pack(">IIBBBBB", told, told, draw.choice((8, 16)), 0, 0, 0, 0)
    zeros = _zeros(8)
    chunks = ((b"IHDR", header), (b"IDAT", zeros), (b"IEND", b""))
    body = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    return Hostile(kind, [request(body)])


def _text_bomb(kind: str, draw: random.Random, film: bytes) -> Hostile:
    """A PNG whose compressed text, or colour profile, is far larger than its picture."""
    name, label = draw.choice(((b"zTXt", b"Comment\0\0"), (b"iCCP", b"icc\0\0")))
    data = label + _zeros(16)
    chunk = struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    stream = io.BytesIO()
    Image.new("L", (64, 64), 9).save(stream, "PNG")
    picture = stream.getvalue()
    return Hostile(kind, [request(picture[:33] + chunk + picture[33:])])


def _zip_bomb(kind: str, draw: random.Random, film: bytes) -> Hostile:
    stream, array = io.BytesIO(), io.BytesIO()
    np.save(array, np.zeros((16, 16), np.uint8))
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("image.npy", array.getvalue()[:128] + bytes(draw.choice((256, 16 << 20))))
    return Hostile(kind, [request(stream.getvalue())])


def _deflated_dicom(kind: str, draw: random.Random, film: bytes) -> Hostile:
    syntax = b"1.2.840.10008.1.2.1.99"
    element = b"\2\0\x10\0UI" + struct.pack("<H", len(syntax)) + syntax
    length = b"\2\0\0\0UL\4\0" + struct.pack("<I", len(element))
    data = _zeros(16)[2:-4]  # raw deflate: without zlib's header and checksum
    return Hostile(kind, [request(bytes(128) + b"DICM" + length + element + data)])


def _wrong_length(kind: str, draw: random.Random, film: bytes) -> Hostile:
    length = draw.choice((len(film) - 7, "-1", "1e9", "9" * 30, "0x10", "", "12 12", str(2**63), "+5"))
    return Hostile(kind, [request(film, length=length)], told=False)


def _too_short(kind: str, draw: random.Random, film: bytes) -> Hostile:
    whole = request(film, length=len(film) + draw.choice((1, 1000, 10**9)))
    return Hostile(kind, [whole], half_closes=True, told=False)


def _chunks(kind: str, draw: random.Random, film: bytes) -> Hostile:
    sizes = draw.choice((b"zz", b"-5", b"ffffffffffffffff", b"5;" + b"a" * 20_000, b"5"))
    body = sizes + b"\r\nhello\r\n" + draw.choice((b"", b"0\r\n\r\n", b"5\r\nabc"))
    whole = request(body, "Transfer-Encoding: chunked", length=False)
    return Hostile(kind, [whole], half_closes=True, told=False)


def _form(kind: str, draw: random.Random, film: bytes) -> Hostile:
    mark = draw.choice(("x", "a" * 70, "a" * 300, "", '"', "--"))
    lines = [
        f"--{mark}",
        draw.choice(
            (
                'Content-Disposition: form-data; name="film"; filename="../../etc/passwd"',
                'Content-Disposition: form-data; name="film"; filename="\xff\0\x7f"',
                "Content-Disposition: form-data",
                'Content-Disposition: form-data; name="box"',
                "",
                "Content-Type: " + "a" * 9000,
            )
        ),
    ]
    end = draw.choice((f"\r\n--{mark}--\r\n", "", f"\r\n--{mark}\r\n" * 3000)).encode()
    body = "\r\n".join([*lines, "", ""]).encode("latin-1") + film[: draw.randrange(len(film))] + end
    kinds = (f"multipart/form-data; boundary={mark}", "multipart/form-data", "multipart/form-data; boundary=")
    return Hostile(kind, [request(body, f"Content-Type: {draw.choice(kinds)}")])


def _query(kind: str, draw: random.Random, film: bytes) -> Hostile:
    queries = (
        *(
            "box=nan,nan,nan,nan",
            "box=1e400,0,1,1",
            "box=,,,",
            "box=" + "9" * 5000,
            "model=%00",
            "model=../..",
        ),
        *(
            "prompt=%ff",
            "box=-5,-5,1e9,1e9",
            "&".join(["box=0,0,9,9"] * 300),
            "x" * 9000,
            "box=0,0,9,9&box=1,1,5,5",
        ),
    )
    path = draw.choice(("/segment", "/segment_boxes"))
    return Hostile(kind, [request(film, path=f"{path}?{draw.choice(queries)}")])


def _header_lines(kind: str, draw: random.Random, film: bytes) -> Hostile:
    lines = (
        *("Accept: " + ",".join(["a/b;q=0.1"] * 900), "Accept: */*;q=\xff", "Content-Encoding: gzip"),
        *(
            "Expect: 100-continue",
            "Upgrade: websocket",
            "Host: twice",
            "X: " + "a" * 30_000,
            "Origin: [",
            ": x",
        ),
        *("Content-Type: \xff", "Transfer-Encoding: gzip, chunked", "Authorization: Bearer \xff"),
    )
    return Hostile(kind, [request(film, draw.choice(lines))], told=False)


def _drips(kind: str, draw: random.Random, film: bytes) -> Hostile:
    whole = request(film)
    at = draw.choice((10, 60, whole.index(b"\r\n\r\n") + 20))
    return Hostile(kind, [whole[:at], *(whole[place : place + 1] for place in range(at, at + 5))], pause=0.1)


def _leaves(kind: str, draw: random.Random, film: bytes) -> Hostile:
    return Hostile(kind, [request(film)[: draw.randrange(1, len(film))]], half_closes=True, told=False)


KINDS: dict[str, Callable[[str, random.Random, bytes], Hostile]] = {
    "film with changed bytes": _changed,
    "film with a changed header": _header_changed,
    "film cut off": _truncated,
    "noise": _noise,
    "PNG bomb": _png_bomb,
    "PNG with a bomb beside its picture": _text_bomb,
    "npz bomb": _zip_bomb,
    "deflated DICOM bomb": _deflated_dicom,
    "wrong length": _wrong_length,
    "body shorter than its length": _too_short,
    "chunks": _chunks,
    "form": _form,
    "query": _query,
    "header lines": _header_lines,
    "client that drips": _drips,
    "client that leaves": _leaves,
}
