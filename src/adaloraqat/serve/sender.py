"""Results on their way to the archive: those that wait, and the thread that sends them.

One that waits is a file in the jobs folder and a row of its database; the thread keeps trying while the
archive is away. An object has a SOP Instance UID of its own, made once: sent again, it is the same object, so
an archive that has it already stores nothing twice.
"""

import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from adaloraqat.serve.database import Database, remove
from adaloraqat.serve.store import Store
from adaloraqat.serve.stow import Outcome, StowClient

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


log = logging.getLogger("adaloraqat")

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_LOOK = 30.0


class Sender:
    """Sends what waits in the queue, one object after the other.

    An object that the archive does not take is tried again later, and the others go first; while the archive
    itself does not answer, nothing is tried for a while that grows to a minute.

    Attributes:
        stored: objects that the archive took, since the start.
        given_up: objects that it refused for a day.
        reachable: whether the archive answered the last time.
    """

    def __init__(self, store: Store, client: StowClient) -> None:
        self.queue = OutgoingQueue(store.database)
        self.stored = self.given_up = 0
        self.reachable = True
        self._store = store
        self._client = client
        self._wake = threading.Event()
        self._stopping = False
        self._pause = 0.0
        self._thread = threading.Thread(target=self._run, name="stow", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send the object in progress to its end, and stop; the others wait for the next start."""
        self._stopping = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        with self._store.listening(self._wake.set):
            while not self._stopping:
                self._wake.clear()
                try:
                    wait = self._send_next()
                except Exception as error:  # a full disk, a defect: the queue is on the disk and stays
                    log.error("Sending to the archive failed with %s; it continues.", type(error).__name__)
                    wait = _LONGEST_PAUSE
                if self._stopping:
                    return
                if self._pause:
                    self._nap(self._pause)
                elif wait:
                    self._wake.wait(min(wait, _LOOK))

    def _nap(self, seconds: float) -> None:
        """Wait, also when results come, which could not be sent either."""
        end = time.monotonic() + seconds
        while not self._stopping and (left := end - time.monotonic()) > 0:
            self._wake.wait(left)
            self._wake.clear()

    def _send_next(self) -> float:
        """Try the object that is due; returns how many seconds to wait before the next."""
        now = time.time()
        one = self.queue.due(now)
        if one is None:
            left = self.queue.seconds_to_next(now)
            return _LOOK if left is None else max(0.01, left)
        try:
            data = one.path.read_bytes()
        except FileNotFoundError:
            log.error("A result for the archive was removed from the jobs folder: send its film again.")
            self.queue.sent(one)
            return 0.0
        except OSError as error:
            log.error(
                "A result for the archive cannot be read (%s); it is tried again later.", error.strerror
            )
            self.queue.postpone(one, refused=False)
            return 0.0
        answer = self._client.store(data)
        self._tell(answer.outcome is not Outcome.UNREACHABLE, answer.why)
        if answer.outcome is Outcome.STORED:
            self.queue.sent(one)
            self.stored += 1
            return 0.0
        refused = answer.outcome is Outcome.REFUSED
        if not self.queue.postpone(one, refused):
            self.given_up += 1
            log.error("The archive refused a result for a day (%s); it was deleted.", answer.why)
        elif refused and one.tries == 0:
            log.warning("The archive refuses a result (%s); it is tried again for a day.", answer.why)
        return 0.0

    def _tell(self, reachable: bool, why: str) -> None:
        """Say once that the archive is away or back, and set the pause."""
        if reachable and not self.reachable:
            log.warning("The archive accepts results again.")
        elif not reachable and self.reachable:
            log.warning("The archive accepts no results (%s): they wait and are tried again.", why)
        self.reachable = reachable
        self._pause = 0.0 if reachable else min(_LONGEST_PAUSE, 2 * self._pause or _FIRST_PAUSE)
