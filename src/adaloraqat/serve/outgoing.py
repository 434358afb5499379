"""Results on their way to the archive: files in the jobs folder and a row each, until the archive has them.

An object is a file with a SOP Instance UID of its own, made once: sent again, it is the same object, so an
archive that has it already stores nothing twice.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from adaloraqat.serve.database import Database, remove

GIVEN_UP_AFTER = 24 * 3600.0
"""Seconds from an archive's first refusal of an object itself to the last try; other trouble has no end."""
_SLOWEST = 600.0  # seconds between two tries of one object


@dataclass(frozen=True)
class Outgoing:
    """An object that waits for the archive, and how often it has been tried."""

    job: str
    number: int
    kind: str
    tries: int
    path: Path

    @property
    def key(self) -> tuple[str, int, str]:
        """The row's key."""
        return self.job, self.number, self.kind


class OutgoingQueue:
    """The objects of one jobs folder that the archive has not got; may be called from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, now: float) -> Outgoing | None:
        """Return the object whose next try has been due longest; None where none is due at `now`."""
        with self._database.reading() as rows:
            found = rows.execute(
                "SELECT job, number, kind, tries FROM outgoing WHERE due <= ? ORDER BY due, rowid LIMIT 1",
                (now,),
            ).fetchone()
        if found is None:
            return None
        job, number, kind, tries = found
        return Outgoing(job, number, kind, tries, self._database.result(job, number, kind))

    def seconds_to_next(self, now: float) -> float | None:
        """Return how long it is to the next try; None where nothing waits."""
        with self._database.reading() as rows:
            (first,) = rows.execute("SELECT min(due) FROM outgoing").fetchone()
        return None if first is None else max(0.0, first - now)

    def sent(self, one: Outgoing) -> None:
        """Forget an object that the archive has."""
        self._forget(one)

    def postpone(self, one: Outgoing, refused: bool, now: float | None = None) -> bool:
        """Try an object again later, each time after twice as long; False where it is given up instead.

        Args:
            one: the object.
            refused: the archive refuses the object itself.
            now: seconds since 1970.
        """
        now = time.time() if now is None else now
        due = now + min(_SLOWEST, 2.0 ** min(one.tries, 20))
        with self._database.writing() as rows:
            rows.execute(
                "UPDATE outgoing SET tries = tries + 1, due = ?, "
                "refused = iif(?, coalesce(refused, ?), NULL) WHERE job = ? AND number = ? AND kind = ?",
                (due, refused, now, *one.key),
            )
            where = "SELECT refused FROM outgoing WHERE job = ? AND number = ? AND kind = ?"
            (first,) = rows.execute(where, one.key).fetchone()
        if first is not None and now - first >= GIVEN_UP_AFTER:
            self._forget(one)
            return False
        return True

    def _forget(self, one: Outgoing) -> None:
        with self._database.writing() as rows:
            rows.execute("DELETE FROM outgoing WHERE job = ? AND number = ? AND kind = ?", one.key)
        remove([one.path])

    def waiting(self) -> int:
        """Return how many objects the archive has not got."""
        with self._database.reading() as rows:
            (count,) = rows.execute("SELECT count(*) FROM outgoing").fetchone()
        return int(count)
