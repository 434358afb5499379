"""A request's body, read with limits: of bytes, of time, and of what all open requests hold together."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartParser
from starlette.requests import Request
from starlette.types import Receive

from adaloraqat.errors import refused_as
from adaloraqat.serve.problems import Problem, busy

_PIECE = 1 << 18  # bytes between two looks at other requests, while a form is taken apart
_FIELDS = 1024
_FILES = 2  # a film and a mask
MASK = "mask"
"""The field of a form that holds an earlier mask; files of other fields are films."""
_PNG = b"\x89PNG\r\n\x1a\n"
_FIELD_BYTES = 1 << 16


class Bytes:
    """How many bytes of bodies are in memory, and the most that may be."""

    def __init__(self, most: int) -> None:
        self._left = most

    @contextmanager
    def held(self) -> Iterator["Share"]:
        """Give a share that is given back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            self._left += share.taken

    def take(self, count: int) -> None:
        """Take `count` bytes.

        Raises:
            Problem: 503, they are not there.
        """
        if count > self._left:
            raise busy("The server holds as many films as its memory allows: ask again in a moment.")
        self._left -= count


@dataclass
class Share:
    """What one request holds."""

    whole: Bytes
    taken: int = 0

    def grow(self, size: int) -> None:
        """Hold at least `size` bytes."""
        if size > self.taken:
            self.whole.take(size - self.taken)
            self.taken = size


@dataclass(frozen=True)
class Form:
    """What a client sent: a film, what it calls it, and the other fields, of the query too.

    `mask` is an earlier mask, a PNG, that came with the film; `mask_name` what the client calls it.
    """

    film: bytes = field(repr=False)
    name: str
    fields: Mapping[str, list[str]]
    mask: bytes | None = field(default=None, repr=False)
    mask_name: str = MASK


async def read_body(request: Request, share: Share, max_bytes: int, seconds: float) -> bytes:
    """Return a request's body.

    Raises:
        Problem: 413 too large, 408 too slow, 415 compressed, 503 no memory left.
        ClientDisconnect: the client has gone before its end.
    """
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("identity", ""):
        raise Problem(
            415, "A compressed body is not taken: send the film as it is, without Content-Encoding."
        )
    declared = request.headers.get("Content-Length", "")
    if declared.isdigit():
        _check_size(int(declared), max_bytes)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                _check_size(len(body) + len(chunk), max_bytes)
                share.grow(len(body) + len(chunk))
                body += chunk
    except TimeoutError as error:
        raise Problem(
            408, f"The body did not arrive within {seconds:g} seconds: send it faster, or a smaller film."
        ) from error
    return bytes(body)


async def read_form(request: Request, share: Share, max_bytes: int, seconds: float) -> Form:
    """Return the film and the fields of a request: multipart/form-data, or the film itself as the body.

    Raises:
        Problem: as `read_body`, or 400: a form that cannot be taken apart, or that has not one film; or
            422: a mask that is no PNG.
        ClientDisconnect: as `read_body`.
    """
    body = await read_body(request, share, max_bytes, seconds)
    fields: dict[str, list[str]] = {}
    for key, value in request.query_params.multi_items():
        fields.setdefault(key, []).append(value)
    kind, _ = parse_options_header(request.headers.get("Content-Type", ""))
    if kind != b"multipart/form-data":
        return Form(body, "film", fields)
    films: list[UploadFile] = []
    masks: list[UploadFile] = []
    for key, part in await _parts(request, body):
        if isinstance(part, UploadFile):
            (masks if key == MASK else films).append(part)
        else:
            fields.setdefault(key, []).append(part)
    if len(films) != 1:
        raise Problem(
            400, "The form holds no film, or several: send one file, in the field film, with a file name."
        )
    film = await films[0].read()
    await films[0].close()
    if not masks:
        return Form(film, films[0].filename or "film", fields)
    mask = await masks[0].read()
    await masks[0].close()
    if not mask.startswith(_PNG):
        raise Problem(422, "The mask is no PNG: send one of 0 and 255, of the film's size.")
    return Form(film, films[0].filename or "film", fields, mask, masks[0].filename or MASK)


async def discard(receive: Receive, most: int, seconds: float) -> None:
    """Take what is left of a body, within limits, so that the client reads the answer and not a reset."""
    taken = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while taken <= most:
                message = await receive()
                taken += len(message.get("body", b""))
                if not message.get("more_body", False):  # its end, or the client's
                    return


class _InMemory(MultiPartParser):
    spool_max_size = 0  # of a SpooledTemporaryFile: no limit, so that no film is written to a disk here


async def _parts(request: Request, body: bytes) -> list[tuple[str, str | UploadFile]]:
    async def pieces() -> AsyncGenerator[bytes, None]:
        view = memoryview(body)
        for start in range(0, len(body), _PIECE):
            yield bytes(view[start : start + _PIECE])
            await asyncio.sleep(0)

    parser = _InMemory(
        request.headers, pieces(), max_files=_FILES, max_fields=_FIELDS, max_part_size=_FIELD_BYTES
    )
    refusal = Problem(
        400, "The form cannot be taken apart: send multipart/form-data with one film, and at most one mask."
    )
    with refused_as(refusal):
        return (await parser.parse()).multi_items()


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise Problem(413, f"The body has more than {most / (1 << 20):g} MiB, the limit of this server.")
