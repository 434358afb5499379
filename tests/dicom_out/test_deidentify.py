"""Of a de-identified film no file tells whom it shows."""

from pathlib import Path

import numpy as np
import pydicom
from dicom_films import lungs, result_of, write_film
from pydicom import Dataset
from pydicom.datadict import DicomDictionary, tag_for_keyword

from adaloraqat.bundle.format import Bundle
from adaloraqat.dicom_out import KINDS, Deidentifier, read_source, write_objects
from adaloraqat.radiograph import read_film
from adaloraqat.radiograph.formats.base import quiet

TEXT = ("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
SECRET = b"SECRET"


def secrets() -> Dataset:
    """Every element of text that DICOM knows, but what a file's begin and a decoder need, with a secret."""
    found = Dataset()
    for number, (tag, (kind, *_, keyword)) in enumerate(DicomDictionary.items()):
        if keyword and kind in TEXT and tag >> 16 not in (0, 2, 4):
            found.add_new(tag, kind, f"SECRET{number:04x}")
    return found


def coded(scheme: str, meaning: str) -> Dataset:
    found = Dataset()
    found.CodeValue, found.CodingSchemeDesignator, found.CodeMeaning = "399348003", scheme, meaning
    return found


def write_secret_film(path: Path) -> Path:
    """Write a film with secrets in all text, in sequences, before the data set, and in private elements."""
    write_film(path)
    with quiet():
        film = pydicom.dcmread(path)
        for one in secrets():
            if one.keyword not in film or one.tag.group != 0x0028:
                film.add(one)
        film.OriginalAttributesSequence = [secrets()]
        for key in ("AnatomicRegionSequence", "AcquisitionContextSequence", "ReferencedStudySequence"):
            film.add_new(tag_for_keyword(key), "SQ", [secrets()])
        film.ViewCodeSequence = [coded("SCT", "postero-anterior"), coded("99SITE", "SECRET")]
        film.IconImageSequence = [Dataset()]
        film.IconImageSequence[0].PixelData = SECRET
        film["IconImageSequence"].value[0]["PixelData"].VR = "OB"
        film.private_block(0x0011, "SECRET", create=True).add_new(1, "LO", "SECRET")
        for tag, kind, value in ((0x60003000, "OW", SECRET), (0x60001500, "LO", "SECRET")):
            film.add_new(tag, kind, value)
        film.preamble = SECRET.ljust(128, b"x")
        film.file_meta.SourceApplicationEntityTitle = "SECRETAE"
        film.file_meta.PrivateInformationCreatorUID = "1.2.3"
        film.file_meta.PrivateInformation = SECRET
        film.save_as(path)
    return path


def test_no_text_is_left_in_any_file(model: Bundle, tmp_path: Path) -> None:
    film = write_secret_film(tmp_path / "film.dcm")
    assert film.read_bytes().count(SECRET) > 2000
    source = read_source(film, Deidentifier())
    paths = {kind: tmp_path / f"out_{kind}.dcm" for kind in KINDS}
    write_objects(paths, source, result_of(lungs()), model)
    source.save_film(tmp_path / "out_film.dcm")
    for path in (*paths.values(), tmp_path / "out_film.dcm"):
        with quiet():
            written = pydicom.dcmread(path)
        assert SECRET not in path.read_bytes(), str(written)
        assert written.preamble == b"\0" * 128
    with quiet():
        left = pydicom.dcmread(tmp_path / "out_film.dcm")
        [view] = left.ViewCodeSequence  # of a public scheme: how the film was taken
        assert view.CodeMeaning == "postero-anterior"
        assert len(left.AcquisitionContextSequence) == 0
        np.testing.assert_array_equal(left.pixel_array, pydicom.dcmread(film).pixel_array)
        assert left.file_meta.MediaStorageSOPInstanceUID == left.SOPInstanceUID
    np.testing.assert_array_equal(read_film(tmp_path / "out_film.dcm").pixels, read_film(film).pixels)


def test_a_date_that_is_none_is_not_kept(tmp_path: Path) -> None:
    film = write_film(
        tmp_path / "film.dcm", PatientBirthDate="1960/01/01", StudyDate="20200101-20200201", StudyTime="24:00"
    )
    source = read_source(film, Deidentifier())
    source.save_film(tmp_path / "out.dcm")
    left = pydicom.dcmread(tmp_path / "out.dcm")
    assert [left.PatientBirthDate, left.StudyDate, left.StudyTime] == ["", "", ""]


def test_numbers_of_other_studies_go_and_a_placeholder_is_no_date(tmp_path: Path) -> None:
    film = pydicom.dcmread(write_film(tmp_path / "film.dcm"))
    film.OtherStudyNumbers = 4711
    film.PatientBirthDate = "00010101"
    Deidentifier()(film)
    assert "OtherStudyNumbers" not in film
    assert not film.PatientBirthDate


def test_what_results_need_does_not_change_the_film(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.dcm", SpecificCharacterSet="ISO_IR 100", PatientSex="X")
    source = read_source(film, Deidentifier())
    assert source.film is not None
    assert (source.film.SpecificCharacterSet, source.film.PatientSex) == ("ISO_IR 100", "X")


def test_deidentified_results_and_film(model: Bundle, tmp_path: Path) -> None:
    """One patient's two films stay one patient, and none of the old identifiers is left in any file."""
    person = {
        "PatientName": "Musterfrau^Erika",
        "PatientID": "PID-4711",
        "PatientBirthDate": "19500102",
        "AccessionNumber": "ACC-0815",
        "StudyDate": "20240506",
        "InstitutionName": "Hospital of Somewhere",
        "ReferringPhysicianName": "Doktor^Who",
        "PatientComments": "lives in Elsewhere",
        "StudyDescription": "Thorax of Erika",
        "OtherPatientIDs": "OTHER-99",
    }
    deidentifier = Deidentifier()
    found = []
    for name in ("one", "two"):
        film = write_film(tmp_path / f"{name}.dcm", **person)
        with quiet():
            dataset = pydicom.dcmread(film)
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = (
                f"1.2.3.{len(name)}.{ord(name[0])}"
            )
            dataset.private_block(0x0011, "ADALORAQAT TEST", create=True).add_new(1, "LO", "PID-4711")
            dataset.save_as(film)
        source = read_source(film, deidentifier)
        paths = {kind: tmp_path / f"{name}_{kind}.dcm" for kind in (*KINDS, "film")}
        source.save_film(paths.pop("film"))
        write_objects(paths, source, result_of(lungs()), model)
        old = [str(value) for value in person.values()]
        old += [
            *["Musterfrau", "Erika", "Doktor"],
            str(dataset.StudyInstanceUID),
            str(dataset.SOPInstanceUID),
        ]
        for kind in (*KINDS, "film"):
            data = (tmp_path / f"{name}_{kind}.dcm").read_bytes()
            assert [one for one in old if one.encode() in data] == []
        with quiet():
            objects = {kind: pydicom.dcmread(tmp_path / f"{name}_{kind}.dcm") for kind in (*KINDS, "film")}
        for key in ("PatientID", "PatientName", "StudyInstanceUID", "StudyDate"):
            assert len({str(written[key].value) for written in objects.values()}) == 1
        series = objects["pr"].ReferencedSeriesSequence[0]
        image = series.ReferencedImageSequence[0]
        assert image.ReferencedSOPInstanceUID == objects["film"].SOPInstanceUID != dataset.SOPInstanceUID
        np.testing.assert_array_equal(read_film(tmp_path / f"{name}_film.dcm").pixels, read_film(film).pixels)
        found.append(objects["film"])
    assert found[0].PatientID == found[1].PatientID
    assert found[0].StudyInstanceUID == found[1].StudyInstanceUID
    assert found[0].SOPInstanceUID != found[1].SOPInstanceUID
    assert read_source(film, Deidentifier()).dataset.PatientID != found[1].PatientID  # the key is not kept
