"""Boxes for a model that was not trained on whole films: where a small model sees lungs.

LiteMedSAM and SAM answer to boxes (QMedSAM, arXiv 2412.11186, trains and scores with them). Without one,
`--prompt auto` takes the boxes of the mask that the small shipped model draws; the mask that comes out is the
promptable model's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from adaloraqat.bundle.format import PROPOSED_LUNGS
from adaloraqat.bundle.parts import connected_parts, enclosing_box
from adaloraqat.bundle.shipped import DEFAULT_MODEL
from adaloraqat.radiograph.film import Film
from adaloraqat.radiograph.geometry import Box
from adaloraqat.radiograph.preprocess import Frame

if TYPE_CHECKING:
    from adaloraqat.bundle.segmenter import Segmenter

DEFAULT_PROPOSER = DEFAULT_MODEL
_LUNGS = 2
_FINEST = 512  # pixels along the longer side on which parts are sought: more costs time and moves no box
_SMALL = 0.2  # of the largest part: a second part below that is no second lung


def propose_boxes(proposer: Segmenter, film: Film, automatic: str) -> tuple[Box, ...]:
    """Return the boxes that `proposer` sees on a film: none where it sees no lung.

    Args:
        proposer: a model that segments whole films.
        film: the film.
        automatic: `PROPOSED_BOX` for one box round the two largest parts, `PROPOSED_LUNGS` for one box each.
    """
    return boxes_of(proposer.segment(film).mask, automatic)


def boxes_of(mask: NDArray[np.bool_], automatic: str) -> tuple[Box, ...]:
    """Return the box of the one or two largest parts of a mask (H, W), or one box each; none if it is empty.

    Args:
        mask: lungs on a film's own grid.
        automatic: as for `propose_boxes`.
    """
    step = max(1, -(-max(mask.shape) // _FINEST))
    parts = connected_parts(mask[::step, ::step])[:_LUNGS]
    lungs = [part for part in parts if part.area >= _SMALL * parts[0].area]
    if not lungs:
        return ()
    groups = [[lung] for lung in lungs] if automatic == PROPOSED_LUNGS else [lungs]
    boxes = (Box(*(float(side * step) for side in enclosing_box(group))) for group in groups)
    return tuple(box.checked((mask.shape[0], mask.shape[1])) for box in boxes)


def second_box(logits: NDArray[np.float32], frame: Frame) -> Box | None:
    """Box, on the film, of the two largest connected parts of low-resolution logits (n, n), else None.

    The padding right and below the film is left out.
    """
    parts = connected_parts(on_film(logits, frame))
    if not parts:
        return None
    cells = np.array(enclosing_box(parts[:2]), dtype=np.float32)
    box = frame.box_to_original(cells * (frame.image_size / logits.shape[-1]))
    return box.checked(frame.original)


def on_film(logits: NDArray[np.float32], frame: Frame) -> NDArray[np.bool_]:
    """Return which logits (n, n) are positive in a cell that has its centre on the film."""
    cells = logits.shape[-1] / frame.image_size
    height, width = (max(1, round(side * cells)) for side in frame.resized)
    return logits[:height, :width] > 0
