"""What judges DICOM files, and a small real bundle."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest

sys.path[:0] = [str(Path(__file__).parents[1] / "bundle"), str(Path(__file__).parent)]

from dicom_films import Written, program  # noqa: E402

from adaloraqat.bundle.format import Bundle  # noqa: E402
from adaloraqat.dicom_out import KINDS, read_source, write_objects  # noqa: E402
from adaloraqat.radiograph.formats.base import quiet  # noqa: E402


@pytest.fixture
def errors_of() -> Callable[[Path], set[str]]:
    """Return the errors that dciodvfy finds in a DICOM file."""
    validator = program("dciodvfy", "dicom3tools")

    def errors(path: Path) -> set[str]:
        ended = subprocess.run([validator, str(path)], capture_output=True, check=False)
        said = ended.stderr.decode("utf-8", "replace")  # it repeats names in their own character set
        return {line for line in said.splitlines() if line.startswith("Error")}

    return errors


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    from tiny_bundle import write_tiny_bundle

    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def write(model: Bundle, tmp_path: Path) -> Callable[..., Written]:
    """Write the objects of a film and read them back with pydicom."""

    def call(film: Path, result: Any, kinds: tuple[str, ...] = KINDS, **more: Any) -> Written:
        paths = {kind: tmp_path / f"{film.stem}_{kind}.dcm" for kind in kinds}
        write_objects(paths, read_source(film, more.pop("deidentifier", None)), result, model, **more)
        with quiet():
            return {kind: pydicom.dcmread(path) for kind, path in paths.items()}

    return call
