"""How long models take from the pixels of a film to its mask, in turns on one phantom film."""

from collections.abc import Mapping
from functools import partial

from adaloraqat.bundle import Segmenter
from adaloraqat.bundle.timing import interleaved
from adaloraqat.datasets.phantom import draw_phantom
from adaloraqat.radiograph import Film

TIMED_SHAPE = (512, 512)
"""(H, W) of the phantom film, px."""


def segmenter_times(segmenters: Mapping[str, Segmenter], turns: int) -> dict[str, list[float]]:
    """Return the milliseconds of every turn (no box) by name, as `timing.interleaved` does."""
    film = Film.from_array(draw_phantom(seed=0, size=TIMED_SHAPE[0]).pixels)
    runs = {name: partial(segmenter.segment, film) for name, segmenter in segmenters.items()}
    return interleaved(runs, turns)
