"""Folders of what was downloaded: each appears whole in the cache, or not at all.

Everything is laid into a temporary folder beside the place where it is to be kept, checked there, and moved
as a whole. Whatever ends the work, Ctrl-C too, removes that folder; what a killed process left, the next one
removes.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from adaloraqat.files import umask
from adaloraqat.progress import Report


@contextmanager
def alone(root: Path, name: str, report: Report) -> Iterator[None]:
    """Let one process at a time download below `root`, by a lock on the folder itself, which leaves no file.

    What a killed process left of `name` is removed first. Where the system has no such lock (Windows, some
    network drives) two processes both fetch, and the last finished folder stays, which is as good as the
    first.
    """
    root.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":
        yield
        return
    import fcntl

    handle = os.open(root, os.O_RDONLY)
    try:
        if _locked(fcntl.flock, handle, fcntl.LOCK_EX, fcntl.LOCK_NB, report):
            for folder in root.glob(f"{_prefix(name)}*"):
                shutil.rmtree(folder, ignore_errors=True)
        yield
    finally:
        os.close(handle)  # which gives the lock back


@contextmanager
def staging(root: Path, name: str) -> Iterator[Path]:
    """Give a temporary folder below `root`, which is gone at the end unless `install` moved it."""
    folder = Path(tempfile.mkdtemp(dir=root, prefix=_prefix(name)))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def install(folder: Path, target: Path) -> None:
    """Move a finished folder into place; what lay there goes first, and comes back if that fails."""
    os.chmod(folder, 0o777 & ~umask())  # mkdtemp makes private folders
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=folder.name) as old:
        before = Path(old, "before")
        with suppress(FileNotFoundError):
            os.replace(target, before)
        try:
            os.replace(folder, target)
        except BaseException:
            if before.exists():
                os.replace(before, target)
            raise


def _prefix(name: str) -> str:
    return f".{name}.tmp-"


def _locked(flock: Callable[[int, int], None], handle: int, exclusive: int, now: int, report: Report) -> bool:
    try:
        flock(handle, exclusive | now)
    except BlockingIOError:
        report("Another download is running: waiting for it.")
        flock(handle, exclusive)
    except OSError:
        return False
    return True
