"""The jobs folder: one SQLite file that survives a kill, and the films and results that its rows name.

Order makes it durable: a file is on the disk before the row that names it, and a row is gone before its file.
So a process that is killed at any moment leaves at most files that no row names; the next start removes them.
"""

import errno
import os
import re
import sqlite3
import stat
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from adaloraqat.batch.lock import FolderLock
from adaloraqat.errors import OutputError
from adaloraqat.serve.film import FULL_DISK, StoreFull

FILE = "jobs.sqlite3"
VERSION = 1
_APPLICATION = 0x41514A31  # "AQJ1": tells a jobs file from any other SQLite file
_OURS = re.compile(r"[0-9a-f]{32}-\d+(-[a-z0-9_]+)?")
_CHUNK = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SCHEMA = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, model TEXT, outputs TEXT NOT NULL, archived INTEGER NOT NULL, created REAL NOT NULL,
    digest TEXT UNIQUE, films INTEGER NOT NULL);
CREATE TABLE films (
    job TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, number INTEGER NOT NULL, name TEXT NOT NULL,
    size INTEGER NOT NULL, tries INTEGER NOT NULL DEFAULT 0, waiting INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (job, number));
CREATE INDEX waiting_films ON films ((tries >= 3), number) WHERE waiting;
CREATE TABLE results (
    event INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL, number INTEGER NOT NULL, entry TEXT NOT NULL,
    failed INTEGER NOT NULL, finished REAL NOT NULL, UNIQUE (job, number),
    FOREIGN KEY (job, number) REFERENCES films(job, number) ON DELETE CASCADE);
CREATE TABLE outputs (
    job TEXT NOT NULL, number INTEGER NOT NULL, kind TEXT NOT NULL, fetched REAL,
    PRIMARY KEY (job, number, kind),
    FOREIGN KEY (job, number) REFERENCES films(job, number) ON DELETE CASCADE);
CREATE TABLE outgoing (
    job TEXT NOT NULL, number INTEGER NOT NULL, kind TEXT NOT NULL, tries INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL, refused REAL, PRIMARY KEY (job, number, kind),
    FOREIGN KEY (job, number) REFERENCES films(job, number));
CREATE INDEX due_objects ON outgoing (due);
"""


class Database:
    """Holds the jobs folder for this process; every read and write of it goes through here.

    Args:
        folder: made with mode 0700 where it is absent; an existing one must be empty or a jobs folder.

    Raises:
        OutputError: another server holds it, others could read it, or what it holds is something else.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        _make_private(folder)
        self._lock = FolderLock(
            folder, ".jobs.lock", f"Another server keeps its jobs in {folder.absolute().name}: stop it, or "
            "choose another --jobs-dir.", "--jobs-dir",
        )  # fmt: skip
        self._busy = threading.RLock()
        self._closed = False
        try:
            self._connection = _opened(folder)
            for name in ("films", "results"):
                (folder / name).mkdir(mode=0o700, exist_ok=True)
            sync_folder(folder)
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Let go of the folder; a second time does nothing."""
        with self._busy:
            self._connection.close()
            if not self._closed:
                self._closed = True
                self._lock.release()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for one transaction: on the disk when the block ends, undone where it raises.

        Raises:
            StoreFull: the disk is full.
        """
        with self._busy, _full_disk_said():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for questions; no transaction lies between them."""
        with self._busy:
            yield self._connection

    def film(self, job: str, number: int) -> Path:
        """Return where a film's bytes lie."""
        return self.folder / "films" / f"{job}-{number}"

    def result(self, job: str, number: int, kind: str) -> Path:
        """Return where a result's file lies; `kind` is one of `FilmAnswer.files`."""
        return self.folder / "results" / f"{job}-{number}-{kind}"

    def write(self, files: Iterable[tuple[Path, BinaryIO]]) -> list[int]:
        """Put files of one folder on the disk, all or none; returns their sizes in bytes.

        Raises:
            StoreFull: the disk is full.
            OutputError: the folder cannot be written.
        """
        written: list[Path] = []
        sizes = []
        try:
            with _full_disk_said():
                for path, stream in files:
                    written.append(path)
                    sizes.append(_write(path, stream))
                for folder in {path.parent for path in written}:
                    sync_folder(folder)
        except BaseException:
            remove(written)
            raise
        return sizes

    def remove_strays(self) -> int:
        """Remove the files of this folder that no row names; returns how many there were."""
        with self.reading() as rows:
            films = {f"{job}-{number}" for job, number in rows.execute(
                "SELECT job, number FROM films WHERE waiting")}  # fmt: skip
            named = "SELECT job, number, kind FROM outputs UNION SELECT job, number, kind FROM outgoing"
            results = {"-".join(map(str, key)) for key in rows.execute(named)}
        strays = [
            path
            for name, known in (("films", films), ("results", results))
            for path in (self.folder / name).iterdir()
            if path.name not in known and _OURS.fullmatch(path.name)
        ]
        remove(strays)
        return len(strays)


def remove(paths: Iterable[Path]) -> None:
    """Remove files that are there; what a file system refuses is tried again at the next start."""
    for path in paths:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk; Windows does so by itself."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(path: Path, stream: BinaryIO) -> int:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600)
    with open(handle, "wb") as out:
        while chunk := stream.read(_CHUNK):
            out.write(chunk)
        out.flush()
        os.fsync(handle)
        return out.tell()


def _make_private(folder: Path) -> None:
    try:
        if not folder.exists():
            folder.mkdir(mode=0o700, parents=True)
        mode = stat.S_IMODE(folder.stat().st_mode)
        names = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise OutputError(
            f"{folder.absolute().name} cannot hold jobs ({error.strerror}): choose another --jobs-dir."
        ) from error
    if names - {".jobs.lock"} and FILE not in names:
        raise OutputError(
            f"{folder.absolute().name} holds other things than jobs: give --jobs-dir a new folder."
        )
    if sys.platform != "win32" and mode & 0o077:
        raise OutputError(
            f"{folder.absolute().name} can be read by other users: run chmod 700 on it, or give --jobs-dir a "
            "new folder."
        )


def _opened(folder: Path) -> sqlite3.Connection:
    """Return the connection to the jobs file, which is made where there is none."""
    path = folder / FILE
    path.touch(mode=0o600)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if (tables and application != _APPLICATION) or version > VERSION:
            raise OutputError(
                f"{FILE} in {folder.absolute().name} is not of this version: choose another --jobs-dir, or "
                "use the version of adaloraqat that wrote it."
            )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # a commit is on the disk, also when the power goes
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")  # deleted names and measures are overwritten
        if not tables:
            connection.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA application_id = {_APPLICATION}; "
                f"PRAGMA user_version = {VERSION}; COMMIT;"
            )
    except sqlite3.DatabaseError as error:
        connection.close()
        raise OutputError(
            f"{FILE} in {folder.absolute().name} cannot be used ({error}): move the folder away, or choose "
            "another --jobs-dir."
        ) from error
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _full_disk_said() -> Iterator[None]:
    """Turn what the system says of a full disk into a sentence, and any other refusal likewise."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
            raise StoreFull(FULL_DISK) from error
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFull(FULL_DISK) from error
        raise OutputError(
            f"The jobs folder cannot be written ({error.strerror}): check the disk and its permissions."
        ) from error
