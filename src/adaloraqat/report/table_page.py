"""A table as one self-contained HTML page, with every figure that its rows allow, saved beside it too."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from adaloraqat.datasets.manifest import Entry
from adaloraqat.errors import AdaloraqatError
from adaloraqat.evaluate.rows import FilmRow
from adaloraqat.report.figures import (
    accuracy_against,
    box_plots,
    quality_calibration,
    rank_history,
    training_figure,
)
from adaloraqat.report.film_figures import films_figure, similarity_figure
from adaloraqat.report.page import (
    CSS_PIXELS_PER_INCH,
    figure_address,
    film_panels,
    jpeg_address,
    write_report,
)
from adaloraqat.report.pictures import (
    Look,
    ModelMask,
    ShownFilm,
    ShownModel,
    outlined,
    read_with_truth,
    rule_model,
    saved_mask,
    shown_films,
)
from adaloraqat.report.style import save_figure
from adaloraqat.report.table import PROMPT_WORDS, Method, cells, file_name, heading, legend, published
from adaloraqat.training.recipe import load_recipe, public_document

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FAILED_BELOW = 0.8
"""Dice below which the page shows a film as failed: this project's threshold, taken from no publication."""
_MOST_FAILED = 24
FIGURES = "figures"
"""Name of the folder beside the page that gets every figure as a file."""
_MANY_DOTS = 1500  # from here on a page carries pixels, since every dot of an SVG is text
_COSTS = {"bytes": "size", "speed": "speed", "trainable": "trainable parameters"}

Drawn = tuple[str, str, str, "Figure", bool]
"""File name, title, caption, figure, and whether the page shows it as pixels."""


def write_page(
    path: Path,
    document: Mapping[str, Any],
    prompts: Sequence[str],
    methods: Sequence[Method],
    entries: Sequence[Entry],
    scores: Path,
    extras: Mapping[str, Any],
) -> None:
    """Write report.html, and its figures to the folder `figures` beside it.

    Args:
        path: the page.
        document: the content of table.json, and `seed`, of the intervals.
        prompts: of the table; films are shown with the first.
        methods: the table's rows.
        entries: the films scored.
        scores: folder that holds each row's evaluation.
        extras: `audit` in words (`audit_page.audit_of`), the figures of `analysis`
            (`quantisation.analysis_of`) and the tables of `robustness` (`robustness.robustness_of`).

    Raises:
        OutputError: the page or a figure cannot be written.
    """
    blocks = []
    for block in document["blocks"]:
        heads, text = cells(document, block)
        blocks.append({"heading": heading(document, block), "heads": heads, "text": text})
    paper_heads, paper_rows = published(document)
    models = shown_models(methods, scores, prompts[0])
    shown = shown_films(models, entries)
    figures = illustrate(document, prompts, methods, shown, path.parent / FIGURES)
    failed = _failed(methods, prompts)
    content = dict(document) | {
        "blocks": blocks,
        "legend": legend(document),
        "paper_heads": paper_heads,
        "paper_rows": paper_rows,
        "spoken": _spoken(document["sentences"]),
        "audit": extras["audit"],
        "robustness": extras["robustness"],
        "prompt_words": PROMPT_WORDS[prompts[0]],
        "failed_below": FAILED_BELOW,
        "failed_unpictured": [_failed_words(film) for film in failed[_MOST_FAILED:]],
        "recipes": _recipes(methods),
    }
    pictures = {
        "panels": film_panels(shown, Look()),
        "panels_by": rule_model(models),
        "figures": [*figures, *extras["analysis"]],
        "failed": [_failed_picture(film, entries, scores) for film in failed[:_MOST_FAILED]],
    }
    write_report(path, content, pictures, "table.html")


def shown_models(methods: Sequence[Method], scores: Path, prompt: str) -> list[ShownModel]:
    """Return how methods appear in pictures, by their scores with one prompt."""
    return [
        ShownModel(method.name, method.scored(prompt), scores / file_name(method.name)) for method in methods
    ]


def _spoken(sentences: Sequence[str]) -> dict[str, list[str]]:
    """Return the sentences below the films and prompt that each begins with, in their order."""
    spoken: dict[str, list[str]] = {}
    for sentence in sentences:
        where, _, what = sentence.partition(": ")
        spoken.setdefault(where, []).append(what)
    return spoken


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
        film, truth = read_with_truth(entry)
        mask = saved_mask(score, scores / file_name(score.model), film)
        address = jpeg_address(outlined(film, truth, ModelMask(score.model, score.scores["dice"], mask)))
    except AdaloraqatError:
        pass  # the sentence of the failure stands there instead of a picture
    return {**_failed_words(score), "address": address}


