"""Boxes for a model that was not trained on whole films: where a small model sees lungs.

LiteMedSAM and SAM answer to boxes (QMedSAM, arXiv 2412.11186, trains and scores with them). Without one,
`--prompt auto` takes the boxes of the mask that the small shipped model draws; the mask that comes out is the
promptable model's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from adaloraqat.bundle.components import connected_components, enclosing_box
from adaloraqat.bundle.format import PROPOSED_LUNGS, Prompt
from adaloraqat.bundle.shipped import Choice, choose_model
from adaloraqat.radiograph.film import Film
from adaloraqat.radiograph.geometry import Box
from adaloraqat.radiograph.preprocess import Frame

if TYPE_CHECKING:
    from adaloraqat.bundle.segmenter import Segmenter

DEFAULT_PROPOSERS = ("lung-whole-fast", "lung-open")
"""What proposes boxes for a bundle that names no proposer: the first that is installed.

Both outline whole lungs, behind the diaphragm and the heart too: a box that is too small costs a
promptable model more than one that is too large.
"""

MARGIN = 0.02
"""How far a proposed box is widened on each side, in its own width and height.

Chosen with the proposer on validation films (benchmarks/automatic_prompt.py).
"""

_LUNGS = 2
_FINEST = 512  # pixels along the longer side where components are sought: more costs time, moves no box
_SMALL = 0.2  # of the largest component: a second one below that is not a second lung


def choose_proposer(prompt: Prompt) -> Choice:
    """Return the model that proposes boxes for a bundle, with a notice where it is not the usual one.

    Raises:
        BundleError: the bundle names none, and none of `DEFAULT_PROPOSERS` is installed.
    """
    return choose_model(prompt.proposer, DEFAULT_PROPOSERS)


def propose_boxes(proposer: Segmenter, film: Film, automatic: str) -> tuple[Box, ...]:
    """Return the boxes that `proposer` sees on a film: none where it sees no lung.

    Args:
        proposer: a model that segments whole films.
        film: the film.
        automatic: `PROPOSED_BOX`: one box round the two largest components; `PROPOSED_LUNGS`: one box each.
            Each is `MARGIN` wider on every side, within the film.
    """
    return tuple(
        widened(box, MARGIN).checked(film.shape) for box in boxes_of(proposer.segment(film).mask, automatic)
    )


def widened(box: Box, margin: float) -> Box:
    """Return a box that is wider by `margin` of its width or height on each side; it may leave the film."""
    across, down = margin * (box.x_max - box.x_min), margin * (box.y_max - box.y_min)
    return Box(box.x_min - across, box.y_min - down, box.x_max + across, box.y_max + down)


def boxes_of(mask: NDArray[np.bool_], automatic: str) -> tuple[Box, ...]:
    """Return the box of the one or two largest components of a mask (H, W), or one each; none if it is empty.

    Args:
        mask: lungs on a film's own grid.
        automatic: as for `propose_boxes`.
    """
    step = max(1, -(-max(mask.shape) // _FINEST))
    components = connected_components(mask[::step, ::step])[:_LUNGS]
    lungs = [component for component in components if component.area >= _SMALL * components[0].area]
    if not lungs:
        return ()
    groups = [[lung] for lung in lungs] if automatic == PROPOSED_LUNGS else [lungs]
    boxes = (Box(*(float(side * step) for side in enclosing_box(group))) for group in groups)
    return tuple(box.checked((mask.shape[0], mask.shape[1])) for box in boxes)


def second_box(logits: NDArray[np.float32], frame: Frame) -> Box | None:
    """Box, on the film, of the two largest connected components of low-resolution logits (n, n), else None.

    The padding right and below the film is left out.
    """
    components = connected_components(on_film(logits, frame))
    if not components:
        return None
    cells = np.array(enclosing_box(components[:2]), dtype=np.float32)
    box = frame.box_to_original(cells * (frame.image_size / logits.shape[-1]))
    return box.checked(frame.original)


def on_film(logits: NDArray[np.float32], frame: Frame) -> NDArray[np.bool_]:
    """Return which logits (n, n) are positive in a cell that has its centre on the film."""
    cells = logits.shape[-1] / frame.image_size
    height, width = (max(1, round(side * cells)) for side in frame.resized)
    return logits[:height, :width] > 0
