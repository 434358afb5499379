"""A request's body, read with limits: of bytes, of time, and of what all open requests hold together.

One film is held in memory. Many films in one form lie in nameless files of the jobs folder until they are
taken.
"""

import asyncio
import errno
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import SpooledTemporaryFile

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.types import Receive

from adaloraqat.errors import refused_as
from adaloraqat.serve.film import FULL_DISK, StoreFull
from adaloraqat.serve.problems import Problem, busy

_PIECE = 1 << 18  # bytes between two looks at other requests, while a form is taken apart
_FIELDS = 1024
_FILES = 2  # a film and a mask
MASK = "mask"
"""The field of a form that holds an earlier mask; files of other fields are films."""
_PNG = b"\x89PNG\r\n\x1a\n"
_FIELD_BYTES = 1 << 16
MOST_FILMS = 1000
MOST_BYTES = 8 << 30
"""Of a job's films together."""
_JOB_FIELDS, _JOB_FIELD_BYTES = 16, 1 << 12
_IN_MEMORY = 1 << 16
"""Bytes of a job's film that stay in memory; MOST_FILMS of them at most."""


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
            raise busy("The server holds as many films as its memory allows: try again in a moment.")
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
            415, "A compressed body is not accepted: send the film as it is, without Content-Encoding."
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
        raise Problem(422, "The mask is not a PNG: send one of 0 and 255, of the film's size.")
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
        400, "The form cannot be parsed: send multipart/form-data with one film, and at most one mask."
    )
    with refused_as(refusal):
        return (await parser.parse()).multi_items()


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise Problem(413, f"The body has more than {most / (1 << 20):g} MiB, the limit of this server.")


async def read_films(
    request: Request, folder: Path, film_bytes: int, seconds: float
) -> tuple[list[UploadFile], dict[str, list[str]]]:
    """Return the films of a form, to be closed by the caller, and its other fields.

    Args:
        request: of multipart/form-data.
        folder: on whose disk the films lie meanwhile, in files without names that a kill removes.
        film_bytes: that one film may have.
        seconds: that the client may take for each piece.

    Raises:
        Problem: 400 no such form or no film, 408 too slow, 413 too large, 415 compressed.
        StoreFull: the disk is full.
        ClientDisconnect: the client has gone before its end.
    """
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in ("identity", ""):
        raise Problem(415, "A compressed body is not accepted: send the form without Content-Encoding.")
    declared = request.headers.get("Content-Length", "")
    if declared.isdigit():
        _check_total(int(declared))
    parser = _OnDisk(request.headers, _pieces(request, seconds), folder, film_bytes)
    try:
        items = (await parser.parse()).multi_items()
    except (MultiPartException, KeyError) as error:
        raise Problem(
            400, f"The form cannot be parsed: send multipart/form-data with at most {MOST_FILMS} films."
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull(FULL_DISK) from error
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise StoreFull(
                "Too many files are open for a job of so many films: send fewer at a time."
            ) from error
        raise
    films = [part for _, part in items if isinstance(part, UploadFile)]
    fields: dict[str, list[str]] = {}
    for key, value in [*request.query_params.multi_items(), *items]:
        if isinstance(value, str):
            fields.setdefault(key, []).append(value)
    if not films:
        raise Problem(400, "The form holds no film: send each as a file in the field film, with a file name.")
    return films, fields


async def _pieces(request: Request, seconds: float) -> AsyncGenerator[bytes, None]:
    """Give the body piece by piece, as long as the client sends."""
    total = 0
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(seconds):
                piece = await anext(stream, None)
        except TimeoutError as error:
            raise Problem(408, f"Nothing arrived for {seconds:g} seconds: send the films faster.") from error
        if piece is None:
            return
        total += len(piece)
        _check_total(total)
        yield piece


def _check_total(size: int) -> None:
    if size > MOST_BYTES:
        raise Problem(413, f"A job has at most {MOST_BYTES >> 30} GiB: send the films as several jobs.")


class _OnDisk(MultiPartParser):
    """Starlette's, whose temporary files lie in a folder of ours, each of limited size."""

    def __init__(
        self, headers: Headers, stream: AsyncGenerator[bytes, None], folder: Path, film_bytes: int
    ) -> None:
        super().__init__(
            headers, stream, max_files=MOST_FILMS, max_fields=_JOB_FIELDS, max_part_size=_JOB_FIELD_BYTES
        )
        self._folder = folder
        self._film_bytes = film_bytes
        self._size = 0

    def on_part_begin(self) -> None:
        super().on_part_begin()
        self._size = 0

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._size > self._film_bytes:
            limit = self._film_bytes / (1 << 20)
            raise Problem(413, f"A film has more than {limit:g} MiB, the limit of this server.")
        super().on_part_data(data, start, end)

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        upload = self._current_part.file
        if upload is None:
            return
        self._files_to_close_on_error.pop().close()
        file: SpooledTemporaryFile[bytes] = SpooledTemporaryFile(_IN_MEMORY, dir=str(self._folder))  # noqa: SIM115
        self._files_to_close_on_error.append(file)
        self._current_part.file = UploadFile(
            file,  # type: ignore[arg-type]
            size=0,
            filename=upload.filename,
            headers=upload.headers,
        )
