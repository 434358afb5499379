"""A structured report (TID 1500) of what was measured on a film: areas; and the heart's ratio. UNVERIFIED."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from highdicom.seg import Segmentation
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    ReferencedSegmentationFrame,
    SourceImageForMeasurementGroup,
    SourceImageForSegmentation,
    TrackingIdentifier,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from adaloraqat.dicom_out.origin import FAMILY, MANUFACTURER, Origin
from adaloraqat.dicom_out.regions import STRUCTURE, Region

SERIES = 9002
CHEST_FILM = Code("399208008", "SCT", "Plain chest X-ray")
PIXELS = Code("{pixels}", "UCUM", "Pixels")
CARDIOTHORACIC_RATIO = Code("cardiothoracic-ratio", "99ADALORAQAT", "Cardiothoracic ratio")
"""A private code, as the standard allows: pydicom's tables of SNOMED CT and DICOM codes have none for it."""


@dataclass(frozen=True)
class Measures:
    """What was measured beside the areas; None where it was not.

    Attributes:
        pixel_mm2: area of a pixel, None where the spacing is not trusted: areas are then in pixels.
        cardiothoracic_ratio: greatest width of the heart over that of the chest.
    """

    pixel_mm2: float | None = None
    cardiothoracic_ratio: float | None = None


def report_of(
    header: Dataset,
    regions: Sequence[Region],
    measures: Measures,
    origin: Origin,
    segmentation: Segmentation | None = None,
) -> ComprehensiveSR:
    """Return the report of a film.

    Args:
        header: of the film, see `source.Source`.
        regions: what was outlined; each has a group of its own.
        measures: what was measured.
        origin: what made the outlines.
        segmentation: the object that holds the regions: the groups then refer to it, else to the film.
    """
    groups: list[Any] = [
        _of_region(header, number, region, measures, origin, segmentation)
        for number, region in enumerate(regions, 1)
    ]
    if measures.cardiothoracic_ratio is not None:
        ratio = Measurement(CARDIOTHORACIC_RATIO, round(measures.cardiothoracic_ratio, 4), codes.UCUM.NoUnits)
        groups.append(_group(header, "Cardiothoracic ratio", [ratio], [], origin, None))
    device = DeviceObserverIdentifyingAttributes(
        uid=generate_uid(prefix=None),
        name=origin.algorithm,
        manufacturer_name=MANUFACTURER,
        model_name=f"adaloraqat {origin.version}",
    )
    report = MeasurementReport(
        observation_context=ObservationContext(
            observer_device_context=ObserverContext(codes.DCM.Device, device)
        ),
        procedure_reported=CHEST_FILM,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    return ComprehensiveSR(
        evidence=[header, *([segmentation] if segmentation is not None else [])],
        content=report,
        is_complete=True,
        is_final=False,
        is_verified=False,
        **origin.equipment(SERIES),
    )


def _of_region(
    header: Dataset,
    number: int,
    region: Region,
    measures: Measures,
    origin: Origin,
    segmentation: Segmentation | None,
) -> Any:
    if measures.pixel_mm2 is None:
        area = Measurement(codes.SCT.Area, region.area_px, PIXELS)
    else:
        area = Measurement(
            codes.SCT.Area, round(region.area_px * measures.pixel_mm2, 2), codes.UCUM.SquareMillimeter
        )
    reference = None
    if segmentation is not None:
        reference = ReferencedSegmentationFrame(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            frame_number=number,
            segment_number=number,
            source_image=SourceImageForSegmentation.from_source_image(header),
        )
        [film] = reference[0].ReferencedSOPSequence
        del film.ReferencedSegmentNumber  # the frame says it; both together break PS3.3 C.18.4
    site = FindingSite(region.kind, None if region.side is None else CodedConcept.from_code(region.side))
    return _group(header, region.label, [area], [site], origin, reference, region.kind)


def _group(
    header: Dataset,
    label: str,
    measurements: list[Measurement],
    sites: list[FindingSite],
    origin: Origin,
    reference: ReferencedSegmentationFrame | None,
    kind: Code | None = None,
) -> Any:
    """Return a group of measurements (TID 1410 where a segment is referred to, else TID 1501)."""
    shared: dict[str, Any] = {
        "tracking_identifier": TrackingIdentifier(uid=generate_uid(prefix=None), identifier=label),
        "finding_category": STRUCTURE,
        "finding_type": kind,
        "finding_sites": sites or None,
        "measurements": measurements,
        "algorithm_id": AlgorithmIdentification(
            name=origin.algorithm,
            version=origin.version,
            parameters=[f"{name}: {digest}" for name, digest in origin.parameters.items()],
            family=FAMILY,
            manufacturer=MANUFACTURER,
        ),
    }
    if reference is not None:
        return PlanarROIMeasurementsAndQualitativeEvaluations(referenced_segment=reference, **shared)
    film = SourceImageForMeasurementGroup.from_source_image(header)
    return MeasurementsAndQualitativeEvaluations(source_images=[film], **shared)
