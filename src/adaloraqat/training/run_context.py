"""What all stages of a run share, and how a long one says how far it is."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from adaloraqat.models.families import SegmentationModel
from adaloraqat.progress import Report
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training.processes import ALONE, Processes
from adaloraqat.training.recipe import Recipe
from adaloraqat.training.run_films import RunFilms
from adaloraqat.training.run_folder import RunFolder
from adaloraqat.training.trackers import Trackers

OnStep = Callable[[str, int, int], None]
"""Receives (stage, steps done, steps in all)."""
PLAIN_EVERY_SECONDS = 30.0
"""How often a long phase says how far it is."""


class Pace:
    """Reports a line now and then, so that no phase is silent for minutes."""

    def __init__(self, report: Report, every: float = PLAIN_EVERY_SECONDS) -> None:
        self._report, self._every, self._last = report, every, time.monotonic()

    def tell(self, line: str) -> None:
        """Report `line` if nothing was told for a while."""
        if time.monotonic() - self._last >= self._every:
            self._report(line)
            self._last = time.monotonic()


@dataclass(frozen=True)
class RunContext:
    """What all stages of a run share.

    Attributes:
        recipe: of the run.
        films: both splits, at any size.
        folder: where the run is written.
        teachers: by name and image size in the recipe: a frozen model on `device`, and its preprocessing.
        device: where the model computes.
        report: receives one line of progress at a time.
        on_step: receives (stage, steps done, steps in all) after each step.
        processes: this one among those that train together.
        trackers: receive what the run folder does, and single steps.
    """

    recipe: Recipe
    films: RunFilms
    folder: RunFolder
    teachers: Mapping[tuple[str, int | None], tuple[SegmentationModel, Preprocessing]]
    device: torch.device
    report: Report
    on_step: OnStep
    processes: Processes = ALONE
    trackers: Trackers = field(default_factory=Trackers)
