"""Films that wait for a result, and results that wait to be fetched; a kill at any moment loses none.

A film is taken when it and its row are on the disk, and its result is one transaction: each film that was
taken gets exactly one. What a film held is deleted with that transaction, what came of it when it has been
fetched, and the job after a day.
"""

import hashlib
import json
import logging
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any, BinaryIO

from adaloraqat.errors import AdaloraqatError
from adaloraqat.serve.database import Database, remove
from adaloraqat.serve.film import FULL_DISK, StoreFull
from adaloraqat.serve.job import KEPT_FOR, JobState, Limits, Result, WaitingFilm, Wish

log = logging.getLogger("adaloraqat")

KEPT_AFTER_FETCH = 60.0
"""Seconds that a fetched file stays, for a client whose connection broke at its end."""
SAME_FOR = 3600.0
"""Seconds after the end of an archive's film in which the same film is known again, and not done twice."""
MOST_TRIES = 10
"""Ends of the server with the same film in progress; it is then held to be the cause."""


class Store:
    """The jobs in one folder; may be called from any thread.

    Args:
        database: the folder, which this process holds.
        limits: of what may wait.
    """

    def __init__(self, database: Database, limits: Limits | None = None) -> None:
        self.database = database
        self.limits = limits or Limits()
        self._listeners: set[Callable[[], None]] = set()
        self._taken: set[tuple[str, int]] = set()
        self._taking = threading.Lock()
        if strays := database.remove_strays():
            log.debug("Removed %d files left over from an earlier run of the server.", strays)

    @contextmanager
    def listening(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call `callback`, from any thread, whenever films have come or a result was recorded."""
        self._listeners.add(callback)
        try:
            yield
        finally:
            self._listeners.discard(callback)

    def _tell(self) -> None:
        for callback in tuple(self._listeners):
            callback()

    def add(self, films: Sequence[tuple[str, BinaryIO]], wish: Wish) -> str:
        """Take films, all or none, as one job; they are on the disk when its name is returned.

        Raises:
            StoreFull: too many films wait, or the disk is full.
        """
        return self._add(films, wish, None)

    def receive(self, identity: str, data: bytes, elements: bytes, wish: Wish) -> str | None:
        """Take one film that an archive sent, as `add`; None where it has come before and nothing is to do.

        Args:
            identity: the object's own, of which only a hash is kept.
            data: the whole file.
            elements: the part of it that does not change when it is sent again.
            wish: what is to come of it.

        Raises:
            StoreFull: as `add`.
        """
        digest = hashlib.sha256(identity.encode() + b"\0" + elements).hexdigest()
        with self.database.reading() as rows:
            if rows.execute("SELECT 1 FROM jobs WHERE digest = ?", (digest,)).fetchone():
                return None
        try:
            return self._add([("film", BytesIO(data))], wish, digest)
        except sqlite3.IntegrityError:  # it came twice at the same time
            return None

    def _add(self, films: Sequence[tuple[str, BinaryIO]], wish: Wish, digest: str | None) -> str:
        self._check_place(len(films))
        job = secrets.token_hex(16)
        paths = [self.database.film(job, number) for number in range(len(films))]
        sizes = self.database.write(zip(paths, (stream for _, stream in films), strict=True))
        try:
            with self.database.writing() as rows:
                outputs = ",".join(sorted(wish.outputs))
                row = (job, wish.model, outputs, wish.archived, time.time(), digest, len(films))
                rows.execute("INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?)", row)
                rows.executemany(
                    "INSERT INTO films (job, number, name, size) VALUES (?, ?, ?, ?)",
                    [(job, n, name, sizes[n]) for n, (name, _) in enumerate(films)],
                )
        except BaseException:
            remove(paths)
            raise
        self._tell()
        return job

    def _check_place(self, films: int) -> None:
        with self.database.reading() as rows:
            (waiting,) = rows.execute("SELECT count(*) FROM films WHERE waiting").fetchone()
        if waiting + films > self.limits.films:
            raise StoreFull(
                f"{waiting} films are waiting already, and this server accepts at most {self.limits.films}: "
                "try again later."
            )
        if shutil.disk_usage(self.database.folder).free < self.limits.free_bytes:
            raise StoreFull(FULL_DISK)

    def take(self) -> WaitingFilm | None:
        """Return the next film to work on, None where none waits; jobs take turns.

        That it is in progress is written down first: a film with which the server ended three times comes
        after all others, so that it holds nobody up, and one with which it ended `MOST_TRIES` times is
        recorded as failed instead.
        """
        while True:
            with self._taking:
                with self.database.writing() as rows:
                    found = self._next(rows)
                    if found is None:
                        return None
                    key = found.job, found.number
                    rows.execute("UPDATE films SET tries = tries + 1 WHERE job = ? AND number = ?", key)
                self._taken.add(key)  # not before the row is written: that may fail on a full disk
            if found.tries < MOST_TRIES:
                return found
            try:
                self.fail(found, f"The server ended {found.tries} times while it worked on this film.")
            except BaseException:
                self._taken.discard(key)
                raise

    def _next(self, rows: sqlite3.Connection) -> WaitingFilm | None:
        found = rows.execute(
            "SELECT job, number, name, tries, model, outputs, archived FROM films JOIN jobs ON jobs.id = job "
            "WHERE waiting ORDER BY tries >= 3, number, created LIMIT ?",
            (len(self._taken) + 1,),
        )
        for job, number, name, tries, model, outputs, archived in found:
            if (job, number) not in self._taken:
                wish = Wish(model, frozenset(outputs.split(",")), bool(archived))
                return WaitingFilm(job, number, name, tries, wish)
        return None

    def give_back(self, film: WaitingFilm) -> None:
        """Let a taken film wait again, as if it had not been taken: the server ends in good order."""
        key = film.job, film.number
        try:
            with self.database.writing() as rows:
                rows.execute("UPDATE films SET tries = max(0, tries - 1) WHERE job = ? AND number = ?", key)
        finally:
            self._taken.discard(key)

    def data(self, film: WaitingFilm) -> bytes:
        """Return a waiting film's bytes.

        Raises:
            FileNotFoundError: its job was deleted.
        """
        return self.database.film(film.job, film.number).read_bytes()

    def record(self, film: WaitingFilm, entry: Mapping[str, Any], files: Mapping[str, bytes]) -> bool:
        """Record a film's result and delete the film; False where its job was deleted meanwhile.

        Raises:
            StoreFull: the disk is full; the film still waits.
        """
        return self._record(film, entry, files, failed=False)

    def fail(self, film: WaitingFilm, sentence: str) -> bool:
        """Record why a film has no result, as `record`."""
        entry = {"path": film.name, "error": sentence}
        return self._record(film, entry, {}, failed=True)

    def _record(
        self, film: WaitingFilm, entry: Mapping[str, Any], files: Mapping[str, bytes], failed: bool
    ) -> bool:
        key = film.job, film.number
        paths = {kind: self.database.result(*key, kind) for kind in files}
        self.database.write([(path, BytesIO(files[kind])) for kind, path in paths.items()])
        try:
            with self.database.writing() as rows:
                self._insert(rows, film, entry, paths, failed)
        except sqlite3.IntegrityError:  # the row that it belongs to is gone
            remove(paths.values())
            self._taken.discard(key)
            return False
        except BaseException:
            remove(paths.values())
            raise
        self._taken.discard(key)
        remove([self.database.film(*key)])
        self._tell()
        return True

    @staticmethod
    def _insert(
        rows: sqlite3.Connection,
        film: WaitingFilm,
        entry: Mapping[str, Any],
        kinds: Collection[str],
        failed: bool,
    ) -> None:
        key, now = (film.job, film.number), time.time()
        text = json.dumps(entry, ensure_ascii=False, allow_nan=False)
        rows.execute(
            "INSERT INTO results (job, number, entry, failed, finished) VALUES (?, ?, ?, ?, ?)",
            (*key, text, failed, now),
        )
        if film.wish.archived:
            rows.executemany(
                "INSERT INTO outgoing (job, number, kind, due) VALUES (?, ?, ?, ?)",
                [(*key, kind, now) for kind in kinds],
            )
        else:
            rows.executemany(
                "INSERT INTO outputs (job, number, kind) VALUES (?, ?, ?)", [(*key, kind) for kind in kinds]
            )
        rows.execute("UPDATE films SET waiting = 0 WHERE job = ? AND number = ?", key)

    def state(self, job: str) -> JobState | None:
        """Return a job's progress; None where no job has this name (any more)."""
        with self.database.reading() as rows:
            found = rows.execute(
                "SELECT films, created, count(event), coalesce(sum(failed), 0) FROM jobs LEFT JOIN results "
                "ON job = id WHERE id = ? AND NOT archived GROUP BY id",
                (job,),
            ).fetchone()
        if found is None:
            return None
        films, created, results, failed = found
        return JobState(job, films, results - failed, failed, created)

    def model(self, job: str) -> str | None:
        """Return which model a job asked for; None: the server's own."""
        with self.database.reading() as rows:
            found = rows.execute("SELECT model FROM jobs WHERE id = ?", (job,)).fetchone()
        return found[0] if found else None

    def results(self, job: str, after: int = 0, most: int = 100) -> list[Result]:
        """Return a job's results in the order in which they were recorded, those after event `after`."""
        return self._results("results.job = ? AND event > ? ORDER BY event LIMIT ?", job, after, most)

    def result(self, job: str, number: int) -> Result | None:
        """Return the result of a job's film; None where there is none (yet)."""
        return next(iter(self._results("results.job = ? AND results.number = ?", job, number)), None)

    def _results(self, where: str, *values: Any) -> list[Result]:
        with self.database.reading() as rows:
            found = rows.execute(
                "SELECT event, number, failed, entry, (SELECT group_concat(kind) FROM outputs WHERE "
                f"outputs.job = results.job AND outputs.number = results.number) FROM results WHERE {where}",
                values,
            ).fetchall()
        return [
            Result(
                event,
                number,
                bool(failed),
                json.loads(entry),
                tuple(sorted(kinds.split(",") if kinds else ())),
            )
            for event, number, failed, entry, kinds in found
        ]

    def output(self, job: str, number: int, kind: str) -> bytes:
        """Return a file of a result that has this kind.

        Raises:
            AdaloraqatError: it has been fetched and deleted.
        """
        try:
            return self.database.result(job, number, kind).read_bytes()
        except FileNotFoundError:
            raise AdaloraqatError(
                "This file has been fetched and was then deleted: send the film again if you need it again."
            ) from None

    def fetched(self, job: str, number: int, kind: str) -> None:
        """Note that a result's file was sent; it is deleted `KEPT_AFTER_FETCH` seconds later."""
        with self.database.writing() as rows:
            rows.execute(
                "UPDATE outputs SET fetched = coalesce(fetched, ?) WHERE job = ? AND number = ? AND kind = ?",
                (time.time(), job, number, kind),
            )

    def delete(self, job: str) -> bool:
        """Delete a job with its films and results, also those in progress; False if there is no such job."""
        if self.state(job) is None:
            return False
        self._delete([job])
        return True

    def _delete(self, jobs: Collection[str]) -> None:
        paths = []
        with self.database.writing() as rows:
            for job in jobs:
                for (number,) in rows.execute("SELECT number FROM films WHERE job = ?", (job,)):
                    paths.append(self.database.film(job, number))
                for number, kind in rows.execute("SELECT number, kind FROM outputs WHERE job = ?", (job,)):
                    paths.append(self.database.result(job, number, kind))
                rows.execute("DELETE FROM jobs WHERE id = ?", (job,))
        remove(paths)
        self._tell()

    def sweep(self, now: float | None = None) -> None:
        """Delete what has had its time: fetched files, jobs older than a day, ended films of archives."""
        now = time.time() if now is None else now
        with self.database.reading() as rows:
            fetched = rows.execute(
                "SELECT job, number, kind FROM outputs WHERE fetched < ?", (now - KEPT_AFTER_FETCH,)
            ).fetchall()
            old = rows.execute(
                "SELECT id, (SELECT count(*) FROM films WHERE job = id AND waiting) FROM jobs "
                "WHERE NOT archived AND created < ?",
                (now - KEPT_FOR,),
            ).fetchall()
            ended = rows.execute(
                "SELECT id FROM jobs JOIN results ON results.job = id WHERE archived AND finished < ? "
                "AND NOT EXISTS (SELECT 1 FROM outgoing WHERE outgoing.job = id)",
                (now - SAME_FOR,),
            ).fetchall()
        remove(self.database.result(*key) for key in fetched)
        if gone := [job for job, _ in old] + [job for (job,) in ended]:
            self._delete(gone)
            with self.database.reading() as rows:
                rows.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the log still has what was deleted
        if never := sum(waiting for _, waiting in old):
            log.warning("%d films were deleted, because the server did not get to them within a day.", never)

    def waiting(self) -> int:
        """Return how many films have no result yet."""
        with self.database.reading() as rows:
            (count,) = rows.execute("SELECT count(*) FROM films WHERE waiting").fetchone()
        return int(count)
