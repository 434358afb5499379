"""Every figure of a table: drawn from its rows, saved in three formats, and given to the page."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaloraqat.report.figure_style import png_bytes, save_figure, svg_text
from adaloraqat.report.figures import rank_history, training_figure
from adaloraqat.report.page import CSS_PIXELS_PER_INCH, png_address, svg_address
from adaloraqat.report.similarity_figure import similarity_figure
from adaloraqat.report.tables.figures import accuracy_against, box_plots, quality_calibration
from adaloraqat.report.tables.film_panels import ShownFilm
from adaloraqat.report.tables.films_figure import films_figure
from adaloraqat.report.tables.formats import PROMPT_WORDS
from adaloraqat.report.tables.recipe import TableRecipe
from adaloraqat.report.tables.rows import Method, file_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MANY_DOTS = 1500  # from here on a page carries pixels, since every dot of an SVG is text
_COSTS = {"bytes": "size", "speed": "speed", "trainable": "trainable parameters"}

Drawn = tuple[str, str, str, "Figure", bool]
"""File name, title, caption, figure, and whether the page shows it as pixels."""


def illustrate(
    document: Mapping[str, Any],
    table: TableRecipe,
    methods: Sequence[Method],
    shown: Sequence[ShownFilm],
    folder: Path,
) -> list[dict[str, Any]]:
    """Draw what the rows allow and save it; what a row does not have (a run, a quality) is left out.

    Args:
        document: of `build_table`.
        table: the table's recipe.
        methods: its rows.
        shown: of `shown_films`.
        folder: for `<name>.svg`, `.pdf` and `.png`.

    Returns:
        title, caption, data address and width (CSS px) of each figure, in the order of the page.

    Raises:
        OutputError: a file cannot be written.
    """
    figures = []
    for name, title, caption, figure, pixels in _drawn(document, table, methods, shown):
        save_figure(figure, folder, name)
        address = png_address(png_bytes(figure)) if pixels else svg_address(svg_text(figure))
        width = round(figure.get_figwidth() * CSS_PIXELS_PER_INCH)
        figures.append({"name": name, "title": title, "caption": caption, "address": address, "width": width})
    for film in shown:  # the page has their panels as pictures of its own
        save_figure(films_figure(film), folder, f"films-{film.place}")
    return figures


def _drawn(
    document: Mapping[str, Any], table: TableRecipe, methods: Sequence[Method], shown: Sequence[ShownFilm]
) -> Iterator[Drawn]:
    yield from _scores(table, methods)
    for cost, name in _COSTS.items():
        figure = accuracy_against(document, cost)
        if figure is not None:
            yield (f"dice-against-{name.split()[0]}", f"Accuracy against {name}", _AGAINST, figure, False)
    prompt = table.prompts[0]
    calibration = quality_calibration(methods, prompt)
    if calibration is not None:
        dots = sum(len(method.films) for method in methods)
        yield ("quality", "Does a model know how good it is?", _QUALITY, calibration, dots > _MANY_DOTS)
    yield from _similarity(table.reference, shown)
    yield from _runs(methods)


def _scores(table: TableRecipe, methods: Sequence[Method]) -> Iterator[Drawn]:
    for prompt in table.prompts:
        figure = box_plots(methods, prompt)
        if figure is not None:
            dots = sum(film.prompt == prompt for method in methods for film in method.films)
            title = f"Dice film by film, {PROMPT_WORDS[prompt]}"
            yield (f"dice-{prompt}", title, _BOXES, figure, dots > _MANY_DOTS)


def _similarity(reference: str, shown: Sequence[ShownFilm]) -> Iterator[Drawn]:
    """Draw the reference against the last method that has a mask of the film."""
    for film in shown:
        others = [name for name in film.masks if name != reference]
        if reference in film.masks and others:
            first, second = ((name, film.masks[name]) for name in (reference, others[-1]))
            figure = similarity_figure(film.film, film.truth, first, second)
            title = f"SSIM, {film.place} film: {others[-1]} against {reference}"
            yield (f"ssim-{film.place}", title, _SIMILARITY, figure, True)


def _runs(methods: Sequence[Method]) -> Iterator[Drawn]:
    drawn: set[Path] = set()
    for method in methods:
        if method.run is None or method.run in drawn:
            continue
        drawn.add(method.run)
        lines = _lines(method.run / "metrics.jsonl")
        name = file_name(method.row.name)
        if len(lines) > 1:
            figure = training_figure(lines)
            yield (f"training-{name}", f"Training of {method.row.name}", _TRAINING, figure, False)
        ranks = rank_history(lines)
        if ranks is not None:
            yield (f"ranks-{name}", f"Ranks of {method.row.name}, epoch by epoch", _RANKS, ranks, False)


def _lines(path: Path) -> list[dict[str, Any]]:
    """Return a run's metrics; nothing where the file is absent or its lines are no metrics."""
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    except (OSError, ValueError):
        return []
    return [line for line in lines if isinstance(line, dict) and line.get("validation")]


_BOXES = "Each dot is a film; boxes are quartiles with the median, whiskers reach 1.5 quartile distances."
_AGAINST = "Mean Dice over all films without a box, with its 95 % interval; the cost on a scale of ratios."
_QUALITY = (
    "The IoU that a model predicts for its own mask against the true IoU; dots are films, the line joins "
    "means of equally filled bins. Below the diagonal a model is too sure of itself."
)
_SIMILARITY = (
    "SSIM of each saved mask against the true mask, place by place, and the difference: green where the "
    "second method resembles the truth more, red where less."
)
_TRAINING = (
    "Validation Dice and training loss, stage after stage; each stage's first point is before its first step."
)
_RANKS = (
    "Rank of each adapted matrix of the encoder after each epoch; a number stands where it changed. One "
    "budget is shared by all matrices."
)
