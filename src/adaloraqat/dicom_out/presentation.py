"""A presentation state (PR): the film as its dataset shows it, with the outlines drawn on it.

Stations draw a presentation state on a plain film; a segmentation they overlay on CT and MR alone. Contours
are closed polylines in PIXEL units: the origin 0.0\\0.0 is the OUTER corner of the first pixel, 0.5\\0.5 its
middle, and the far corner of the last pixel Columns\\Rows (PS3.3 C.10.5.1.2). In that frame a contour runs
through the middles of those pixel sides that part the mask from its surroundings: it cuts each corner of the
mask's edge half a pixel to either side, and is nowhere more than 0.36 px from that edge.
"""

from collections.abc import Sequence

import numpy as np
from highdicom.content import PresentationLUTTransformation
from highdicom.enum import PresentationLUTShapeValues
from highdicom.pr import (
    AnnotationUnitsValues,
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GraphicTypeValues,
    GrayscaleSoftcopyPresentationState,
    TextJustificationValues,
    TextObject,
)
from numpy.typing import NDArray

from adaloraqat.dicom_out.origin import RESEARCH, Origin
from adaloraqat.dicom_out.regions import Region
from adaloraqat.dicom_out.source import Source

SERIES = 9003
_LAYER = "LUNGS"
_TEXT_BOX = (0.02, 0.02, 0.75, 0.08)  # left, top, right, bottom of the displayed area
MOST_POINTS = 4096
"""Points of one polyline: an element of explicit VR holds 65,534 bytes, which are 8,191 points."""


def presentation_of(
    source: Source, regions: Sequence[Region], origin: Origin, warnings: Sequence[str] = ()
) -> GrayscaleSoftcopyPresentationState:
    """Return the presentation state of a film: its grey scale as it stands, outlines, and a line of text.

    Args:
        source: the film.
        regions: what is outlined, masks (H, W) on the film's grid.
        origin: what outlined it.
        warnings: what makes the result doubtful, "code: sentence" each; the codes are shown.
    """
    dataset = source.dataset
    layer = GraphicLayer(_LAYER, order=1, description=RESEARCH)
    lines = [piece for region in regions for line in contours(region.mask) for piece in pieces(line)]
    annotation = GraphicAnnotation(
        referenced_images=[dataset],
        graphic_layer=layer,
        graphic_objects=[
            GraphicObject(GraphicTypeValues.POLYLINE, line, AnnotationUnitsValues.PIXEL) for line in lines
        ],
        text_objects=[
            TextObject(
                _text(origin, warnings),
                AnnotationUnitsValues.DISPLAY,
                bounding_box=_TEXT_BOX,
                text_justification=TextJustificationValues.LEFT,
            )
        ],
    )
    # of the film's own MONOCHROME1 a presentation state takes no notice (PS3.4 N.2.1.4)
    inverse = dataset.get("PhotometricInterpretation") == "MONOCHROME1"
    shape = PresentationLUTShapeValues.INVERSE if inverse else PresentationLUTShapeValues.IDENTITY
    state = GrayscaleSoftcopyPresentationState(
        referenced_images=[dataset],
        content_label=_LAYER,
        content_description=RESEARCH,
        content_creator_name="AdaLoRA-QAT^",
        graphic_annotations=[annotation],
        graphic_layers=[layer],
        presentation_lut_transformation=PresentationLUTTransformation(shape),
        **origin.equipment(SERIES),
    )
    state.Laterality = ""  # of a pair; which side is not a question of a chest film
    _show_shape_of_pixels(state, source)
    state.update(source.grey_scale.modality)
    if len(source.grey_scale.interest):
        state.SoftcopyVOILUTSequence = [source.grey_scale.interest]
    return state


def _text(origin: Origin, warnings: Sequence[str]) -> str:
    codes = ", ".join(warning.partition(":")[0] for warning in warnings)
    return f"{RESEARCH} ({origin.model})" + (f". Doubtful: {codes}" if codes else "")


def _show_shape_of_pixels(state: GrayscaleSoftcopyPresentationState, source: Source) -> None:
    """Say how large, or how oblong, the film's pixels are: highdicom takes them for square."""
    [area] = state.DisplayedAreaSelectionSequence
    area.pop("PixelOriginInterpretation", None)  # of slides only
    if source.spacing is not None:
        del area.PresentationPixelAspectRatio
        area.PresentationPixelSpacing = [f"{side:.10g}" for side in source.spacing]
    else:
        area.PresentationPixelAspectRatio = list(source.aspect)


def contours(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Return the contours of a mask (H, W): one closed polyline round each part, and one round each hole.

    Returns:
        each (N, 2) of (column, row) in PIXEL units, the last point equal to the first; points on a straight
        line between their neighbours are left out.
    """
    from contourpy import contour_generator

    height, width = mask.shape
    framed = np.pad(mask, 1).astype(np.float64)  # so that what touches the border is closed along it
    columns, rows = np.arange(-1, width + 1) + 0.5, np.arange(-1, height + 1) + 0.5  # middles of the pixels
    lines = contour_generator(columns, rows, framed, name="serial").lines(0.5)
    return [_without_straight_points(np.asarray(line)) for line in lines]


def pieces(line: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Cut a polyline (N, 2) into some of at most `MOST_POINTS` points; each begins where the last ends."""
    return [line[start : start + MOST_POINTS] for start in range(0, max(1, len(line) - 1), MOST_POINTS - 1)]


def _without_straight_points(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leave out the points of a closed line (N, 2) where it does not turn."""
    points = line[:-1]
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turns = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-9
    kept = points[turns]
    return np.concatenate([kept, kept[:1]])