def _recipes(methods: Sequence[Method]) -> dict[str, str]:
    """Return the text of every recipe, once, by the names of the rows that come from it."""
    rows: dict[str, list[str]] = {}
    for method in methods:
        if method.recipe is not None:
            rows.setdefault(_recipe_text(method.recipe, method.run), []).append(method.name)
    return {"; ".join(names): text for text, names in rows.items()}


def _recipe_text(recipe: Path, run: Path | None) -> str:
    """Return the recipe as the run resolved it, without this computer's folders; untrained, as it stands."""
    if run is None:
        return recipe.read_text(encoding="utf-8")
    document = public_document(load_recipe(run / "recipe.yaml"))
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


# ---- figures -------------------------------------------------------------------------------------------


def illustrate(
    document: Mapping[str, Any],
    prompts: Sequence[str],
    methods: Sequence[Method],
    shown: Sequence[ShownFilm],
    folder: Path,
) -> list[dict[str, Any]]:
    """Draw what the rows allow and save it; what a row does not have (a run, a quality) is left out.

    Args:
        document: the content of table.json.
        prompts: of the table.
        methods: its rows.
        shown: of `shown_films`.
        folder: for `<name>.svg`, `.pdf` and `.png`.

    Returns:
        title, caption, data address and width (CSS px) of each figure, in the order of the page.

    Raises:
        OutputError: a file cannot be written.
    """
    figures = []
    for name, title, caption, figure, pixels in _drawn(document, prompts, methods, shown):
        save_figure(figure, folder, name)
        address = figure_address(figure, pixels)
        width = round(figure.get_figwidth() * CSS_PIXELS_PER_INCH)
        figures.append({"name": name, "title": title, "caption": caption, "address": address, "width": width})
    for film in shown:  # the page has their panels as pictures of its own
        save_figure(films_figure(film), folder, f"films-{film.place}")
    return figures


def _drawn(
    document: Mapping[str, Any],
    prompts: Sequence[str],
    methods: Sequence[Method],
    shown: Sequence[ShownFilm],
) -> Iterator[Drawn]:
    for prompt in prompts:
        figure = box_plots(methods, prompt)
        if figure is not None:
            dots = sum(len(method.scored(prompt)) for method in methods)
            title = f"Dice film by film, {PROMPT_WORDS[prompt]}"
            yield (f"dice-{prompt}", title, _BOXES, figure, dots > _MANY_DOTS)
    for cost, name in _COSTS.items():
        figure = accuracy_against(document, cost)
        if figure is not None:
            yield (f"dice-against-{name.split()[0]}", f"Accuracy against {name}", _AGAINST, figure, False)
    figure = quality_calibration(methods, prompts[0])
    if figure is not None:
        dots = sum(len(method.films) for method in methods)
        yield ("quality", "Does a model know how good it is?", _QUALITY, figure, dots > _MANY_DOTS)
    for film in shown:
        yield from _similarity(document["reference"], film)
    drawn: dict[Path, Method] = {}
    for method in methods:
        if method.run is not None and drawn.setdefault(method.run, method) is method:
            yield from _training(method.name, method.run)


def _similarity(reference: str, film: ShownFilm) -> Iterator[Drawn]:
    """Draw the reference against the last method that has a mask of the film."""
    masks = {own.name: own.mask for own in film.masks if own.mask is not None}
    others = [name for name in masks if name != reference]
    if reference in masks and others:
        first, second = ((name, masks[name]) for name in (reference, others[-1]))
        figure = similarity_figure(film.film, film.truth, first, second)
        title = f"SSIM, {film.place} film: {others[-1]} against {reference}"
        yield (f"ssim-{film.place}", title, _SIMILARITY, figure, True)


def _training(name: str, run: Path) -> Iterator[Drawn]:
    lines = _lines(run / "metrics.jsonl")
    if len(lines) > 1:
        figure = training_figure(lines)
        yield (f"training-{file_name(name)}", f"Training of {name}", _TRAINING, figure, False)
    ranks = rank_history(lines)
    if ranks is not None:
        yield (f"ranks-{file_name(name)}", f"Ranks of {name}, epoch by epoch", _RANKS, ranks, False)


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
