"""Phantom films as DICOM, in every transfer syntax and with every header that the page treats apart."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pydicom
from numpy.typing import NDArray
from page_pictures import eight, grey, of_bits, tinted
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
    generate_uid,
)

_UNCOMPRESSED = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)


def dataset(values: NDArray[Any], bits: int, **elements: Any) -> FileDataset:
    """Return a film of (H, W) or (H, W, 3) stored values; `elements` are further ones, or others."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(values.sum()), str(elements)])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("film", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.PatientID, made.PatientName, made.Modality = "phantom", "Phantom^Drawn", "DX"
    made.Rows, made.Columns = values.shape[:2]
    made.SamplesPerPixel = 3 if values.ndim == 3 else 1
    made.PhotometricInterpretation = "RGB" if values.ndim == 3 else "MONOCHROME2"
    if values.ndim == 3:
        made.PlanarConfiguration = 0
    made.BitsAllocated, made.BitsStored, made.HighBit = values.dtype.itemsize * 8, bits, bits - 1
    made.PixelRepresentation = int(values.dtype.kind == "i")
    made.ImagerPixelSpacing = [1.2, 1.2]
    for key, value in elements.items():
        setattr(made, key, value)
    made.PixelData = values.astype(values.dtype.newbyteorder("<")).tobytes()
    made["PixelData"].VR = "OW" if values.dtype.itemsize > 1 else "OB"
    return made


def _save(made: FileDataset, path: Path, syntax: UID = ExplicitVRLittleEndian) -> None:
    if syntax in (*_UNCOMPRESSED, DeflatedExplicitVRLittleEndian):
        if syntax == ExplicitVRBigEndian:
            made.PixelData = np.frombuffer(made.PixelData, "<u2").astype(">u2").tobytes()
        made.file_meta.TransferSyntaxUID = syntax
        order = {
            "implicit_vr": syntax == ImplicitVRLittleEndian,
            "little_endian": syntax != ExplicitVRBigEndian,
        }
        pydicom.dcmwrite(path, _bare(made), enforce_file_format=True, **order)
    else:
        made.compress(syntax, **({"jls_error": 3} if syntax == JPEGLSNearLossless else {}))
        made.save_as(path, enforce_file_format=True)


def _plain(syntax: UID, seed: int, **elements: Any) -> Callable[[Path], None]:
    return lambda path: _save(dataset(of_bits(grey(seed), 12), 12, **elements), path, syntax)


def _signed(path: Path) -> None:
    values = of_bits(grey(23), 12).astype(np.int16) - 1024
    made = dataset(values, 16, RescaleSlope="0.5", RescaleIntercept="-100")
    _save(made, path)


def _padded(path: Path) -> None:
    values = of_bits(grey(24), 12)
    values[:, :40] = values[-30:] = 65535
    _save(dataset(values, 16), path)


def _overlay(path: Path) -> None:
    values = of_bits(grey(25), 12)
    values[20:60, 20:60] |= 1 << 12  # an overlay above the stored bits
    _save(dataset(values, 12, PixelPaddingValue=0), path)


def _tables(path: Path) -> None:
    made = dataset(of_bits(grey(26), 10), 10)
    table = Dataset()
    table.LUTDescriptor = [1024, 0, 12]
    table.LUTData = np.rint(4095 * np.linspace(0, 1, 1024) ** 0.7).astype("<u2").tobytes()
    table["LUTData"].VR = "OW"
    made.VOILUTSequence = [table]
    _save(made, path)


def _lossless_jpeg(path: Path) -> None:
    plain = path.with_suffix(".plain")
    _save(dataset(of_bits(grey(27), 12), 12), plain)
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(plain))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    assert writer.Write()
    plain.unlink()
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == JPEGLosslessSV1


def _baseline(path: Path) -> None:
    _encapsulated(path, dataset(eight(28), 8), Image.fromarray(eight(28)))


