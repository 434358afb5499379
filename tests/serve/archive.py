"""Debian's Orthanc as an archive that may die, and Debian's DCMTK as a PACS that sends."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from dicom_films import program

PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Archive:
    """Orthanc on one port and one folder, also after it was killed."""

    def __init__(self, folder: Path) -> None:
        self._program = program("Orthanc", "orthanc orthanc-dicomweb")
        self._folder = folder
        self._port = free_port()
        self._server: subprocess.Popen[bytes] | None = None
        settings = {
            "Name": "test",
            "StorageDirectory": str(folder / "store"),
            "IndexDirectory": str(folder / "store"),
            "HttpPort": self._port,
            "DicomServerEnabled": False,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "OverwriteInstances": True,  # what comes twice would change the count of stores
            "Plugins": [PLUGIN],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/dicom-web"

    def start(self) -> None:
        with open(self._folder / "log", "ab") as log:
            self._server = subprocess.Popen(
                [self._program, str(self._folder / "orthanc.json")], stdout=log, stderr=log
            )
        for _ in range(240):
            try:
                self.get("statistics")
                return
            except (urllib.error.URLError, ConnectionError):
                assert self._server.poll() is None, (self._folder / "log").read_text()
                time.sleep(0.25)
        pytest.fail(f"Orthanc does not answer: {(self._folder / 'log').read_text()}")

    def kill(self) -> None:
        if self._server is not None:
            self._server.send_signal(signal.SIGKILL)
            self._server.wait(20)
            self._server = None

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/{path}", timeout=5) as answer:
            return json.load(answer)

    def kept(self) -> list[dict[str, str]]:
        """The main tags of each instance that it keeps, with its modality and patient."""
        found = []
        for one in self.get("instances?expand"):
            series = self.get(f"series/{one['ParentSeries']}")["MainDicomTags"]
            study = self.get(f"instances/{one['ID']}/study")
            found.append({**one["MainDicomTags"], **series, **study["PatientMainDicomTags"]})
        return found


def storescu(port: int, *files: Path, calling: str = "PACS", called: str = "ADALORAQAT") -> int:
    """Send films as a PACS; 0: all were taken. DCMTK's log is not of interest."""
    command = [program("storescu", "dcmtk"), "-aet", calling, "-aec", called, "+sd", "-R"]
    return subprocess.run(
        [*command, "127.0.0.1", str(port), *map(str, files)], capture_output=True
    ).returncode


def echoscu(port: int, calling: str = "PACS", called: str = "ADALORAQAT") -> int:
    command = [program("echoscu", "dcmtk"), "-aet", calling, "-aec", called, "127.0.0.1", str(port)]
    return subprocess.run(command, capture_output=True).returncode


def wait_for(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.1)


def kill_group(process: subprocess.Popen[Any]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(20)
