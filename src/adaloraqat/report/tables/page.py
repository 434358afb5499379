"""A built table as one self-contained HTML page: scores, words, films, figures, data, machine, recipes."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adaloraqat.datasets.manifest import Entry
from adaloraqat.errors import AdaloraqatError, ManifestError
from adaloraqat.radiograph import read_film, read_mask
from adaloraqat.report.colours import AFTER, TRUTH
from adaloraqat.report.evaluation import mask_path
from adaloraqat.report.film_rows import FilmRow
from adaloraqat.report.page import jpeg_address, write_report
from adaloraqat.report.pictures import Outline, choose, draw_outlines
from adaloraqat.report.tables.formats import cells, heading, legend
from adaloraqat.report.tables.recipe import TableRecipe
from adaloraqat.report.tables.rows import Method, file_name

FAILED_BELOW = 0.8
"""Dice below which a film counts as failed for the page: half of such outlines are useless to a reader."""
_MOST_FAILED = 24
_SIDE = 380


def write_page(
    path: Path,
    document: Mapping[str, Any],
    table: TableRecipe,
    methods: Sequence[Method],
    entries: Sequence[Entry],
    scores: Path,
    figures: Sequence[Mapping[str, str]] = (),
    audit: Path | None = None,
) -> None:
    """Write report.html.

    Args:
        path: the page.
        document: the content of table.json.
        table: the table's recipe.
        methods: its rows.
        entries: the films scored.
        scores: folder that holds each row's evaluation.
        figures: title, caption and data address of each.
        audit: audit.json of the same films, where one was made.

    Raises:
        OutputError: the page cannot be written.
        ManifestError: `audit` is no audit.json.
    """
    prompt = table.prompts[0]
    blocks = []
    for block in document["blocks"]:
        heads, text = cells(document, block)
        blocks.append({"heading": heading(document, block), "heads": heads, "text": text})
    panels, chosen_by = _panels(methods, entries, scores, prompt)
    failed = _failed(methods, prompt)
    content = dict(document) | {
        "blocks": blocks,
        "legend": legend(document),
        "paper_keys": list(dict.fromkeys(key for values in document["paper"].values() for key in values)),
        "audit": _audit(audit),
        "seed": table.seed,
        "failed_below": FAILED_BELOW,
        "failed_left_out": max(0, len(failed) - _MOST_FAILED),
        "recipes": {m.row.name: _recipe_text(m) for m in methods if m.row.recipe is not None},
    }
    pictures = {
        "panels": panels,
        "panels_by": chosen_by,
        "figures": list(figures),
        "failed": [_failed_picture(film, entries, scores) for film in failed[:_MOST_FAILED]],
    }
    write_report(path, content, pictures, "table.html")


def _panels(
    methods: Sequence[Method], entries: Sequence[Entry], scores: Path, prompt: str
) -> tuple[list[dict[str, Any]], str]:
    """Return the best, median and worst film of the last scored method, with every method's outline."""
    shown = [method for method in methods if any(film.prompt == prompt for film in method.films)]
    if not shown:
        return [], ""
    by_id = {entry.id: entry for entry in entries}
    rule = shown[-1]
    dice = {film.id: float(film.scores["dice"]) for film in rule.films if film.prompt == prompt}
    panels = []
    for place, identity in choose(dice).items():
        try:
            film = read_film(by_id[identity].path_image)
            truth = read_mask(by_id[identity].path_mask, film.shape)
        except AdaloraqatError:
            continue
        yellow = Outline(truth, TRUTH, 3)
        row = [_panel("Truth", None, draw_outlines(film, [yellow], _SIDE))]
        for method in shown:
            score = next(f for f in method.films if f.id == identity and f.prompt == prompt)
            mask = mask_path(scores / file_name(method.row.name), method.row.name, prompt, identity)
            outlines = [yellow]
            if mask.exists():
                outlines.append(Outline(read_mask(mask, film.shape), AFTER, 2.4))
            picture = draw_outlines(film, outlines, _SIDE)
            row.append(_panel(method.row.name, float(score.scores["dice"]), picture))
        panels.append({"place": place, "id": identity, "panels": row})
    return panels, rule.row.name


def _panel(name: str, dice: float | None, picture: Any) -> dict[str, Any]:
    return {"name": name, "dice": dice, "alt": f"outline: {name}", "address": jpeg_address(picture)}


def _failed(methods: Sequence[Method], prompt: str) -> list[FilmRow]:
    films = [
        film
        for method in methods
        for film in method.films
        if film.prompt == prompt and (film.failed or film.empty or film.scores["dice"] < FAILED_BELOW)
    ]
    return sorted(films, key=lambda film: (film.scores["dice"], film.id, film.model))


def _failed_picture(score: FilmRow, entries: Sequence[Entry], scores: Path) -> dict[str, Any]:
    why = score.error or ("empty mask" if score.empty else f"Dice {score.scores['dice']:.3f}")
    entry = next(entry for entry in entries if entry.id == score.id)
    address = None
    try:
        film = read_film(entry.path_image)
        outlines = [Outline(read_mask(entry.path_mask, film.shape), TRUTH, 3)]
        mask = mask_path(scores / file_name(score.model), score.model, score.prompt, score.id)
        if mask.exists():
            outlines.append(Outline(read_mask(mask, film.shape), AFTER, 2.4))
        address = jpeg_address(draw_outlines(film, outlines, _SIDE))
    except AdaloraqatError:
        pass  # the sentence of the failure stands there instead of a picture
    return {"id": score.id, "method": score.model, "why": why, "address": address}


def _audit(path: Path | None) -> str:
    if path is None:
        return "not given; run adaloraqat data audit and give its audit.json with --audit"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        counts = [len(found[key]) for key in ("duplicates", "split_leaks", "problems")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{path.name} is no audit.json from `adaloraqat data audit`.") from error
    return "{} duplicate pairs, {} leaks between splits, {} problems".format(*counts)


def _recipe_text(method: Method) -> str:
    """Return the recipe as the run resolved it, or as it stands where nothing was trained."""
    path = method.run / "recipe.yaml" if method.run is not None else method.row.recipe
    assert path is not None
    return path.read_text(encoding="utf-8")
