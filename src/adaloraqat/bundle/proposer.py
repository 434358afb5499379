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
from adaloraqat.bundle.shipped import DEFAULT_MODELS, Choice, choose_model
from adaloraqat.radiograph.film import Film
from adaloraqat.radiograph.geometry import Box

if TYPE_CHECKING:
    from adaloraqat.bundle.segmenter import Segmenter

DEFAULT_PROPOSERS = DEFAULT_MODELS
"""What proposes boxes for a bundle that names no proposer: the first that is installed."""

_LUNGS = 2
_FINEST = 512  # pixels along the longer side on which parts are sought: more costs time and moves no box
_SMALL = 0.2  # of the largest part: a second part below that is no second lung


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
    components = connected_components(mask[::step, ::step])[:_LUNGS]
    lungs = [component for component in components if component.area >= _SMALL * components[0].area]
    if not lungs:
        return ()
    groups = [[lung] for lung in lungs] if automatic == PROPOSED_LUNGS else [lungs]
    boxes = (Box(*(float(side * step) for side in enclosing_box(group))) for group in groups)
    return tuple(box.checked((mask.shape[0], mask.shape[1])) for box in boxes)