def _baseline_colour(path: Path) -> None:
    colours = tinted(eight(29))
    made = dataset(colours, 8, PhotometricInterpretation="YBR_FULL_422")
    _encapsulated(path, made, Image.fromarray(colours))


def _encapsulated(path: Path, made: FileDataset, picture: Image.Image) -> None:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=92)
    made.PixelData = encapsulate([stream.getvalue()])
    made["PixelData"].is_undefined_length = True
    made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    made.save_as(path, enforce_file_format=True)


def _colour_runs(path: Path) -> None:
    _save(dataset(tinted(eight(30)), 8), path, RLELossless)


def _without_meta(path: Path) -> None:
    """An old file: no preamble, no meta information, implicit."""
    made = dataset(of_bits(grey(31), 12), 12, PhotometricInterpretation="MONOCHROME1")
    values = 4095 - np.frombuffer(made.PixelData, "<u2")
    made.PixelData = values.astype("<u2").tobytes()
    bare = _bare(made)
    del bare.file_meta
    pydicom.dcmwrite(path, bare, implicit_vr=True, little_endian=True, enforce_file_format=False)


def _bare_big_endian(path: Path) -> None:
    made = dataset(of_bits(grey(31), 12), 12)
    made.PixelData = np.frombuffer(made.PixelData, "<u2").astype(">u2").tobytes()
    bare = _bare(made)
    del bare.file_meta
    pydicom.dcmwrite(path, bare, implicit_vr=False, little_endian=False, enforce_file_format=False)


def _without_preamble(path: Path) -> None:
    stream = io.BytesIO()
    dataset(of_bits(grey(31), 12), 12).save_as(stream, enforce_file_format=True)
    path.write_bytes(stream.getvalue()[132:])


def _bare(made: FileDataset) -> Dataset:
    bare = Dataset()
    bare.update(made)
    bare.file_meta = made.file_meta
    return bare


def _of_region(meaning: str) -> dict[str, Any]:
    """Return the elements of a film of a region named in its own language."""
    region = Dataset()
    region.CodeMeaning = meaning
    return {"SpecificCharacterSet": "ISO_IR 192", "AnatomicRegionSequence": [region]}


def _of_view(code: str, meaning: str, **elements: Any) -> dict[str, Any]:
    """Return the elements of a film whose view is a code with a meaning in some language."""
    view = Dataset()
    view.CodeValue, view.CodingSchemeDesignator, view.CodeMeaning = code, "SCT", meaning
    return {"SpecificCharacterSet": "ISO_IR 192", "ViewCodeSequence": [view], **elements}


TOLD: dict[str, dict[str, Any]] = {
    "lateral-by-words": {"ViewPosition": "PROFIL GAUCHE"},
    "lateral-by-code": _of_view("399067008", "боковая"),
    "lateral-by-old-code": _of_view("R-10236", "側面"),
    "frontal-by-code": _of_view("272479007", "正面", SeriesDescription="LAT"),
    "lateral-erect": {"ViewPosition": "LL ERECT"},
    "lateral-from-the-left": {"ViewPosition": "LTLAT"},
    "lateral-by-description": {"SeriesDescription": "Thorax_Seitliche"},
    "lateral-by-rows": {"PatientOrientation": ["A", "F"]},
    "oblique": {"ViewPosition": "SCHRAG"},
    "chest-abroad": {"BodyPartExamined": "TORAKS"},
    "part-abroad": {"BodyPartExamined": "HRUDNI KOS"},
    "unheard-of-part": {"BodyPartExamined": "RINTA"},
    "knee": {"BodyPartExamined": "KNIE"},
    "joint": {"BodyPartExamined": "ANKLEJOINT"},
    "limb": {"BodyPartExamined": "UP EXM"},
    "shoulder": _of_region("Épaule  droite, 2 vues"),
    "on-its-side": {"PatientOrientation": ["H", "L"]},
    "rows-to-the-back": {"PatientOrientation": ["P", "R"]},
    "sure-sides": {"PatientOrientation": ["L", "F"], "ViewPosition": "PA", "BodyPartExamined": "CHEST"},
}
"""What headers say of view, part and how the film lies: films of which only some have sure sides."""


