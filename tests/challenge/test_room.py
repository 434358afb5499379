"""The room's doors: nothing of the way of a film passes it, and its old names work with a warning."""

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_bundle import write_tiny_bundle

from adaloraqat import challenge, radiograph
from adaloraqat.datasets.phantom import write_phantoms


def test_a_film_is_segmented_without_it(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "data", 1, size=64)
    write_tiny_bundle(tmp_path / "tiny")
    script = (
        "import sys\n"
        "from adaloraqat.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print([name for name in sys.modules if name.startswith(('adaloraqat.challenge', 'torch'))])"
    )
    arguments = ["segment", "data/images", "--model", "tiny", "--overlay"]
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", ["Case", "VolumeBox", "is_case", "open_case", "write_npz"])
def test_names_that_radiograph_had(name: str) -> None:
    with pytest.warns(DeprecationWarning, match=rf"adaloraqat\.challenge\.{name}"):
        assert getattr(radiograph, name) is getattr(challenge, name)


def test_the_place_that_the_room_had() -> None:
    with pytest.warns(DeprecationWarning, match=r"is now adaloraqat\.challenge;"):
        from adaloraqat.bundle.challenge import segment_case
    assert segment_case is challenge.segment_case
