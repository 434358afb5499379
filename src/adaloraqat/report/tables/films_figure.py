"""The qualitative figure for print: film, truth and every method, with outlines as lines, not pixels."""

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adaloraqat.radiograph import Preprocessing
from adaloraqat.report.colours import AFTER, TRUTH
from adaloraqat.report.figure_style import NAMES, new_figure, style
from adaloraqat.report.tables.film_panels import ShownFilm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIDE = 512  # px of the longer side: what a printed panel can show
_PANEL = 1.45  # inches
_ACROSS = 6
_TITLE_WIDTH = 24  # characters that a panel is wide

Array = NDArray[np.float32]


def films_figure(film: ShownFilm) -> "Figure":
    """Draw one film: alone, with the truth, then truth and mask of every method that was scored on it."""
    grey = _small(Preprocessing().stretch(film.film.pixels).astype(np.float32))
    truth = _small(film.truth.astype(np.float32))
    down = -(-len(film.panels) // _ACROSS)
    across = -(-len(film.panels) // down)  # rows of equal length, as far as they go
    with style(**NAMES):
        figure = new_figure(across * _PANEL, down * (_PANEL * grey.shape[0] / grey.shape[1] + 0.45))
        places = figure.subplots(down, across, squeeze=False).ravel()
        for place in places:
            place.axis("off")
        for number, (place, panel) in enumerate(zip(places, film.panels, strict=False)):
            place.imshow(grey, cmap="gray", vmin=0, vmax=1)
            if number:
                _outline(place, truth, TRUTH)
            if panel.name in film.masks and panel.dice is not None:
                _outline(place, _small(film.masks[panel.name].astype(np.float32)), AFTER)
            score = [] if panel.dice is None else [f"Dice {panel.dice:.3f}"]
            place.set_title("\n".join([*textwrap.wrap(panel.name, _TITLE_WIDTH), *score]), fontsize=6)
        return figure


def _small(values: Array) -> Array:
    """Return (H, W) values at most `_SIDE` px long."""
    scale = min(1.0, _SIDE / max(values.shape))
    height, width = (max(1, round(side * scale)) for side in values.shape)
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BOX))


def _outline(place: Any, mask: Array, colour: str) -> None:
    if mask.min() < 0.5 < mask.max():
        place.contour(mask, levels=[0.5], colors=[colour], linewidths=0.9)
