"""MedSAM challenge files, in miniature as the archive has it, and folders of several modalities."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import typer
from miniature import GREY, indexed
from PIL import Image
from typer.testing import CliRunner

from adaloraqat.challenge.phantoms import write_case_phantoms
from adaloraqat.challenge.sources import list_modalities
from adaloraqat.cli.data import index
from adaloraqat.datasets.manifest import read_manifest
from adaloraqat.datasets.sources import find_source
from adaloraqat.errors import ManifestError
from adaloraqat.radiograph import read_mask


def npz(path: Path, **arrays) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    return path


def test_medsam_images_and_volumes(tmp_path):
    root = tmp_path / "npz_train"
    labels = np.zeros((32, 32), np.uint8)
    labels[4:12, 4:8], labels[4:12, 20:26] = 1, 2
    npz(root / "XRay" / "XRay_COVID-QU-Ex-lungMask_Lung_1.npz", imgs=np.dstack([GREY] * 3), gts=labels)
    volume = np.zeros((5, 32, 32), np.uint8)
    truth = np.zeros_like(volume)
    volume[2], truth[2], truth[3] = GREY, labels, labels
    npz(root / "CT" / "CT_Lung_7.npz", imgs=volume, gts=truth, spacing=np.array([5.0, 1, 1]))
    npz(root / "XRay" / "XRay_Pneumothorax-Masks_1_train_1.npz", imgs=GREY, gts=labels)
    npz(root / "XRay" / "XRay_lung_empty.npz", imgs=GREY)
    (root / "XRay" / "XRay_lung_broken.npz").write_bytes(b"PK\x03\x04")

    entries, said = indexed("medsam_npz", root, tmp_path / "out", "lungs")
    assert sorted(entries) == ["CT_Lung_7-z002", "CT_Lung_7-z003", "XRay_COVID-QU-Ex-lungMask_Lung_1"]
    film = entries["XRay_COVID-QU-Ex-lungMask_Lung_1"]
    assert film.path_image.suffix == ".npz"
    assert (read_mask(film.path_mask) == (labels > 0)).all()
    piece = entries["CT_Lung_7-z002"]
    assert (film.modality, piece.modality) == ("XRay", "CT")
    assert (np.asarray(Image.open(piece.path_image)) == GREY).all()
    assert piece.path_image.parent.name == "films_films"
    assert piece.patient_id == entries["CT_Lung_7-z003"].patient_id == "CT_Lung_7"
    assert any("does not outline lungs: XRay_Pneumothorax" in word for word in said)
    assert any("without an object: XRay_lung_empty.npz" in word for word in said)
    assert any("broken.npz is not a readable" in word for word in said)

    as_named, _ = indexed("medsam_npz", root, tmp_path / "out")
    assert {e.outlines for e in as_named.values()} == {"lungs", "pneumothorax"}
    with pytest.raises(ManifestError, match="outline something other than lungs"):
        find_source("medsam_npz").listing(root_with(tmp_path, root), "lungs")


def root_with(tmp_path: Path, root: Path) -> Path:
    alone = tmp_path / "alone"
    alone.mkdir()
    (root / "XRay" / "XRay_Pneumothorax-Masks_1_train_1.npz").rename(alone / "XRay_Pneumothorax-Masks_1.npz")
    return alone


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
