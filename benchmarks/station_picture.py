"""What a station shows: a film as its presentation state says, drawn by a reader of its own; see docs/hospital.md.

    python benchmarks/station_picture.py film.dcm film_pr.dcm station.png [--width 480]

It knows nothing of how the state was written: PS3.4 N.2 for the grey scale, PS3.3 C.10.5.1.2 for the graphics.
"""

import argparse

import numpy as np
import pydicom
from PIL import Image, ImageDraw
from pydicom import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut

LINE, TEXT = (255, 210, 0), (140, 220, 255)


def grey(film: Dataset, state: Dataset) -> np.ndarray:
    """(H, W) uint8: stored values by the state's own modality, VOI and presentation LUT, not by the film's."""
    values = apply_modality_lut(film.pixel_array, state)
    voi = state.get("SoftcopyVOILUTSequence")
    if voi:
        shown = Dataset()
        shown.update(voi[0])
        shown.PhotometricInterpretation = "MONOCHROME2"
        shown.BitsStored, shown.PixelRepresentation = film.BitsStored, film.PixelRepresentation
        values = apply_voi_lut(values, shown, index=0)
    values = values.astype(float)
    values = (values - values.min()) / max(float(np.ptp(values)), 1.0)
    return np.uint8(255 * (1 - values if state.get("PresentationLUTShape") == "INVERSE" else values))


def pixel_shape(state: Dataset) -> float:
    """Height of a pixel over its width, as the displayed area says."""
    area = state.DisplayedAreaSelectionSequence[0]
    row, column = area.get("PresentationPixelSpacing") or area.PresentationPixelAspectRatio
    return float(row) / float(column)


def station(film: Dataset, state: Dataset, width: int) -> Image.Image:
    picture = Image.fromarray(grey(film, state))
    across = width / film.Columns  # screen pixels of a film's pixel
    down = across * pixel_shape(state)
    screen = picture.resize((width, round(film.Rows * down)), Image.Resampling.LANCZOS).convert("RGB")
    pen = ImageDraw.Draw(screen)
    for annotation in state.GraphicAnnotationSequence:
        for item in annotation.get("GraphicObjectSequence", []):
            points = np.reshape(item.GraphicData, (-1, 2))  # 0.0\0.0: the outer corner of the first pixel
            # Pillow's own coordinates name middles of pixels
            pen.line(
                [(x * across - 0.5, y * down - 0.5) for x, y in points], fill=LINE, width=max(1, width // 300)
            )
        for item in annotation.get("TextObjectSequence", []):
            left, top = item.BoundingBoxTopLeftHandCorner
            pen.text((left * screen.width, top * screen.height), item.UnformattedTextValue, fill=TEXT)
    return screen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("film")
    parser.add_argument("state")
    parser.add_argument("picture")
    parser.add_argument("--width", type=int, default=480)
    given = parser.parse_args()
    station(pydicom.dcmread(given.film), pydicom.dcmread(given.state), given.width).save(given.picture)


if __name__ == "__main__":
    main()
