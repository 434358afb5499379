"""A PACS (Debian's DCMTK) sends films to the node: what is taken, skipped and refused, and what is logged."""

import logging
import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from archive import echoscu, storescu, wait_for
from archive_films import write_films
from dicom_films import program, write_film
from pydicom.uid import CTImageStorage, JPEGLSLossless, RLELossless, SegmentationStorage

from adaloraqat.errors import AdaloraqatError
from adaloraqat.radiograph.formats.base import quiet
from adaloraqat.serve.dicom_node import DicomNode, NodeOptions
from adaloraqat.serve.job import Limits, Wish
from adaloraqat.serve.store import Store

WISH = Wish(outputs=frozenset({"json", "seg"}), archived=True)
Start = Callable[..., DicomNode]


@pytest.fixture
def start(open_store: Callable[..., Store]) -> Iterator[Start]:
    """Start a node on a free port, with a store of its own."""
    nodes = []

    def call(limits: Limits | None = None, **options: object) -> DicomNode:
        nodes.append(DicomNode(open_store(limits), NodeOptions(0, **options), WISH))  # type: ignore[arg-type]
        nodes[-1].start()
        return nodes[-1]

    yield call
    for node in nodes:
        node.stop()


def waiting(node: DicomNode) -> int:
    return node._store.waiting()


def test_films_are_on_the_disk_when_the_sender_hears_of_success(start: Start, tmp_path: Path) -> None:
    node = start()
    assert echoscu(node.port) == 0
    films = write_films(tmp_path / "films", 3)
    assert storescu(node.port, *films) == 0
    assert (node.counts.films, waiting(node)) == (3, 3)
    taken = node._store.take()
    assert taken is not None
    kept = tmp_path / "kept.dcm"
    kept.write_bytes(node._store.data(taken))
    sent, came = pydicom.dcmread(films[0]), pydicom.dcmread(kept)
    assert came == sent
    assert came.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
    assert storescu(node.port, *films) == 0  # the sender did not hear of success, and sends again
    assert (node.counts.films, node.counts.again, waiting(node)) == (3, 3, 3)


@pytest.mark.parametrize(("syntax", "option"), [(JPEGLSLossless, "-xt"), (RLELossless, "-xr")])
def test_compressed_films_come_as_they_are(start: Start, tmp_path: Path, syntax: str, option: str) -> None:
    import subprocess

    [film] = write_films(tmp_path / "films", 1)
    with quiet():
        dataset = pydicom.dcmread(film)
        dataset.compress(syntax, generate_instance_uid=False)
        dataset.save_as(film)
    node = start()
    command = [
        program("storescu", "dcmtk"),
        option,
        "-aec",
        "ADALORAQAT",
        "127.0.0.1",
        str(node.port),
        str(film),
    ]
    assert subprocess.run(command, capture_output=True).returncode == 0
    taken = node._store.take()
    assert taken is not None
    (tmp_path / "kept.dcm").write_bytes(node._store.data(taken))
    assert pydicom.dcmread(tmp_path / "kept.dcm") == pydicom.dcmread(film)


@pytest.mark.parametrize("sop_class", [SegmentationStorage, CTImageStorage])
def test_what_is_no_film_is_taken_counted_and_dropped(start: Start, tmp_path: Path, sop_class: str) -> None:
    [path] = write_films(tmp_path / "films", 1)
    with quiet():
        dataset = pydicom.dcmread(path)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
        dataset.save_as(path)
    node = start()
    assert storescu(node.port, path) == 0
    assert (node.counts.others, node.counts.films, waiting(node)) == (1, 0, 0)


