"""A DICOM segmentation (SEG) of the lungs: one binary segment a region, on the film's own grid."""

from collections.abc import Sequence

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from highdicom.sr import CodedConcept
from pydicom import Dataset

from adaloraqat.dicom_out.origin import FAMILY, MANUFACTURER, RESEARCH, Origin
from adaloraqat.dicom_out.regions import STRUCTURE, Region

SERIES = 9001


def segmentation_of(header: Dataset, regions: Sequence[Region], origin: Origin) -> Segmentation:
    """Return the segmentation of a film, one frame and one segment a region.

    Args:
        header: of the film, see `source.Source`.
        regions: masks (H, W) on its grid that do not overlap.
        origin: what outlined them.
    """
    algorithm = AlgorithmIdentificationSequence(
        name=origin.algorithm,
        family=FAMILY,
        version=origin.version,
        source=MANUFACTURER,
        parameters=origin.parameters,
    )
    segments = [_segment(number, region, algorithm, origin) for number, region in enumerate(regions, 1)]
    masks = np.stack([region.mask for region in regions], axis=-1)[None].astype(
        np.uint8
    )  # (1, H, W, segments)
    written = Segmentation(
        source_images=[header],
        pixel_array=masks,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        content_label="LUNGS",
        content_description=RESEARCH,
        content_creator_name="AdaLoRA-QAT^",
        **origin.equipment(SERIES),
    )
    written.PatientOrientation = header.PatientOrientation
    return written


def _segment(
    number: int, region: Region, algorithm: AlgorithmIdentificationSequence, origin: Origin
) -> SegmentDescription:
    segment = SegmentDescription(
        segment_number=number,
        segment_label=region.label,
        segmented_property_category=STRUCTURE,
        segmented_property_type=region.kind,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
    )
    segment.SegmentDescription = f"{origin.outlines}. {RESEARCH}."[:1024]
    if region.side is not None:
        [kind] = segment.SegmentedPropertyTypeCodeSequence
        kind.SegmentedPropertyTypeModifierCodeSequence = [CodedConcept.from_code(region.side)]
    return segment
