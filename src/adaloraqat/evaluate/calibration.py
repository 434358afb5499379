"""Calibrating a bundle's quality: its answers for films with known outlines, clean and corrupted."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaloraqat.bundle import Segmenter
from adaloraqat.bundle.expected_quality import UNLIKE, QualityModel, features_of, fit_quality, unlikeness
from adaloraqat.datasets.manifest import Entry
from adaloraqat.errors import ManifestError
from adaloraqat.evaluate.score import Settings, view_of
from adaloraqat.measure.overlap import dice
from adaloraqat.progress import Progress, no_progress
from adaloraqat.radiograph.corrupt import CLEAN, CORRUPTIONS

FEWEST_FILMS = 20
"""Validation films below which nothing is calibrated."""


def check_count(entries: Sequence[Entry]) -> None:
    """Refuse too few films to calibrate a quality on.

    Raises:
        ManifestError: there are fewer than `FEWEST_FILMS`.
    """
    if len(entries) < FEWEST_FILMS:
        raise ManifestError(
            f"The manifest has {len(entries)} validation films: at least {FEWEST_FILMS} are needed to "
            "calibrate the quality."
        )


def calibrate_quality(
    segmenter: Segmenter,
    entries: Sequence[Entry],
    corrupted: int = 2,
    seed: int = 0,
    progress: Progress = no_progress,
) -> tuple[QualityModel, dict[str, Any]]:
    """Fit how the Dice of this bundle's masks is predicted; return it, and what it was fitted to.

    Each film is segmented clean and in `corrupted` of the corruptions that `robustness` uses, taken in turn.

    Raises:
        ManifestError: there are fewer than `FEWEST_FILMS` films, or the bundle finds nothing on any.
        FilmError: a film or mask cannot be read.
    """
    check_count(entries)
    settings = Settings(seed=seed)
    turns = cycle(name for name in CORRUPTIONS if name != CLEAN)
    found: list[dict[str, float]] = []
    means: list[NDArray[np.float64]] = []
    clean: list[bool] = []
    truths: list[float] = []
    for entry in progress(entries, "films"):
        for condition in (CLEAN, *islice(turns, corrupted)):
            view = view_of(entry, condition, settings)
            result = segmenter.segment(view.film)
            if not result.mask.any() or result.embedding_mean is None:
                continue  # an empty mask has a warning of its own: its expected Dice is 0
            lungs = result.structures.lungs if result.structures is not None else None
            found.append(features_of(result.mask, result.probability, result.predicted_iou, lungs))
            means.append(result.embedding_mean)
            clean.append(condition == CLEAN)
            truths.append(dice(result.mask, view.truth))
    if not means:
        raise ManifestError(
            "The model finds nothing on any validation film, so its quality cannot be calibrated: give films "
            "of the kind that it was trained on, or train it for longer."
        )
    table = np.stack(means)
    usual = table[np.array(clean)]
    mean, std = usual.mean(axis=0), np.maximum(usual.std(axis=0), 1e-4)
    for film, embedding in zip(found, means, strict=True):
        film[UNLIKE] = unlikeness(embedding, mean, std)
    model = fit_quality(found, truths)
    if UNLIKE in model.features:
        model = replace(
            model,
            embedding_mean=tuple(np.round(mean, 5).tolist()),
            embedding_std=tuple(np.round(std, 5).tolist()),
        )
    return model, {"films": len(entries), "views": len(found), "corrupted_per_film": corrupted, "seed": seed}
