"""A built table as one self-contained HTML page: scores, words, films, figures, data, machine, recipes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from adaloraqat.datasets.manifest import Entry
from adaloraqat.errors import AdaloraqatError
from adaloraqat.radiograph import read_film, read_mask
from adaloraqat.report.film_rows import FilmRow
from adaloraqat.report.page import jpeg_address, write_report
from adaloraqat.report.tables.film_panels import ShownFilm, outlined, rule_method, saved_mask, shown_films
from adaloraqat.report.tables.formats import PROMPT_WORDS, cells, heading, legend, published
from adaloraqat.report.tables.illustrate import illustrate
from adaloraqat.report.tables.recipe import TableRecipe
from adaloraqat.report.tables.rows import Method
from adaloraqat.training.recipe import load_recipe, public_document

FAILED_BELOW = 0.8
"""Dice below which the page shows a film as failed: this project's threshold, taken from no publication."""
_MOST_FAILED = 24
FIGURES = "figures"
"""Name of the folder beside the page that gets every figure as a file."""


def write_page(
    path: Path,
    document: Mapping[str, Any],
    table: TableRecipe,
    methods: Sequence[Method],
    entries: Sequence[Entry],
    scores: Path,
    extras: Mapping[str, Any],
) -> None:
    """Write report.html, and its figures to the folder `figures` beside it.

    Args:
        path: the page.
        document: the content of table.json.
        table: the table's recipe.
        methods: its rows.
        entries: the films scored.
        scores: folder that holds each row's evaluation.
        extras: `audit` in words, and the figures of `analysis` and the tables of `robustness` (`extras`).

    Raises:
        OutputError: the page or a figure cannot be written.
    """
    prompt = table.prompts[0]
    blocks = []
    for block in document["blocks"]:
        heads, text = cells(document, block)
        blocks.append({"heading": heading(document, block), "heads": heads, "text": text})
    paper_heads, paper_rows = published(document)
    shown = shown_films(methods, entries, scores, prompt)
    figures = illustrate(document, table, methods, shown, path.parent / FIGURES)
    failed = _failed(methods, table.prompts)
    content = dict(document) | {
        "blocks": blocks,
        "legend": legend(document),
        "paper_heads": paper_heads,
        "paper_rows": paper_rows,
        "spoken": _spoken(document["sentences"]),
        "audit": extras["audit"],
        "robustness": extras["robustness"],
        "prompt_words": PROMPT_WORDS[prompt],
        "seed": table.seed,
        "failed_below": FAILED_BELOW,
        "failed_unpictured": [_failed_words(film) for film in failed[_MOST_FAILED:]],
        "recipes": _recipes(methods),
    }
    pictures = {
        "panels": [_shown(film) for film in shown],
        "panels_by": rule_method(methods, prompt),
        "figures": [*figures, *extras["analysis"]],
        "failed": [_failed_picture(film, entries, scores) for film in failed[:_MOST_FAILED]],
    }
    write_report(path, content, pictures, "table.html")


def _spoken(sentences: Sequence[str]) -> dict[str, list[str]]:
    """Return the sentences below the films and prompt that each begins with, in their order."""
    spoken: dict[str, list[str]] = {}
    for sentence in sentences:
        where, _, what = sentence.partition(": ")
        spoken.setdefault(where, []).append(what)
    return spoken


def _shown(film: ShownFilm) -> dict[str, Any]:
    panels = [
        {
            "name": panel.name,
            "dice": panel.dice,
            "alt": f"outline: {panel.name}",
            "address": jpeg_address(panel.picture),
        }
        for panel in film.panels
    ]
    return {"place": film.place, "id": film.id, "panels": panels}


def _failed(methods: Sequence[Method], prompts: Sequence[str]) -> list[FilmRow]:
    films = [
        film
        for method in methods
        for film in method.films
        if film.prompt in prompts and (film.failed or film.empty or film.scores["dice"] < FAILED_BELOW)
    ]
    return sorted(films, key=lambda film: (film.scores["dice"], film.id, film.model, film.prompt))


def _failed_words(score: FilmRow) -> dict[str, str]:
    why = score.error or ("empty mask" if score.empty else f"Dice {score.scores['dice']:.3f}")
    return {"id": score.id, "method": score.model, "prompt": PROMPT_WORDS[score.prompt], "why": why}


def _failed_picture(score: FilmRow, entries: Sequence[Entry], scores: Path) -> dict[str, Any]:
    entry = next(entry for entry in entries if entry.id == score.id)
    address = None
    try:
        film = read_film(entry.path_image)
        truth = read_mask(entry.path_mask, film.shape)
        address = jpeg_address(outlined(film, truth, saved_mask(score, scores, film)))
    except AdaloraqatError:
        pass  # the sentence of the failure stands there instead of a picture
    return {**_failed_words(score), "address": address}


def _recipes(methods: Sequence[Method]) -> dict[str, str]:
    """Return the text of every recipe, once, by the names of the rows that come from it."""
    rows: dict[str, list[str]] = {}
    for method in methods:
        if method.row.recipe is not None:
            rows.setdefault(_recipe_text(method), []).append(method.row.name)
    return {"; ".join(names): text for text, names in rows.items()}


def _recipe_text(method: Method) -> str:
    """Return the recipe as the run resolved it, without this computer's folders; untrained, as it stands."""
    if method.run is not None:
        document = public_document(load_recipe(method.run / "recipe.yaml"))
        return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    assert method.row.recipe is not None
    return method.row.recipe.read_text(encoding="utf-8")
