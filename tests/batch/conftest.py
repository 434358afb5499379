import sys
from pathlib import Path

import pytest
from PIL import Image

# the handmade bundle; test folders are no packages
sys.path[:0] = [str(Path(__file__).parents[1] / "bundle"), str(Path(__file__).parent)]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_bundle import write_tiny_bundle

    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    write_tiny_bundle(folder, weights=1)
    return folder


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Twelve films, of which one is damaged."""
    from tiny_bundle import two_lungs

    folder = tmp_path / "films"
    (folder / "sub").mkdir(parents=True)
    for number in range(11):
        place = folder / "sub" if number % 3 == 0 else folder
        Image.fromarray(two_lungs(100 + number, 150)).save(place / f"f{number:02}.png")
    (folder / "bad.png").write_bytes(b"no film at all")
    return folder
