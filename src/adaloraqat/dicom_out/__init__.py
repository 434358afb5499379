"""A film's result as the DICOM objects that a hospital's archive keeps and its stations show; needs `dicom`.

Segmentation (SEG), structured report (SR) and presentation state (PR); same patient and study, own series.
"""

from collections.abc import Mapping
from pathlib import Path

from adaloraqat.bundle import Bundle, Segmentation
from adaloraqat.bundle.segmenter import GIVEN, MASK, POINTS
from adaloraqat.dicom_out.deidentify import Deidentifier
from adaloraqat.dicom_out.source import Source, read_source
from adaloraqat.errors import AdaloraqatError, FilmError, refused_as
from adaloraqat.extras import install
from adaloraqat.files import atomic_path
from adaloraqat.measure.clinical import cardiothoracic_ratio
from adaloraqat.radiograph.formats.base import quiet

__all__ = ["KINDS", "Deidentifier", "Source", "check_installed", "read_source", "write_objects"]

KINDS = ("seg", "sr", "pr")
"""What can be written: segmentation, structured report, presentation state."""


def check_installed() -> None:
    """Refuse the work where the extra `dicom` is not installed.

    Raises:
        AdaloraqatError: it is not.
    """
    try:
        with quiet():
            import contourpy
            import dicognito
            import highdicom
        del contourpy, dicognito, highdicom
    except ImportError as error:
        raise AdaloraqatError(
            f"DICOM results need the package {error.name}, which is not installed: run {install('dicom')}."
        ) from error


def write_objects(
    paths: Mapping[str, Path],
    source: Source,
    result: Segmentation,
    bundle: Bundle,
) -> None:
    """Write a film's result as DICOM objects, each atomically.

    Args:
        paths: file of each kind to write, of `KINDS`.
        source: the film's header, from `read_source`.
        result: the film's segmentation.
        bundle: the model that gave it.

    Raises:
        FilmError: the film's header does not allow it.
        OutputError: a file cannot be written.
    """
    if "pr" in paths and source.dataset.get("PhotometricInterpretation") not in (
        "MONOCHROME1",
        "MONOCHROME2",
    ):
        raise FilmError(
            f"{source.name} is in colour, for which no presentation state can be written: leave out pr."
        )
    sentence = (
        f"The header of {source.name} does not allow DICOM results: export the film from the archive again."
    )
    with quiet(), refused_as(FilmError(sentence)):
        from adaloraqat.dicom_out.measurement_report import Measures, report_of
        from adaloraqat.dicom_out.origin import Origin
        from adaloraqat.dicom_out.presentation import presentation_of
        from adaloraqat.dicom_out.regions import LUNG, regions, structure_regions
        from adaloraqat.dicom_out.segmentation import segmentation_of

        origin = Origin.of(bundle)
        is_pair = not result.warnings and result.box_source not in (GIVEN, POINTS, MASK)
        ratio = None
        if result.structures is not None:
            found = measured = structure_regions(result.structures, result.mask)
            if result.structures.sides_certain:
                ratio = cardiothoracic_ratio(result.structures.heart, result.mask)
            else:  # what the film shows is not sure: then the size of the heart is no fact, either
                measured = tuple(region for region in found if region.kind == LUNG)
        else:
            found = measured = regions(result.mask, source.orientation, is_pair)
        objects = {}
        if "seg" in paths:
            objects["seg"] = segmentation_of(source.dataset, found, origin)
        if "sr" in paths:
            spacing = result.spacing_mm
            measures = Measures(spacing[0] * spacing[1] if spacing else None, ratio)
            objects["sr"] = report_of(source.dataset, measured, measures, origin, objects.get("seg"))
        if "pr" in paths:
            objects["pr"] = presentation_of(source, found, origin, result.warnings)
    for kind, written in objects.items():
        with atomic_path(paths[kind]) as temporary, quiet():
            written.save_as(temporary, enforce_file_format=True)
