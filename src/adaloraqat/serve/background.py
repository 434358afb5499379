"""What a server does besides answering at once: jobs, and films from a PACS; begun and ended in one order."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adaloraqat.dicom_out import KINDS, check_installed
from adaloraqat.errors import AdaloraqatError
from adaloraqat.serve.database import Database
from adaloraqat.serve.job import Limits, Wish
from adaloraqat.serve.runner import Runner
from adaloraqat.serve.sender import Sender
from adaloraqat.serve.store import Store
from adaloraqat.serve.stow import StowClient

if TYPE_CHECKING:
    from adaloraqat.serve.dicom_node import DicomNode, NodeOptions
    from adaloraqat.serve.pool import WorkerPool


@dataclass(frozen=True)
class Archive:
    """Films come from a PACS, and results go back.

    Attributes:
        node: where films come in.
        stow_url: of the archive's DICOMweb service.
        token_file: with the archive's token, or None.
        objects: what it gets of each film, of `dicom_out.KINDS`.
        model: by which model; None: the pool's first.
    """

    node: "NodeOptions"
    stow_url: str
    token_file: Path | None = None
    objects: tuple[str, ...] = ("seg",)
    model: str | None = None


class Background:
    """Jobs and, where it is given, the way from and to an archive.

    Attributes:
        store: of the jobs.
        runner: brings films to the pool.
        node: takes films from a PACS, or None.
        sender: sends results to the archive, or None.
    """

    def __init__(
        self, jobs_dir: Path, pool: "WorkerPool", archive: Archive | None = None, limits: Limits | None = None
    ) -> None:
        """Check everything and hold the folder; start nothing.

        Raises:
            AdaloraqatError: the folder or an option cannot be used, or an extra is not installed.
        """
        client = None
        if archive is not None:
            check_installed()
            if not archive.objects or set(archive.objects) - set(KINDS):
                raise AdaloraqatError(f"An archive gets one or more of {', '.join(KINDS)}.")
            client = StowClient(archive.stow_url, archive.token_file)
        self._database = Database(jobs_dir)
        try:
            self.store = Store(self._database, limits)
            self.runner = Runner(self.store, pool)
            self.node: DicomNode | None = None
            self.sender = None
            if archive is not None and client is not None:
                from adaloraqat.serve import dicom_node  # pynetdicom is imported where it is asked for

                wish = Wish(archive.model, frozenset({"json", *archive.objects}), archived=True)
                self.node = dicom_node.DicomNode(self.store, archive.node, wish)
                self.sender = Sender(self.store, client)
        except BaseException:
            self._database.close()
            raise

    @contextmanager
    def running(self, drain_s: float) -> Iterator[None]:
        """Work until the block ends; then take nothing more, and give films in progress `drain_s` seconds.

        Raises:
            AdaloraqatError: the node cannot listen.
        """
        try:
            if self.node is not None:
                self.node.start()
            if self.sender is not None:
                self.sender.start()
            self.runner.start()
            yield
        finally:
            if self.node is not None:
                self.node.stop()
            self.runner.stop(drain_s)
            if self.sender is not None:
                self.sender.stop()
            self._database.close()
