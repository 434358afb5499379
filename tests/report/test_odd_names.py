"""Names that are HTML, Markdown or mathematics to somebody: pages, tables, figures show them as they are."""

import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt

from adaloraqat.bundle import Segmenter
from adaloraqat.datasets.audit.audit import audit
from adaloraqat.datasets.manifest import read_manifest, write_manifest
from adaloraqat.datasets.phantom import write_phantoms
from adaloraqat.evaluate.evaluation import robustness
from adaloraqat.evaluate.rows import FilmRow
from adaloraqat.evaluate.score import Settings
from adaloraqat.experiments.recipe import Row, TableRecipe
from adaloraqat.experiments.table import make_table
from adaloraqat.radiograph import Film
from adaloraqat.report.audit_page import write_audit_page
from adaloraqat.report.figures import accuracy_against, box_plots, quality_calibration
from adaloraqat.report.film_figures import films_figure, similarity_figure
from adaloraqat.report.pictures import ModelMask, ShownFilm
from adaloraqat.report.robustness import robustness_of, write_tables
from adaloraqat.report.style import svg_text
from adaloraqat.report.table import Method, to_markdown
from adaloraqat.report.table_page import write_page
from adaloraqat.report.text import markdown_table, plain

sys.path.insert(0, str(Path(__file__).parents[1] / "bundle"))  # the handmade bundle

MODEL = '_a|b_ <i>c</i> **d** `e` $f_$ [g](h) &amp; "i" \\| \''
MATHEMATICS = r"$\alpha{$"
FILM = "x|y <i>z</i> *u* \"v\" & 'w'"
SOURCE = "_s_ <i>t</i>|"


class _Text(HTMLParser):
    """The text that a browser shows, cell by cell, and the tags and addresses of the page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self.tags: set[str] = set()
        self.cells: list[str] = []
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag in ("td", "th"):
            self.cells.append("")
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)
        if self._inside:
            self.cells[-1] += data

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def rendered(markdown: str) -> _Text:
    return _Text(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown))


@pytest.fixture
def segmenter(tmp_path: Path) -> Segmenter:
    from tiny_bundle import write_tiny_bundle

    write_tiny_bundle(tmp_path / "tiny")
    return Segmenter.load(tmp_path / "tiny", threads=1)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Eight films with odd ids, of a source with an odd name; one of the test films has gone."""
    films = write_phantoms(tmp_path / "films", 8, seed=5, size=64)
    odd = [replace(film, id=f"{FILM} {i}", source=SOURCE, split="test") for i, film in enumerate(films)]
    odd[0].path_image.unlink()
    write_manifest(tmp_path / "films/m.csv", odd)
    return tmp_path / "films/m.csv"


@pytest.mark.parametrize("name", [MODEL, FILM, SOURCE, "a_b", "C:\\", "- 1. #", "~~a~~ <http://a>", "a\nb"])
def test_markdown_shows_a_name_in_text_and_in_a_cell(name: str) -> None:
    shown = " ".join(name.split())
    assert rendered(f"It is **{plain(name)}**.").text.strip() == f"It is {shown}."
    cells = rendered(markdown_table(["Model", name], [[name, "0.1 [0.0, 0.2]"], ["next", name]])).cells
    assert cells == ["Model", shown, shown, "0.1 [0.0, 0.2]", "next", shown]


def test_robustness_keeps_its_cells_apart_in_markdown_and_on_the_page(
    segmenter: Segmenter, manifest: Path, tmp_path: Path
) -> None:
    films = read_manifest(manifest, files_exist=False)[:2]
    document = robustness({MODEL: segmenter}, films, tmp_path / "out", settings=Settings(("noisy",)))
    write_tables(document, tmp_path / "out")
    shown = rendered((tmp_path / "out/robustness.md").read_text())
    assert MODEL in shown.text
    assert SOURCE in shown.text
    assert "i" not in shown.tags
    of_page = robustness_of(tmp_path / "out")
    assert [found["title"] for found in of_page] == [MODEL, ""]
    assert SOURCE in of_page[0]["caption"]
    cells = [cell for found in of_page for row in (found["heads"], *found["rows"]) for cell in row]
    assert cells == shown.cells
    assert f"{document['rows'][0]['dice_mean']:.4f}" == of_page[0]["rows"][0][1]


