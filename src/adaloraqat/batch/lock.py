"""One process at a time in an output folder: a lock that the system lets go of when the process ends."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from adaloraqat.errors import OutputError

LOCK = ".results.lock"
RESULTS = "results.jsonl"


class FolderLock:
    """Holds `folder` for this process until `release`, or until the process ends in any way.

    The empty file stays there: to remove it could take another process's lock away.

    Args:
        folder: made where it is absent.
        name: of the empty file.
        taken: the sentence where another process holds the folder; by default that of `segment`.
        option: which names the folder, for the sentences.

    Raises:
        OutputError: another process holds it, or the folder cannot be written.
    """

    def __init__(
        self, folder: Path, name: str = LOCK, taken: str | None = None, option: str = "--out"
    ) -> None:
        shown = folder.absolute().name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise OutputError(
                f"{shown} cannot be written ({error.strerror}): choose another {option}."
            ) from error
        try:
            _lock(self._handle)
        except OSError as error:
            os.close(self._handle)
            raise OutputError(
                taken
                or f"Another process is writing results to {shown}: wait for it, or choose another {option}."
            ) from error

    def release(self) -> None:
        """Let go of the folder; a second time does nothing."""
        with suppress(OSError):
            os.close(self._handle)


def refuse_results(folder: Path) -> None:
    """Refuse a folder that holds the results of a batch.

    Raises:
        OutputError: it does.
    """
    path = folder / RESULTS
    if path.is_file() and path.stat().st_size > 0:
        where = folder.absolute().name
        raise OutputError(
            f"{where} holds results of an earlier call: continue it with --resume, or choose another --out."
        )


@contextmanager
def without_batch(folder: Path) -> Iterator[None]:
    """Write to `folder` what no batch knows of: there is none in it, and none begins meanwhile.

    A folder in which there never was one gets no lock: its file would lie among the masks of every call.

    Raises:
        OutputError: it holds the results of a batch, or another process holds it.
    """
    lock = FolderLock(folder) if (folder / LOCK).exists() else None
    try:
        refuse_results(folder)
        yield
    finally:
        if lock is not None:
            lock.release()


if sys.platform == "win32":

    def _lock(handle: int) -> None:
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:

    def _lock(handle: int) -> None:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
