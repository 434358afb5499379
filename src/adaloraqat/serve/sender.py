"""The thread that sends results to the archive, and goes on trying while the archive is away."""

import logging
import threading
import time

from adaloraqat.serve.outgoing import OutgoingQueue
from adaloraqat.serve.store import Store
from adaloraqat.serve.stow import Outcome, StowClient

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
        """Send the object in work to its end, and stop; the others wait for the next start."""
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
                    log.error("Sending to the archive met %s; it goes on.", type(error).__name__)
                    wait = _LONGEST_PAUSE
                if self._stopping:
                    return
                if self._pause:
                    wait = max(wait, self._pause)
                    self._nap(wait)
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
            log.warning("The archive takes results again.")
        elif not reachable and self.reachable:
            log.warning("The archive takes no results (%s): they wait and are tried again.", why)
        self.reachable = reachable
        self._pause = 0.0 if reachable else min(_LONGEST_PAUSE, 2 * self._pause or _FIRST_PAUSE)
