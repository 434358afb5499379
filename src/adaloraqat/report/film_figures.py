"""Figures of one film: every method's outline for print, and SSIM heat maps with the ΔSSIM map."""

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adaloraqat.measure.similarity import ssim_map
from adaloraqat.radiograph import Film, Preprocessing
from adaloraqat.report.pictures import Mask, ModelMask, ShownFilm
from adaloraqat.report.style import AFTER, BEFORE, NAMES, TRUTH, new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIDE = 512  # px of the longer side: what a printed panel can show
_PANEL = 1.45  # inches
_ACROSS = 6
_FILM_TITLE, _MAP_TITLE = 24, 25  # characters that a panel is wide

_GREEN_AND_RED = ("#8c0d26", "#e9a3a0", "#ffffff", "#9fd8a4", "#00561f")

Array = NDArray[np.float32]


def films_figure(film: ShownFilm) -> "Figure":
    """Draw one film: alone, with the truth, then truth and mask of every method that was scored on it.

    Outlines are lines, not pixels.
    """
    grey = _small(Preprocessing().stretch(film.film.pixels).astype(np.float32))
    truth = _small(film.truth.astype(np.float32))
    shown: list[tuple[str, ModelMask | None]] = [("Film", None), ("Truth", None)]
    shown += [(own.name, own) for own in film.masks]
    down = -(-len(shown) // _ACROSS)
    across = -(-len(shown) // down)  # rows of equal length, as far as they go
    with style(**NAMES):
        figure = new_figure(across * _PANEL, down * (_PANEL * grey.shape[0] / grey.shape[1] + 0.45))
        places = figure.subplots(down, across, squeeze=False).ravel()
        for place in places:
            place.axis("off")
        for number, (place, (name, own)) in enumerate(zip(places, shown, strict=False)):
            place.imshow(grey, cmap="gray", vmin=0, vmax=1)
            if number:
                _outline(place, truth, TRUTH)
            if own is not None and own.mask is not None:
                _outline(place, _small(own.mask.astype(np.float32)), AFTER)
            score = [] if own is None else [f"Dice {own.dice:.3f}"]
            place.set_title("\n".join([*textwrap.wrap(name, _FILM_TITLE), *score]), fontsize=6)
        return figure


def _small(values: Array) -> Array:
    """Return (H, W) values at most `_SIDE` px long."""
    scale = min(1.0, _SIDE / max(values.shape))
    height, width = (max(1, round(side * scale)) for side in values.shape)
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BOX))


def _outline(place: Any, mask: Array, colour: str) -> None:
    if mask.min() < 0.5 < mask.max():
        place.contour(mask, levels=[0.5], colors=[colour], linewidths=0.9)


def similarity_figure(film: Film, truth: Mask, first: tuple[str, Mask], second: tuple[str, Mask]) -> "Figure":
    """Draw the film with all outlines, both SSIM maps (mask against true mask), and their difference.

    In the last panel green is where the second model resembles the truth more, red where less (the paper's
    ΔSSIM map); the hues are apart for the colour-blind in lightness too, and hatching is not needed.

    Args:
        film: (H, W).
        truth: (H, W).
        first: name and mask (H, W) of the reference.
        second: name and mask (H, W) of the model that is compared with it.
    """
    from matplotlib.colors import LinearSegmentedColormap

    green_and_red = LinearSegmentedColormap.from_list("worse-better", _GREEN_AND_RED)
    maps = [ssim_map(mask, truth) for _, mask in (first, second)]
    difference = maps[1] - maps[0]
    with style(**{"axes.spines.left": False, "axes.spines.bottom": False, **NAMES}):
        figure = new_figure(9.0, 2.9)
        panels = figure.subplots(1, 4)
        _film(panels[0], film, truth, first, second)
        for panel, (name, _), values in zip(panels[1:3], (first, second), maps, strict=True):
            image = panel.imshow(values, cmap="viridis", vmin=0, vmax=1)
            panel.set_title(_title(f"SSIM, {name}", f"mean {values.mean():.4f}"), fontsize=9)
            figure.colorbar(image, ax=panel, shrink=0.7)
        image = panels[3].imshow(difference, cmap=green_and_red, vmin=-1, vmax=1)
        panels[3].set_title(
            _title(f"ΔSSIM, {second[0]} − {first[0]}", f"mean {difference.mean():+.4f}"), fontsize=9
        )
        bar = figure.colorbar(image, ax=panels[3], shrink=0.7, ticks=[-1, 0, 1])
        bar.ax.set_yticklabels(["worse", "0", "better"])
        for panel in panels:
            panel.set(xticks=[], yticks=[])
        return figure


def _film(panel: Any, film: Film, truth: Mask, first: tuple[str, Mask], second: tuple[str, Mask]) -> None:
    panel.imshow(Preprocessing().stretch(film.pixels), cmap="gray")
    lines = ((truth, TRUTH, "-"), (first[1], BEFORE, "--"), (second[1], AFTER, "-"))
    for mask, colour, line in lines:
        if mask.any() and not mask.all():
            panel.contour(mask, levels=[0.5], colors=[colour], linewidths=1.1, linestyles=line)
    panel.set_title(_title("truth yellow", f"dashed: {first[0]}", f"blue: {second[0]}"), fontsize=9)


def _title(*parts: str) -> str:
    """Return the parts below each other, each broken where a panel ends."""
    return "\n".join(line for part in parts for line in textwrap.wrap(part, _MAP_TITLE))
