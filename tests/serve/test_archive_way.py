"""From a PACS (Debian's DCMTK) through the node to an archive (Debian's Orthanc), while each is killed."""

import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pydicom
import pytest
from archive import Archive, echoscu, free_port, kill_group, storescu, wait_for
from archive_films import write_films

from adaloraqat.radiograph.formats.base import quiet

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills groups of processes")

PROGRAM = Path(__file__).with_name("node_process.py")


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    archive = Archive(tmp_path_factory.mktemp("orthanc"))
    archive.start()
    yield archive
    archive.kill()


class Node:
    """The node's process, on one port and one folder, also after it was killed."""

    def __init__(self, bundle: Path, folder: Path, url: str, kinds: str) -> None:
        self.port = free_port()
        self.folder = folder
        self._arguments = [str(bundle), str(folder / "jobs"), str(self.port), url, kinds]
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        with open(self.folder / "log", "a") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(PROGRAM), *self._arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n", (self.folder / "log").read_text()
        self.process.stdout.close()

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            kill_group(self.process)

    def results(self) -> int:
        """How many films are finished, as its jobs say."""
        with closing(
            sqlite3.connect(f"file:{self.folder / 'jobs' / 'jobs.sqlite3'}?mode=ro", uri=True)
        ) as jobs:
            (count,) = jobs.execute("SELECT COUNT(*) FROM results").fetchone()
        return int(count)

    def end(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60)


@pytest.fixture
def node(tmp_path: Path, bundle: Path, orthanc: Archive) -> Iterator[Callable[..., Node]]:
    started = []

    def call(kinds: str = "seg") -> Node:
        started.append(Node(bundle, tmp_path, orthanc.url, kinds))
        started[-1].start()
        return started[-1]

    yield call
    for one in started:
        one.kill()


def of_patients(orthanc: Archive, films: list[Path]) -> Counter[tuple[str, str]]:
    """How many instances the archive has, by patient and modality, of those patients."""
    patients = {f"{path.parent.name}-{path.stem}" for path in films}
    found = Counter((one["PatientID"], one["Modality"]) for one in orthanc.kept())
    return Counter({key: count for key, count in found.items() if key[0] in patients})


def wanted(films: list[Path], *modalities: str) -> Counter[tuple[str, str]]:
    return Counter({(f"{path.parent.name}-{path.stem}", kind): 1 for path in films for kind in modalities})


def test_results_come_back_as_seg_sr_and_pr(
    node: Callable[..., Node], orthanc: Archive, tmp_path: Path
) -> None:
    one = node("seg,sr,pr")
    films = write_films(tmp_path / "three", 3)
    no_film = films[0]
    with quiet():
        dataset = pydicom.dcmread(no_film)
        dataset.Rows += 1  # fewer pixels than that: the film fails, and there is nothing to send
        dataset.save_as(no_film)
    assert echoscu(one.port) == 0
    assert storescu(one.port, *films[1:], no_film) == 0
    wait_for(lambda: of_patients(orthanc, films) == wanted(films[1:], "SEG", "SR", "PR"))
    assert one.end() == 0
    assert "Musterfrau" not in (tmp_path / "log").read_text()
    assert [path.name for path in (tmp_path / "jobs" / "films").iterdir()] == []
    assert [path.name for path in (tmp_path / "jobs" / "results").iterdir()] == []


@pytest.mark.parametrize("kills", [2, pytest.param(30, marks=pytest.mark.slow)])
def test_nothing_is_lost_and_nothing_comes_twice(
    node: Callable[..., Node], orthanc: Archive, tmp_path: Path, kills: int
) -> None:
    """The node is killed again and again with films in work, and the archive in the middle.

    A film whose sender did not hear of success is sent again, as a PACS does.
    """
    films = write_films(tmp_path / f"kills{kills}", 6 * kills)
    chance = random.Random(kills)
    one = node()
    done = threading.Event()

    def send() -> None:
        for first in range(0, len(films), 3):
            while storescu(one.port, *films[first : first + 3]) != 0:
                time.sleep(0.1)
        done.set()

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    for kill in range(kills):
        if kill % 3 == 2:  # else a slow computer finishes nothing between the kills
            finished = one.results()
            wait_for(lambda finished=finished: one.results() > finished or done.is_set(), 120)
        time.sleep(chance.uniform(0.0, 2.0))
        one.kill()
        if kill == kills // 3:
            orthanc.kill()
        one.start()
        if kill == 2 * kills // 3:
            orthanc.start()
    assert done.wait(600)
    wait_for(lambda: sum(of_patients(orthanc, films).values()) >= len(films), 300)
    time.sleep(1)
    assert of_patients(orthanc, films) == wanted(films, "SEG")
    assert one.end() == 0
    assert list((tmp_path / "jobs" / "films").iterdir()) == []
    assert list((tmp_path / "jobs" / "results").iterdir()) == []
