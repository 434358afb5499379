import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# the handmade bundle and helpers of other rooms; test folders are no packages
sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in ("bundle", "dicom_out")]
sys.path.insert(0, str(Path(__file__).parent))

from adaloraqat.serve.database import Database  # noqa: E402
from adaloraqat.serve.store import Limits, Store  # noqa: E402


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


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_bundle import write_tiny_bundle

    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    write_tiny_bundle(folder)
    return folder
