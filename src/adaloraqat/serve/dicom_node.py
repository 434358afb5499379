"""A DICOM node that takes films from a PACS: C-ECHO and C-STORE, by pynetdicom.

A film is on the disk, with its row, before the sender hears of success; where that fails, the sender hears
"out of resources" and keeps it. Nothing is decoded here: that is done in processes that may die. Loggers hear
counts, never a title, a UID or a name.
"""

import errno
import ipaddress
import logging
import threading
from dataclasses import dataclass, field
from typing import Any

from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, AllStoragePresentationContexts, _config, evt
from pynetdicom.sop_class import Verification

from adaloraqat.errors import AdaloraqatError
from adaloraqat.radiograph.formats.decoders import DECODERS
from adaloraqat.serve.film import StoreFull
from adaloraqat.serve.job import Wish
from adaloraqat.serve.store import Store

log = logging.getLogger("adaloraqat")

SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000
FILM_CLASSES = frozenset(
    {
        ComputedRadiographyImageStorage,
        DigitalXRayImageStorageForPresentation,
        DigitalXRayImageStorageForProcessing,
        SecondaryCaptureImageStorage,
    }
)
"""SOP classes whose objects are films; objects of all others are taken, counted and dropped."""
MOST_BYTES = 512 << 20
_MOST_SENDERS = 20
_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class NodeOptions:
    """Where a node listens, and to whom.

    Attributes:
        port: TCP; 0: any that is free.
        title: the node's own AE title.
        host: address to listen at; None: this computer alone.
        callers: AE titles that may send; empty: any, which only this computer's own may.
        most_bytes: of one object; the connection of a longer one is ended.
    """

    port: int
    title: str = "ADALORAQAT"
    host: str | None = None
    callers: tuple[str, ...] = ()
    most_bytes: int = MOST_BYTES

    def __post_init__(self) -> None:
        for title in (self.title, *self.callers):
            if (
                not 0 < len(title.strip()) <= 16
                or not title.isascii()
                or not title.isprintable()
                or "\\" in title
            ):
                raise AdaloraqatError(
                    f"{title!r} is not an AE title: give 1 to 16 letters, digits, spaces or underscores."
                )
        if self.host is not None and not self.callers and not _is_loopback(self.host):
            raise AdaloraqatError(
                "A node that other computers can reach needs to know who may send: name each sender's AE "
                "title with --dicom-from."
            )


@dataclass
class NodeCounts:
    """What came since the start: films, films again, objects that are no films, and what was refused."""

    films: int = 0
    again: int = 0
    others: int = 0
    refused: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, name: str) -> None:
        """Count one."""
        with self._lock:
            setattr(self, name, getattr(self, name) + 1)


class DicomNode:
    """Takes films into the store.

    Attributes:
        counts: what came.
        port: where it listens, once started.
    """

    def __init__(self, store: Store, options: NodeOptions, wish: Wish) -> None:
        self.counts = NodeCounts()
        self.port = options.port
        self._store = store
        self._options = options
        self._wish = wish
        _config.LOG_HANDLER_LEVEL = "none"  # pynetdicom would log titles, addresses and UIDs
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
        self._ae = AE(ae_title=options.title)
        self._ae.maximum_associations = _MOST_SENDERS
        self._ae.network_timeout = self._ae.dimse_timeout = self._ae.acse_timeout = _TIMEOUT_S
        self._ae.require_called_aet = True
        self._ae.require_calling_aet = list(options.callers)
        self._ae.add_supported_context(Verification)
        syntaxes = list(DECODERS)
        for context in AllStoragePresentationContexts:
            self._ae.add_supported_context(str(context.abstract_syntax), syntaxes)
        self._received: dict[int, int] = {}  # bytes of the object that each association is sending
        self._server: Any = None

    def start(self) -> None:
        """Listen.

        Raises:
            AdaloraqatError: the port is in use, or the address is not this computer's.
        """
        host = self._options.host or "127.0.0.1"
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._store_film),
            (evt.EVT_PDU_RECV, self._count_bytes),
            (evt.EVT_DIMSE_RECV, self._forget_bytes),
            (evt.EVT_CONN_CLOSE, self._forget_bytes),
        ]
        try:
            self._server = self._ae.start_server(
                (host, self._options.port), block=False, evt_handlers=handlers
            )
        except (OSError, OverflowError) as error:
            if getattr(error, "errno", None) == errno.EADDRINUSE:
                raise AdaloraqatError(
                    f"Port {self._options.port} is in use: stop what uses it, or choose another --dicom-port."
                ) from error
            raise AdaloraqatError(
                f"The DICOM node cannot listen at {host}, port {self._options.port} "
                f"({getattr(error, 'strerror', None) or error}): choose another --dicom-host or --dicom-port."
            ) from error
        self.port = self._server.socket.getsockname()[1]

    def stop(self) -> None:
        """Take nothing more; senders in the middle of an object hear of no success and keep it."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None
            for association in self._ae.active_associations:
                association.abort()

    def _store_film(self, event: evt.Event) -> int:
        """Answer a C-STORE: the status is success only when nothing more can be lost."""
        try:
            sop_class = str(event.request.AffectedSOPClassUID)
            instance = str(event.request.AffectedSOPInstanceUID or "")
            elements = event.encoded_dataset(include_meta=False)
            data = event.encoded_dataset()
        except Exception as error:  # of many kinds, for what is no request of the standard
            self.counts.add("refused")
            log.warning(
                "The DICOM node refused an object that it cannot understand (%s).", type(error).__name__
            )
            return CANNOT_UNDERSTAND
        if sop_class not in FILM_CLASSES:
            self.counts.add("others")
            return SUCCESS
        try:
            came = self._store.receive(f"{sop_class} {instance}", data, elements, self._wish)
        except StoreFull as error:
            self.counts.add("refused")
            log.warning("The DICOM node refused a film: %s", error)
            return OUT_OF_RESOURCES
        except Exception as error:
            self.counts.add("refused")
            log.error("The DICOM node could not keep a film: %s in the jobs folder.", type(error).__name__)
            return OUT_OF_RESOURCES
        self.counts.add("again" if came is None else "films")
        return SUCCESS

    def _count_bytes(self, event: evt.Event) -> None:
        """End a connection whose object is longer than any film: it would fill the memory."""
        key = id(event.assoc)
        before = self._received.get(key, 0)
        self._received[key] = before + len(event.pdu)
        if before <= self._options.most_bytes < self._received[key]:
            self.counts.add("refused")
            log.warning("The DICOM node ended a connection: its object is larger than any film.")
            event.assoc.dul.socket.close()  # an abort would wait until the sender has nothing more to send

    def _forget_bytes(self, event: evt.Event) -> None:
        self._received.pop(id(event.assoc), None)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
