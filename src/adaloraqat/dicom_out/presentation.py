"""A presentation state (PR): the film as its dataset shows it, with the outlines drawn on it.

Stations draw a presentation state on a plain film; a segmentation they overlay on CT and MR alone.
"""

from collections.abc import Sequence

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

from adaloraqat.dicom_out.contours import contours, pieces
from adaloraqat.dicom_out.origin import RESEARCH, Origin
from adaloraqat.dicom_out.regions import Region
from adaloraqat.dicom_out.source import Source

SERIES = 9003
_LAYER = "LUNGS"
_TEXT_BOX = (0.02, 0.02, 0.75, 0.08)  # left, top, right, bottom of the displayed area


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
    state.Laterality = ""  # of a pair; which side is no question of a chest film
    _show_shape_of_pixels(state, source)
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
    elif source.aspect is not None:
        area.PresentationPixelAspectRatio = [round(side) for side in source.aspect]
