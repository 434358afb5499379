import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# the handmade bundle, DICOM films, and this folder's own helpers; test folders are no packages
sys.path[:0] = [
    *(str(Path(__file__).parents[1] / room) for room in ("bundle", "dicom_out")),
    str(Path(__file__).parent),
]
from served import Served, phantom  # noqa: E402


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_bundle import write_tiny_bundle

    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    write_tiny_bundle(folder, weights=1)
    return folder


@pytest.fixture(scope="session")
def film() -> bytes:
    """A phantom."""
    return phantom()


@pytest.fixture(scope="package")
def server(bundle: Path) -> Iterator[Served]:
    """One server with small limits for all tests that leave it as it was."""
    limits = ("--max-mb", 1, "--max-megapixels", 1, "--client-timeout", 1.5, "--queue", 64, "--deadline", 300)
    with Served("--model", bundle, "--workers", 1, *limits) as one:
        yield one
        assert one.process.poll() is None  # nothing ended it
