"""A folder a modality, then the data set: as challenge phantoms are written, through the command line."""

from collections import Counter
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from adaloraqat.cli.data import index
from adaloraqat.datasets.manifest import read_manifest
from adaloraqat.datasets.modalities import list_modalities
from adaloraqat.datasets.phantom.cases import write_case_phantoms
from adaloraqat.errors import ManifestError


def test_modalities_are_indexed_as_they_were_drawn(tmp_path: Path) -> None:
    drawn = write_case_phantoms(tmp_path / "data", {"XRay": 3, "CT": 1, "US": 2}, seed=1, size=64)
    app = typer.Typer()
    app.command()(index)
    done = CliRunner().invoke(app, ["modalities", str(tmp_path / "data"), "--out", str(tmp_path / "m.csv")])
    assert done.exit_code == 0, done.output
    found = read_manifest(tmp_path / "m.csv")
    assert Counter(entry.modality for entry in found) == Counter(entry.modality for entry in drawn)
    assert {entry.path_image for entry in found} == {entry.path_image.resolve() for entry in drawn}
    assert all(entry.id.startswith(f"{entry.modality}-phantom-") for entry in found)
    assert {entry.source for entry in found} == {"phantom"}


def test_a_flat_folder_is_no_folder_of_modalities(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(ManifestError, match="index a single pair"):
        list_modalities(tmp_path, None)