def _film(seed: int, **elements: Any) -> Callable[[Path], None]:
    return _plain(ExplicitVRLittleEndian, seed, **elements)


def _padded_range(path: Path) -> None:
    values = of_bits(grey(33), 12)
    frame = np.ones(values.shape, bool)
    frame[15:-15, 20:-20] = False
    values = np.where(frame, np.random.default_rng(0).integers(0, 100, values.shape), values + 101)
    _save(dataset(values.astype(np.uint16), 16, PixelPaddingValue=0, PixelPaddingRangeLimit=100), path)


def _table(entries: NDArray[Any], bits: int, first: int = 0) -> list[Dataset]:
    item = Dataset()
    item.add_new(0x00283002, "US", [len(entries), first, bits])
    item.add_new(0x00283006, "OW", entries.tobytes())
    return [item]


_CURVE = np.rint(np.linspace(0, 1, 4096) ** 0.7 * 255)


def _without(*keys: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        made = dataset(of_bits(grey(34), 16), 16)
        for key in keys:
            delattr(made, key)
        _save(made, path)

    return write


def _small_letters(path: Path) -> None:
    made = dataset(of_bits(grey(35), 12), 12)
    made["PhotometricInterpretation"]._value = "Monochrome1"
    _save(made, path)


def _misfit(
    bits: int, signed: int, minus: int = 0, syntax: UID = ExplicitVRLittleEndian
) -> Callable[[Path], None]:
    """A film of 12 bits with another number of them, or another sign, in its header."""

    def write(path: Path) -> None:
        values = (of_bits(grey(36), 12).astype(int) - minus).astype(np.int16)
        values[:20] = values.min()  # a shutter
        made = dataset(values.view(np.uint16), 16)
        if syntax != ExplicitVRLittleEndian:
            made.compress(syntax)
        made.BitsStored, made.PixelRepresentation = bits, signed
        made.HighBit = bits - 1
        made.save_as(path, enforce_file_format=True)

    return write


def _upper_bits(signed: int) -> Callable[[Path], None]:
    """Values in the upper 12 bits of 16, with a sign or taken for such, and something else below."""

    def write(path: Path) -> None:
        values = (of_bits(grey(36), 12).astype(int) - 2048 * signed) * 16 + 5
        _save(dataset(values.astype("<i2" if signed else "<u2"), 12, HighBit=15), path)

    return write


WRONG: dict[str, Callable[[Path], None]] = {
    "padding-of-film": _film(33, PixelPaddingValue=0, PixelPaddingRangeLimit=2500),
    "padding-range": _padded_range,
    "short-table": _film(33, ModalityLUTSequence=_table((np.arange(300) * 10).astype("<u2"), 16)),
    "flat-table": _film(33, ModalityLUTSequence=_table(np.zeros(4096, "<u2"), 16)),
    "modality-table-8": _film(33, ModalityLUTSequence=_table(_CURVE.astype("u1"), 8)),
    "modality-table-9": _film(33, ModalityLUTSequence=_table((_CURVE * 2).astype("<u2"), 9)),
    "modality-table-12": _film(33, ModalityLUTSequence=_table((_CURVE * 16).astype("<u2"), 12)),
    "table-below-zero": _film(
        33,
        VOILUTSequence=_table((_CURVE * 16).astype("<u2"), 12, (1 << 16) - 2048),
        RescaleSlope="1",
        RescaleIntercept="-2048",
    ),
    "other-spacing": _film(33, PixelSpacing=[0.02, 0.02]),
    "no-spacing": _film(33, PixelSpacing=[0.02, 0.02], ImagerPixelSpacing=[0.01, 0.01]),
    "spacing-of-fewer-digits": _film(
        33,
        PixelSpacing=[1.2, 1.2],
        ImagerPixelSpacing=[1.2003, 1.2003],
        EstimatedRadiographicMagnificationFactor="1.1",
    ),
    "voi-table-8": _film(33, VOILUTSequence=_table(_CURVE.astype("u1"), 8)),
    "voi-table-8-in-16": _film(33, VOILUTSequence=_table(_CURVE.astype("<u2"), 8)),
    "tiny-rescale": _film(33, RescaleSlope="1e-6", RescaleIntercept="0"),
    "tiny-rescale-inverse": _film(
        33, RescaleSlope="1e-6", RescaleIntercept="0", PhotometricInterpretation="MONOCHROME1"
    ),
    "no-sign": _without("PixelRepresentation"),
    "bare-header": _without(
        "SamplesPerPixel", "PhotometricInterpretation", "PixelRepresentation", "BitsStored", "HighBit"
    ),
    "small-letters": _small_letters,
    "too-few-bits": _misfit(10, 0),
    "far-too-few-bits": _misfit(8, 0),
    "no-sign-bit": _misfit(12, 1),
    "a-sign-bit": _misfit(16, 0, 2048),
    "a-sign-bit-of-12": _misfit(12, 0, 2048),
    "a-sign-bit-and-few-bits": _misfit(10, 1, 2048),
    "sure-bits": _misfit(12, 1, 2048),
    "too-few-bits-in-runs": _misfit(10, 0, syntax=RLELossless),
    "a-sign-bit-in-runs": _misfit(12, 0, 2048, syntax=RLELossless),
    "no-sign-bit-in-jpeg-ls": _misfit(12, 1, syntax=JPEGLSLossless),
    "a-sign-bit-in-jpeg-ls": _misfit(12, 0, 2048, syntax=JPEGLSLossless),
    "no-sign-bit-in-jpeg-2000": _misfit(12, 1, syntax=JPEG2000Lossless),
    "upper-bits": _upper_bits(0),
    "upper-bits-signed": _upper_bits(1),
}
"""Headers that are well-formed and wrong: the film all the same, with Python's notices."""

_WINDOW = {"WindowCenter": ["1000", "2200"], "WindowWidth": ["50", "3000"]}

DICOM: dict[str, Callable[[Path], None]] = {
    "implicit.dcm": _plain(ImplicitVRLittleEndian, 12, **_WINDOW),
    "big-endian.dcm": _plain(ExplicitVRBigEndian, 13),
    "deflated.dcm": _plain(DeflatedExplicitVRLittleEndian, 14, WindowCenter=2048, WindowWidth=4096),
    "runs.dcm": _plain(RLELossless, 15, PhotometricInterpretation="MONOCHROME1"),
    "jpeg-ls.dcm": _plain(JPEGLSLossless, 16, WindowCenter=2048, WindowWidth=3000, VOILUTFunction="SIGMOID"),
    "jpeg-ls-near.dcm": _plain(JPEGLSNearLossless, 17),
    "jpeg-2000.dcm": _plain(JPEG2000Lossless, 18, RescaleSlope="2", RescaleIntercept="-1024"),
    "jpeg-lossless.dcm": _lossless_jpeg,
    "jpeg-baseline.dcm": _baseline,
    "jpeg-colour.dcm": _baseline_colour,
    "signed-rescaled.dcm": _signed,
    "padded.dcm": _padded,
    "overlay-bits.dcm": _overlay,
    "voi-table.dcm": _tables,
    "colour-runs.dcm": _colour_runs,
    "old.dcm": _without_meta,
    "old-without-a-name": _without_meta,
    "only-meta-before": _without_preamble,
    "big-endian-without-a-name": _bare_big_endian,
    **{f"{name}.dcm": _film(32, **told) for name, told in TOLD.items()},
    **{f"{name}.dcm": write for name, write in WRONG.items()},
}
