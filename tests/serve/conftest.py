import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# the handmade bundle, DICOM films, and this folder's own helpers; test folders are no packages
sys.path[:0] = [
    *(str(Path(__file__).parents[1] / room) for room in ("bundle", "dicom_out")),
    str(Path(__file__).parent),
]
from served import Served, phantom  # noqa: E402

from adaloraqat.serve.database import Database  # noqa: E402
from adaloraqat.serve.job import Limits  # noqa: E402
from adaloraqat.serve.store import Store  # noqa: E402


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


@pytest.fixture
def jobs_dir(tmp_path: Path) -> Path:
    return tmp_path / "jobs"


@pytest.fixture
def open_store(jobs_dir: Path) -> Iterator[Callable[..., Store]]:
    """Return a function that opens the store; again, it is the next server's after the end of this one."""
    opened = []

    def call(limits: Limits | None = None) -> Store:
        for database in opened:
            database.close()
        database = Database(jobs_dir)
        opened.append(database)
        return Store(database, limits or Limits(free_bytes=0))

    yield call
    for database in opened:
        database.close()