def test_figures_of_films_name_models() -> None:
    lungs = np.zeros((48, 40), dtype=bool)
    lungs[10:30, 8:30] = True
    film = Film.from_array(np.random.default_rng(0).random((48, 40), dtype=np.float32))
    assert svg_text(similarity_figure(film, lungs, (MODEL, lungs), (MATHEMATICS, lungs)))
    masks = (ModelMask(MODEL, 0.9, lungs), ModelMask(MATHEMATICS, 0.9, None))
    shown = ShownFilm("best", FILM, film, lungs, masks)
    assert svg_text(films_figure(shown))


def test_a_table_and_its_page_name_rows_and_films(
    segmenter: Segmenter, manifest: Path, tmp_path: Path
) -> None:
    rows = tuple(Row(name=name, model=str(tmp_path / "tiny"), paper={"dice": 0.9}) for name in (MODEL, "b"))
    recipe = TableRecipe(name="t", title="T", reference=MODEL, rows=rows, columns=("dice",))
    document, methods, entries = make_table(recipe, manifest, tmp_path, tmp_path / "out", "c", lambda _: None)
    shown = rendered(to_markdown(document, "c"))
    assert shown.cells.count(MODEL) == 2  # without a box and with it
    assert "i" not in shown.tags
    assert SOURCE in shown.text
    assert f"Differences are from “{MODEL}”" in shown.text
    robustness({MODEL: segmenter}, entries[1:3], tmp_path / "robust", settings=Settings(("noisy",)))
    extras = {"audit": "", "analysis": [], "robustness": robustness_of(tmp_path / "robust")}
    document["seed"] = 0
    write_page(
        tmp_path / "p.html", document, recipe.prompts, methods, entries, tmp_path / "out/scores", extras
    )
    page = _Text((tmp_path / "p.html").read_text())
    assert page.cells.count(MODEL) == 3  # and in what the paper states
    assert f"{FILM} 0" in page.text  # it has gone, so it failed
    assert f"{SOURCE}, test films, no box" in page.text
    assert page.tags.isdisjoint({"i", "script"})


def test_an_audit_names_films(manifest: Path, tmp_path: Path) -> None:
    found = audit([(manifest, read_manifest(manifest, files_exist=False))])
    write_audit_page(tmp_path / "audit.html", found)
    page = _Text((tmp_path / "audit.html").read_text())
    assert f"{FILM} 0" in page.text  # it has gone
    assert SOURCE in page.cells
    assert "i" not in page.tags


def _films(name: str) -> tuple[FilmRow, ...]:
    scores = {"dice": 0.9, "iou": 0.8}
    return tuple(FilmRow(f"f{i}", SOURCE, f"p{i}", name, "no_box", scores, 0.7) for i in range(4))


def _calibration(methods: list[Method]) -> object:
    return quality_calibration(methods)


def _boxes(methods: list[Method]) -> object:
    return box_plots(methods, "no_box")


def _sizes(methods: list[Method]) -> object:
    names = [method.name for method in methods]
    rows = [{"name": name, "cells": {"dice": {"mean": 0.9, "interval": None}}} for name in names]
    block = {"prompt": "no_box", "source": SOURCE, "rows": rows}
    costs = {name: {"bytes": 1e6 * (1 + i)} for i, name in enumerate(names)}
    return accuracy_against({"blocks": [block], "costs": costs}, "bytes")


@pytest.mark.parametrize("draw", [_calibration, _boxes, _sizes])
@pytest.mark.parametrize("name", [MODEL, MATHEMATICS, "_hidden"])
def test_figures_name_models(draw: Callable[[list[Method]], object], name: str) -> None:
    figure = draw([Method(n, _films(n)) for n in (name, "b")])
    assert svg_text(figure)  # type: ignore[arg-type]
    (axes,) = figure.axes  # type: ignore[attr-defined]
    legend = axes.get_legend().get_texts() if axes.get_legend() else []
    named = [text for text in (*axes.get_yticklabels(), *legend) if text.get_text() == name]
    assert len(named) == 1
    assert not named[0].get_parse_math()
