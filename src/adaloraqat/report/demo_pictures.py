"""The pictures of a demo: three films with outlines of truth and models, and a strip for a README."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adaloraqat.datasets.manifest import Entry
from adaloraqat.radiograph import Film, read_film, read_mask
from adaloraqat.report.colours import TRUTH
from adaloraqat.report.evaluation import NO_BOX, mask_path
from adaloraqat.report.page import jpeg_address
from adaloraqat.report.pictures import Mask, Outline, choose, draw_outlines, write_strip

_PAGE_SIDE, _STRIP_SIDE = 420, 300


@dataclass(frozen=True)
class ShownModel:
    """A model in the pictures: `key` names its masks in the evaluation, `name` stands above its picture."""

    key: str
    name: str
    colour: str


def film_dice(evaluation: Path) -> dict[str, dict[str, float]]:
    """Return Dice without a box from an evaluation's films.csv: by model, then by film id."""
    with open(evaluation / "films.csv", encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["prompt"] == NO_BOX]
    scores: dict[str, dict[str, float]] = {}
    for row in rows:
        scores.setdefault(row["model"], {})[row["id"]] = float(row["dice"])
    return scores


def film_panels(
    evaluation: Path, entries: Sequence[Entry], models: Sequence[ShownModel]
) -> list[dict[str, Any]]:
    """Return the best, median and worst film by the last model: place, id and panels for the template."""
    scores = film_dice(evaluation)
    by_id = {entry.id: entry for entry in entries}
    shown = []
    for place, identity in choose(scores[models[-1].key]).items():
        film, truth, masks = _load(evaluation, by_id[identity], models)
        panels = [
            _panel("Film", "the film", None, film, []),
            _panel("Truth", "the true outline", None, film, [_true(truth)]),
        ]
        for model in models:
            outlines = [_true(truth), Outline(masks[model.key], model.colour, 2.6)]
            dice = scores[model.key][identity]
            panels.append(_panel(model.name, f"outline by: {model.name}", dice, film, outlines))
        shown.append({"place": place, "id": identity, "panels": panels})
    return shown


def write_figure(
    path: Path, evaluation: Path, entries: Sequence[Entry], models: Sequence[ShownModel]
) -> None:
    """Write the strip for a README: the median film with its true outline, and each model's."""
    scores = film_dice(evaluation)
    chosen = choose(scores[models[-1].key])
    identity = chosen.get("median", chosen["best"])
    entry = next(entry for entry in entries if entry.id == identity)
    film, truth, masks = _load(evaluation, entry, models)
    panels = [("Phantom film", "yellow: true outline", draw_outlines(film, [_true(truth)], _STRIP_SIDE))]
    for model in models:
        outlines = [_true(truth), Outline(masks[model.key], model.colour, 2.6)]
        line = f"Dice {scores[model.key][identity]:.3f}"
        panels.append((model.name, line, draw_outlines(film, outlines, _STRIP_SIDE)))
    write_strip(path, panels)


def _true(truth: Mask) -> Outline:
    return Outline(truth, TRUTH, 2.0)


def _load(
    evaluation: Path, entry: Entry, models: Sequence[ShownModel]
) -> tuple[Film, Mask, Mapping[str, Mask]]:
    film = read_film(entry.path_image)
    truth = read_mask(entry.path_mask, film.shape)
    return film, truth, {model.key: _mask(evaluation, model.key, entry.id, film) for model in models}


def _mask(evaluation: Path, model: str, identity: str, film: Film) -> Mask:
    path = mask_path(evaluation, model, NO_BOX, identity)
    return read_mask(path, film.shape) if path.exists() else np.zeros(film.shape, dtype=bool)  # it failed


def _panel(
    title: str, alt: str, dice: float | None, film: Film, outlines: Sequence[Outline]
) -> dict[str, Any]:
    picture = draw_outlines(film, outlines, _PAGE_SIDE)
    return {"title": title, "alt": alt, "dice": dice, "image": jpeg_address(picture)}
