"""Many films in one form; until they are taken they lie in nameless files of the jobs folder."""

import asyncio
import errno
from collections.abc import AsyncGenerator
from pathlib import Path
from tempfile import SpooledTemporaryFile

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from adaloraqat.serve.database import FULL_DISK, StoreFull
from adaloraqat.serve.problems import Problem

MOST_FILMS = 1000
MOST_BYTES = 8 << 30
"""Of a job's films together."""
_FIELDS, _FIELD_BYTES = 16, 1 << 12
_IN_MEMORY = 1 << 20


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
        raise Problem(415, "A compressed body is not taken: send the form without Content-Encoding.")
    declared = request.headers.get("Content-Length", "")
    if declared.isdigit():
        _check_total(int(declared))
    parser = _Parser(request.headers, _pieces(request, seconds), folder, film_bytes)
    try:
        items = (await parser.parse()).multi_items()
    except (MultiPartException, KeyError) as error:
        raise Problem(
            400, f"The form cannot be taken apart: send multipart/form-data with at most {MOST_FILMS} films."
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull(FULL_DISK) from error
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
    """Give the body piece by piece, as long as the client goes on."""
    total = 0
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(seconds):
                piece = await anext(stream, None)
        except TimeoutError as error:
            raise Problem(408, f"Nothing came for {seconds:g} seconds: send the films faster.") from error
        if piece is None:
            return
        total += len(piece)
        _check_total(total)
        yield piece


def _check_total(size: int) -> None:
    if size > MOST_BYTES:
        raise Problem(413, f"A job has at most {MOST_BYTES >> 30} GiB: send the films as several jobs.")


class _Parser(MultiPartParser):
    """Starlette's, whose temporary files lie in a folder of ours, each of limited size."""

    def __init__(
        self, headers: Headers, stream: AsyncGenerator[bytes, None], folder: Path, film_bytes: int
    ) -> None:
        super().__init__(
            headers, stream, max_files=MOST_FILMS, max_fields=_FIELDS, max_part_size=_FIELD_BYTES
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
