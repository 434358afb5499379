"""What judges DICOM files, and a small real bundle."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[1] / "bundle"), str(Path(__file__).parent)]

from dicom_films import program  # noqa: E402

from adaloraqat.bundle.format import Bundle  # noqa: E402


@pytest.fixture
def errors_of() -> Callable[[Path], set[str]]:
    """Return the errors that dciodvfy finds in a DICOM file."""
    validator = program("dciodvfy", "dicom3tools")

    def errors(path: Path) -> set[str]:
        ended = subprocess.run([validator, str(path)], capture_output=True, text=True, check=False)
        return {line for line in ended.stderr.splitlines() if line.startswith("Error")}

    return errors


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    from tiny_bundle import write_tiny_bundle

    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")
