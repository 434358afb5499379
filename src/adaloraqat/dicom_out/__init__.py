"""A film's result as the DICOM objects that a hospital's archive keeps and its stations show; needs `dicom`.

Segmentation (SEG), structured report (SR) and presentation state (PR); same patient and study, own series.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from adaloraqat.bundle import Bundle, Segmentation
from adaloraqat.bundle.segmenter import GIVEN, MASK, POINTS
from adaloraqat.dicom_out.deidentify import Deidentifier
from adaloraqat.dicom_out.source import Source, read_source
from adaloraqat.errors import AdaloraqatError, FilmError
from adaloraqat.extras import install
from adaloraqat.files import atomic_path
from adaloraqat.measure.clinical import cardiothoracic_ratio
from adaloraqat.radiograph.formats.base import quiet

if TYPE_CHECKING:
    from highdicom import SOPClass

__all__ = ["KINDS", "Deidentifier", "Source", "check_installed", "read_source", "write_objects"]

KINDS = ("seg", "sr", "pr")
"""What can be written: segmentation, structured report, presentation state."""
_LONGEST_REASON = 200  # letters


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
    with quiet(), _refused_with_reason(source.name):
        objects = _objects(tuple(paths), source, result, bundle)
    for kind, written in objects.items():
        with atomic_path(paths[kind]) as temporary, quiet():
            written.save_as(temporary, enforce_file_format=True)


def _objects(
    kinds: tuple[str, ...], source: Source, result: Segmentation, bundle: Bundle
) -> dict[str, "SOPClass"]:
    """Return the object of each kind."""
    from adaloraqat.dicom_out.measurement_report import Measures, report_of
    from adaloraqat.dicom_out.origin import Origin
    from adaloraqat.dicom_out.presentation import presentation_of
    from adaloraqat.dicom_out.regions import LUNG, regions, structure_regions
    from adaloraqat.dicom_out.segmentation import segmentation_of

    origin = Origin.of(bundle)
    ratio = None
    structures = result.structures
    if structures is not None:
        found = measured = structure_regions(structures, result.mask)
        if structures.standard_view:  # a mirrored film's ratio is that of the film
            ratio = cardiothoracic_ratio(structures.heart, result.mask)
        else:  # of a film that is not what the model takes it for, the heart's size would be no fact, either
            measured = tuple(region for region in found if region.kind == LUNG)
    else:
        is_pair = not result.warnings and result.box_source not in (GIVEN, POINTS, MASK)
        found = measured = regions(result.mask, source.orientation, is_pair)
    objects: dict[str, SOPClass] = {}
    segmentation = None
    if "seg" in kinds:
        objects["seg"] = segmentation = segmentation_of(source.dataset, found, origin)
    if "sr" in kinds:
        spacing = result.spacing_mm
        measures = Measures(spacing[0] * spacing[1] if spacing else None, ratio)
        objects["sr"] = report_of(source.dataset, measured, measures, origin, segmentation)
    if "pr" in kinds:
        objects["pr"] = presentation_of(source, found, origin, result.warnings)
    return objects


@contextmanager
def _refused_with_reason(name: str) -> Iterator[None]:
    """Refuse a film whose header highdicom or pydicom cannot use, and say what they say of it."""
    try:
        yield
    except AdaloraqatError:
        raise
    except Exception as error:  # of many kinds
        said = f"nothing is known of {error}" if isinstance(error, KeyError) else str(error)
        reason = " ".join(said.split()).rstrip(".")[:_LONGEST_REASON] or type(error).__name__
        raise FilmError(
            f"The header of {name} does not allow DICOM results ({reason}): export the film from the archive "
            "again, or leave out --dicom."
        ) from error
