"""SIIM-ACR Pneumothorax in miniature: DICOM with run lengths, and the PNG edition."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from miniature import GREY, block, indexed, save
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from adaloraqat.datasets.siim_acr import RunLengths
from adaloraqat.datasets.sources import find_source
from adaloraqat.errors import FilmError, ManifestError
from adaloraqat.radiograph import read_mask


def relative_runs(mask: np.ndarray) -> str:
    """Encode as the competition's mask2rle does: down the columns, each start relative to the last end."""
    words, last, run, before = [], 0, 0, False
    for position, inside in enumerate(bool(value) for value in mask.T.ravel()):
        if inside and not before:
            words.append(position - last)
            run = position
        if before and not inside:
            words.append(position - run)
            last = position
        before = inside
    if before:
        words.append(mask.size - run)
    return " ".join(map(str, words))


def dicom(folder: Path, uid: str, patient: str) -> Path:
    film = pydicom.Dataset()
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film.SOPClassUID, film.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", generate_uid()
    film.Rows, film.Columns, film.SamplesPerPixel = 32, 24, 1
    film.BitsAllocated = film.BitsStored = 8
    film.HighBit, film.PixelRepresentation, film.PhotometricInterpretation = 7, 0, "MONOCHROME2"
    film.PatientID, film.ViewPosition, film.PixelSpacing = patient, "AP", [5.0, 5.0]
    film.PixelData = bytes(range(32)) * 24
    path = folder / f"{uid}-study" / f"{uid}-series" / f"{uid}.dcm"
    path.parent.mkdir(parents=True)
    film.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def siim(tmp_path):
    root = tmp_path / "siim"
    first, second = np.zeros((32, 24), bool), np.zeros((32, 24), bool)
    first[3:9, 2:7], second[20:32, 20:24] = True, True  # the second touches the last pixel
    for uid, patient in (("1.2.1", "anna"), ("1.2.2", "anna"), ("1.2.3", "bert"), ("1.2.4", "carl")):
        dicom(root / "dicom-images-train", uid, patient)
    dicom(root / "dicom-images-test", "9.9.9", "dora")
    rows = [("1.2.1", relative_runs(first)), ("1.2.1", relative_runs(second)), ("1.2.2", "-1"),
            ("1.2.3", "1 2 3"), ("7.7.7", "-1")]  # fmt: skip
    table = "ImageId, EncodedPixels\n" + "".join(f"{uid}, {text}\n" for uid, text in rows)
    (root / "train-rle.csv").write_text(table)
    return root, first | second


def test_run_lengths_rows_and_patients(siim, tmp_path):
    root, truth = siim
    entries, said = indexed("siim_acr", root, tmp_path / "out")
    assert sorted(entries) == ["1.2.1", "1.2.2"]
    ill, healthy = entries["1.2.1"], entries["1.2.2"]
    assert (read_mask(ill.path_mask, (32, 24)) == truth).all()
    assert not read_mask(healthy.path_mask, (32, 24)).any()
    assert (ill.diagnosis, healthy.diagnosis) == ("pneumothorax", "no pneumothorax")
    assert ill.patient_id == healthy.patient_id != "anna"  # hashed
    assert len(ill.patient_id) == 16
    assert (ill.view, ill.spacing_mm, ill.outlines) == ("AP", (5.0, 5.0), "pneumothorax")
    assert any("without a row in the CSV file: 1.2.4" in word for word in said)
    assert any("without a film: 7.7.7" in word for word in said)
    assert any("run lengths of 1.2.3.dcm do not fit" in word for word in said)
    assert "anna" not in str(entries) + str(said)


@pytest.mark.parametrize("text", ["5", "-3 4", "760 9", "a b", "1 99999999999999999999"])
def test_damaged_run_lengths(text):
    with pytest.raises(FilmError, match="do not fit its 24 x 32 pixels"):
        RunLengths("film.dcm", (text,)).draw((32, 24))


def test_a_table_that_is_none(siim):
    root, _ = siim
    (root / "train-rle.csv").write_text("image,mask\n1.2.1,-1\n")
    with pytest.raises(ManifestError, match=r"train-rle\.csv is not the table"):
        find_source("siim_acr").listing(root)


def test_the_png_edition(tmp_path):
    root = tmp_path / "siim-acr-pneumothorax"
    for stem in ("0_train_0_", "1_train_1_", "0_test_1_"):
        save(root / "png_images" / f"{stem}.png", GREY)
        save(root / "png_masks" / f"{stem}.png", block(2, 2, 2 + int(stem[-2]) * 8, 9))
    entries, said = indexed("siim_acr", root, tmp_path / "out")
    assert {e.id: (e.split, e.diagnosis) for e in entries.values()} == {
        "0_test_1_": ("test", "pneumothorax"),
        "0_train_0_": ("train", "no pneumothorax"),
        "1_train_1_": ("train", "pneumothorax"),
    }
    assert "12,044 fewer than the 12,047" in said[-1]