@pytest.mark.parametrize("limits", [Limits(films=0, free_bytes=0), Limits(free_bytes=1 << 60)])
def test_full_is_out_of_resources(start: Start, tmp_path: Path, limits: Limits) -> None:
    """As pynetdicom's own sender sees the status; storescu fails, so that a PACS keeps the film."""
    from pynetdicom import AE

    [film] = write_films(tmp_path / "films", 1)
    node = start(limits)
    sender = AE("PACS")
    dataset = pydicom.dcmread(film)
    sender.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = sender.associate("127.0.0.1", node.port, ae_title="ADALORAQAT")
    assert association.send_c_store(dataset).Status == 0xA700
    association.release()
    assert storescu(node.port, film) != 0
    assert (node.counts.refused, waiting(node)) == (2, 0)


def test_a_disk_that_fails_is_out_of_resources(start: Start, tmp_path: Path) -> None:
    node = start()
    os.rmdir(node._store.database.folder / "films")
    assert storescu(node.port, *write_films(tmp_path / "films", 1)) != 0
    assert waiting(node) == 0


def test_only_who_is_named_may_send(start: Start, tmp_path: Path) -> None:
    node = start(callers=("PACS", "GATEWAY"))
    [film] = write_films(tmp_path / "films", 1)
    for send in (echoscu, lambda port, **names: storescu(port, film, **names)):
        assert send(node.port, calling="GATEWAY") == 0
        assert send(node.port, calling="STRANGER") != 0
        assert send(node.port, called="SOMEBODY") != 0
    assert waiting(node) == 1


def test_a_longer_object_than_any_film_ends_its_connection(start: Start, tmp_path: Path) -> None:
    node = start(most_bytes=200_000)
    [small], [large] = write_films(tmp_path / "a", 1), write_films(tmp_path / "b", 1, (700, 700))
    assert storescu(node.port, large) != 0
    for _ in range(3):
        assert storescu(node.port, small) == 0
    wait_for(lambda: node.counts.refused == 1)
    assert waiting(node) == 1


def test_what_speaks_no_dicom_is_left_alone(start: Start) -> None:
    node = start()
    for noise in (b"GET / HTTP/1.1\r\n\r\n", b"\x01\x00\x00\x00\x00\x10" + bytes(16), os.urandom(4000)):
        with socket.create_connection(("127.0.0.1", node.port)) as connection:
            connection.sendall(noise)
    assert echoscu(node.port) == 0


def test_no_log_names_a_patient(
    start: Start, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    person = {"PatientName": "Musterfrau^Erika", "PatientID": "PID-4711", "AccessionNumber": "ACC-0815"}
    film = write_film(tmp_path / "Musterfrau.dcm", **person)
    uid = str(pydicom.dcmread(film).SOPInstanceUID)
    with caplog.at_level(logging.DEBUG):
        node = start(Limits(films=1, free_bytes=0))
        assert storescu(node.port, film, calling="STATION-7") == 0
        assert storescu(node.port, *write_films(tmp_path / "films", 1)) != 0
    said = capfd.readouterr()
    assert "refused a film" in caplog.text
    for secret in (*person.values(), "Musterfrau", uid, "STATION-7", "127.0.0.1"):
        assert secret not in caplog.text + said.out + said.err
    kept = sqlite3.connect(node._store.database.folder / "jobs.sqlite3")
    assert uid not in str(kept.execute("SELECT * FROM jobs JOIN films").fetchall())
    kept.close()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"host": "0.0.0.0"}, "needs to know who may send: name each sender's AE title with --dicom-from"),
        ({"host": "10.0.0.7"}, "needs to know who may send"),
        ({"title": "MUCH TOO LONG A TITLE"}, "is not an AE title"),
        ({"callers": ("A\\B",)}, "is not an AE title"),
    ],
)
def test_options_that_are_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(AdaloraqatError, match=sentence):
        NodeOptions(11112, **options)  # type: ignore[arg-type]


def test_a_port_in_use_is_a_sentence(open_store: Callable[..., Store]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AdaloraqatError, match=f"Port {port} is in use: .*--dicom-port"):
            DicomNode(open_store(), NodeOptions(port), WISH).start()
