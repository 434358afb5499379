"""Debian's Orthanc takes the objects by STOW and gives them back by WADO."""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_films import lungs, program, result_of, write_film
from dicomweb_client import DICOMwebClient

from adaloraqat.bundle import Segmenter
from adaloraqat.bundle.format import Bundle
from adaloraqat.dicom_out import KINDS, read_source, write_objects
from adaloraqat.radiograph.formats.base import quiet

PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
FILMS = Path(os.environ.get("ADALORAQAT_FILMS", ""))
real = pytest.mark.skipif("ADALORAQAT_FILMS" not in os.environ, reason="ADALORAQAT_FILMS is not set")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DICOMwebClient]:
    """Start Orthanc on a free port in a folder of its own, and stop it."""
    orthanc = program("Orthanc", "orthanc orthanc-dicomweb")
    folder = tmp_path_factory.mktemp("orthanc")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "Name": "test",
        "StorageDirectory": str(folder / "store"),
        "IndexDirectory": str(folder / "store"),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [PLUGIN],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen([orthanc, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/dicom-web/studies", timeout=5).close()
                break
            except (urllib.error.URLError, ConnectionError):
                assert server.poll() is None, (folder / "log").read_text()
                time.sleep(0.25)
        else:
            pytest.fail(f"Orthanc does not answer: {(folder / 'log').read_text()}")
        yield DICOMwebClient(f"http://127.0.0.1:{port}/dicom-web")
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(20)


def go_and_come_back(archive: DICOMwebClient, paths: dict[str, Path], mask: np.ndarray) -> None:
    """Store the files, fetch them by their UIDs, and compare what comes with what went."""
    with quiet():
        sent = {kind: pydicom.dcmread(path) for kind, path in paths.items()}
        answer = archive.store_instances(list(sent.values()))
        assert len(answer.ReferencedSOPSequence) == len(sent)
        assert not answer.get("FailedSOPSequence")
        for kind, one in sent.items():
            uids = one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID
            back = archive.retrieve_instance(*uids)
            assert back.SOPClassUID == one.SOPClassUID
            if kind != "film":
                assert back.to_json_dict() == one.to_json_dict()
            if kind == "seg":
                union = back.pixel_array.astype(bool).reshape(-1, *mask.shape).any(axis=0)
                np.testing.assert_array_equal(union, mask)
            elif kind == "film":
                np.testing.assert_array_equal(back.pixel_array, one.pixel_array)
        study = sent["seg"].StudyInstanceUID
        kept = {item["00080060"]["Value"][0] for item in archive.search_for_series(study)}
        assert {"SEG", "SR", "PR"} <= kept


@pytest.mark.parametrize("inverted", [False, True])
def test_an_archive_keeps_film_and_objects(
    archive: DICOMwebClient, model: Bundle, tmp_path: Path, inverted: bool
) -> None:
    orientation = ["L", "F"] if inverted else None
    film = write_film(tmp_path / "film.dcm", inverted, PatientOrientation=orientation)
    paths = {kind: tmp_path / f"film_{kind}.dcm" for kind in KINDS}
    write_objects(paths, read_source(film), result_of(lungs(), (0.4, 0.4)), model)
    go_and_come_back(archive, {"film": film, **paths}, lungs())


@real
@pytest.mark.parametrize("name", ["Fake_MONOHR1.dcm", "RG1_JLSN.dcm", "nih_1.3.6.1.4.1.11129.dcm"])
def test_real_films(
    archive: DICOMwebClient, tmp_path: Path, name: str, errors_of: Callable[[Path], set[str]]
) -> None:
    film = FILMS / "dicom" / name
    segmenter = Segmenter.load(threads=1)
    result = segmenter.segment(film)
    assert result.area_px > 100_000
    paths = {kind: tmp_path / f"{kind}.dcm" for kind in KINDS}
    write_objects(paths, read_source(film), result, segmenter.bundle)
    for path in paths.values():
        assert errors_of(path) - errors_of(film) == set()
    assert result.structures is not None  # the default model tells right lung, left lung and heart apart
    go_and_come_back(archive, paths, result.mask | result.structures.heart)
