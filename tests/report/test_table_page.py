"""The page of a table: what stands on it, that it needs nothing else, and how it comes out on paper."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaloraqat.datasets.manifest import Entry
from adaloraqat.datasets.phantom import write_phantoms
from adaloraqat.evaluate.machine import environment
from adaloraqat.evaluate.predictions import mask_path
from adaloraqat.evaluate.rows import FilmRow
from adaloraqat.experiments.recipe import Row, TableRecipe
from adaloraqat.experiments.table import build_table
from adaloraqat.quantize.error_analysis import LayerErrors
from adaloraqat.radiograph import read_mask, write_mask
from adaloraqat.report.quantisation import analysis_of, quantisation_figure
from adaloraqat.report.style import DOTS_PER_INCH, png_bytes
from adaloraqat.report.table import Method, file_name
from adaloraqat.report.table_page import write_page

PAPER = {"dice": 0.956, "hd95": 8.21}
COLUMNS = ("dice", "iou", "nsd", "hd95", "assd", "ssim", "sensitivity", "specificity")
FIGURES = 6  # of the analysis: each alone is as wide as a sheet


def scored(entry: Entry, model: str, dice: float) -> FilmRow:
    scores = dict.fromkeys(("dice", "iou", "nsd_2", "nsd_5", "ssim", "sensitivity", "specificity"), dice)
    sides = dict.fromkeys(("right_dice", "left_dice"))
    measured = scores | {"hd95": 9.0, "assd": 2.0, "unit": "mm"} | sides
    return FilmRow(entry.id, entry.source, entry.patient_id, model, "no_box", measured)


def analysis(folder: Path) -> Path:
    """Write what `analyse` leaves behind, of made-up errors."""
    before = np.random.default_rng(0).normal(size=300).astype(np.float32)
    after = np.round(before / 0.1) * np.float32(0.1)
    figure, found = quantisation_figure([LayerErrors("layer", before, after, 0.1)], "weights")
    picture = png_bytes(figure, DOTS_PER_INCH)
    folder.mkdir()
    for number in range(FIGURES):
        (folder / f"errors-p{number}-full-weights.png").write_bytes(picture)
    errors = {f"p{number}-full": {"weights": vars(found)} for number in range(FIGURES)}
    document = {"errors": errors, "stage": "train", "sensitivity": {"max_drop": 0.002}}
    (folder / "analysis.json").write_text(json.dumps(document, default=float))
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of three rows on eight phantoms: two share a recipe, and one failed on a film."""
    folder = tmp_path_factory.mktemp("page")
    entries = write_phantoms(folder / "films", 8, seed=5, size=64)
    (folder / "net.yaml").write_text("name: net\nseed: 4711\n")
    rows = (
        Row(name="first", recipe=folder / "net.yaml", paper=PAPER),
        Row(name="second", recipe=folder / "net.yaml"),
        Row(name="third"),
    )
    for row in rows:
        for entry in entries:
            saved = mask_path(folder / "scores" / file_name(row.name), row.name, "no_box", entry.id)
            saved.parent.mkdir(parents=True, exist_ok=True)
            write_mask(saved, read_mask(entry.path_mask))
    methods = [
        Method(
            row.name,
            tuple(scored(e, row.name, 0.9 - 0.02 * i) for i, e in enumerate(entries)),
            recipe=row.recipe,
        )
        for row in rows
    ]
    table = TableRecipe(
        name="t", title="Nets", reference="first", rows=rows, columns=COLUMNS, prompts=("no_box",)
    )
    document = build_table(table, methods, {}) | {
        "command": "the command",
        "data": {"films": len(entries), "fingerprint": "f" * 64},
        "environment": environment(),
        "seed": table.seed,
    }
    tables = [
        {"title": "first", "caption": "8 films.", "heads": ["Condition", "Drop"], "rows": [["x", "0.1"]]}
    ]
    figures = analysis_of(analysis(folder / "analysis"))
    extras = {"audit": "not given", "robustness": tables, "analysis": figures}
    write_page(folder / "report.html", document, table.prompts, methods, entries, folder / "scores", extras)
    return folder / "report.html"


def test_it_needs_nothing_else(page: Path) -> None:
    text = page.read_text()
    addresses = re.findall(r"(?:src|href|srcset)=\"([^\"]*)\"", text)
    assert len(addresses) > FIGURES
    assert all(address.startswith("data:image/") for address in addresses)
    assert not re.search(r"<(script|link|iframe|object)|@import|url\(", text)
    assert "://" not in re.sub(r"base64,[^\"]*", "", text)
    assert str(page.parent) not in text


def test_what_belongs_together_is_said_once_and_with_its_unit(page: Path) -> None:
    text = page.read_text()
    assert text.count("seed: 4711") == 1
    assert "<summary>first; second</summary>" in text
    words = re.sub(r"<[^>]*>|\s+", " ", text[text.index("What the paper states") :])
    assert re.search(r"Method +Dice +HD95 \(px\) +first +0\.9560 +8\.21 ", words)
    assert re.search(r"<h3>phantom-standard, no box</h3>\s*<ul><li>Dice of second minus first ", text)


def test_every_film_that_failed_is_named(page: Path) -> None:
    text = page.read_text()
    failed = text[text.index("Films that failed") :]
    assert failed.count("0.780") == 3  # the seventh film of each row; the eighth has 0.760
    assert failed.count(", no box<br>") == 6


def test_a_figure_is_as_wide_as_it_was_drawn(page: Path) -> None:
    widths = re.findall(r"<img style=\"--natural: (\d+)px\" src=\"data:image/png", page.read_text())
    assert widths.count(str(round(7.4 * 96))) == FIGURES  # of PNG files with 200 dots an inch


def test_a_sheet_shows_what_a_screen_scrolls_or_opens(page: Path) -> None:
    paper = page.read_text().partition("</style>")[0].split("@media print {")
    assert len(paper) == 3  # what all pages share, and what tables need
    rules = " ".join(paper[1:])
    assert re.search(r"\.scroll \{[^}]*overflow: visible", rules)
    assert re.search(r"details::details-content \{[^}]*content-visibility: visible", rules)
    assert re.search(r"figure, img, table, tr, [^{]*\{ break-inside: avoid", rules)
    assert re.search(r"h1, h2, h3, summary \{ break-after: avoid", rules)
    assert re.search(r"\.wide img \{[^}]*max-height: 104mm", rules)
    assert "display: none" not in rules


def test_a_browser_has_nothing_to_complain_of_and_two_figures_fit_a_sheet(
    page: Path, print_page: Callable[[Path], Any]
) -> None:
    whole = print_page(page)
    assert whole.console == []
    across = [width > height for width, height in whole.sheets]
    assert across[0]  # the scores
    assert not any(across[1:])
    text = page.read_text()
    first = text.index('<figure class="wide"><h2>Quantisation error')
    without = page.with_name("without.html")
    last = text.rindex("</figure>", 0, text.index("<h2>Robustness</h2>")) + len("</figure>")
    without.write_text(text[:first] + text[last:] + "<script>console.error('it listens')</script>")
    fewer = print_page(without)
    assert any("it listens" in line for line in fewer.console)
    assert len(whole.sheets) - len(fewer.sheets) <= FIGURES / 2 + 1  # the first may begin a sheet
