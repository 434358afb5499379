"""A picture for the eye of a segmented case: each object in its own colour, with its box."""

import colorsys
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from adaloraqat.challenge.case import Case, VolumeBox
from adaloraqat.radiograph import Preprocessing
from adaloraqat.radiograph.formats.png import QUICK, write_png
from adaloraqat.radiograph.masks import draw_box, tinted

MOST_TILES = 25
_TILE = 512  # longest side of a volume's tile in px
_LINE = 400  # a line is one pixel wide for each of these
_FILL = 0.3
_GOLDEN = 0.618034  # of the colour circle, from one label to the next: neighbours in number stay apart


def write_case_overlay(path: Path, case: Case, segs: NDArray[Any]) -> None:
    """Write an overlay of a case as PNG, atomically.

    An image is shown once, with all of its objects. Of a volume, each object's middle slice gives a tile (of
    the first `MOST_TILES` objects), named by its label and slice, with all that was found there.

    Args:
        path: the file to write.
        case: the opened case.
        segs: (D, H, W) labels.

    Raises:
        OutputError: the file cannot be written.
    """
    if not case.is_volume:
        boxes = list(enumerate(case.boxes, start=1)) if case.boxes_given else []
        picture = _picture(case, segs, 0, boxes)
    else:
        shown = enumerate(case.boxes[:MOST_TILES], start=1)
        picture = _sheet([_tile(case, segs, label, box) for label, box in shown])
    write_png(path, picture, QUICK)


def _tile(case: Case, segs: NDArray[Any], label: int, box: VolumeBox) -> Image.Image:
    tile = _picture(case, segs, box.middle, [(label, box)] if case.boxes_given else [])
    tile.thumbnail((_TILE, _TILE))
    ImageDraw.Draw(tile).text((4, 2), f"object {label}, slice {box.middle}", fill=(255, 255, 255))
    return tile


def _sheet(tiles: list[Image.Image]) -> Image.Image:
    columns = math.ceil(math.sqrt(len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    width, height = tiles[0].size
    sheet = Image.new("RGB", (columns * width, rows * height))
    for place, tile in enumerate(tiles):
        sheet.paste(tile, (place % columns * width, place // columns * height))
    return sheet


def _picture(case: Case, segs: NDArray[Any], z: int, boxes: list[tuple[int, VolumeBox]]) -> Image.Image:
    """Slice z with its labels tinted and outlined, and boxes (label, box) drawn."""
    labels = np.asarray(segs[z])
    line = max(1, round(max(labels.shape) / _LINE))
    palette = np.zeros((int(labels.max()) + 1, 3), np.float32)
    for label in np.unique(labels[labels > 0]):
        palette[label] = _colour(int(label))
    pixels = Preprocessing(percentile_low=0, percentile_high=100).stretch(case.pixels(z))
    image = tinted(pixels, labels, palette, _FILL, line)
    for label, box in boxes:
        draw_box(image, box.in_slice, tuple(round(255 * part) for part in _colour(label)), line)
    return image


def _colour(label: int) -> tuple[float, float, float]:
    return colorsys.hsv_to_rgb((0.55 + label * _GOLDEN) % 1, 0.75, 1.0)
