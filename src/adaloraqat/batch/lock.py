"""One process at a time in an output folder: a lock that the system lets go of when the process ends."""

import os
import sys
from contextlib import suppress
from pathlib import Path

from adaloraqat.errors import OutputError

LOCK = ".results.lock"


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


if sys.platform == "win32":

    def _lock(handle: int) -> None:
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:

    def _lock(handle: int) -> None:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
