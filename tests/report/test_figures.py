"""What a figure shows is what it was given, read back from its axes; the same figure is the same bytes."""

import itertools
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaloraqat.datasets.manifest import Entry
from adaloraqat.errors import ManifestError, RecipeError
from adaloraqat.evaluate.predictions import mask_path
from adaloraqat.evaluate.rows import FilmRow
from adaloraqat.measure.similarity import ssim_map
from adaloraqat.quantize.error_analysis import LayerErrors
from adaloraqat.radiograph import Film, write_mask
from adaloraqat.report.audit_page import audit_of
from adaloraqat.report.figures import (
    accuracy_against,
    box_plots,
    quality_calibration,
    rank_history,
    rank_map,
    training_figure,
)
from adaloraqat.report.film_figures import similarity_figure
from adaloraqat.report.pictures import panels, shown_films
from adaloraqat.report.quantisation import analysis_of, quantisation_figure
from adaloraqat.report.robustness import robustness_of
from adaloraqat.report.style import png_bytes, save_figure, svg_text
from adaloraqat.report.table import Method, file_name
from adaloraqat.report.table_page import illustrate, shown_models

DICE = (0.70, 0.80, 0.85, 0.90, 0.95)


def scores(dice: float, offset: float) -> dict[str, float]:
    return {"dice": dice + offset, "iou": dice - 0.1}


def method(name: str, offset: float, quality: bool = True) -> Method:
    films = tuple(
        FilmRow(f"f{i}", "site", f"p{i}", name, "no_box", scores(d, offset), d * quality or None)
        for i, d in enumerate(DICE)
    )
    return Method(name, films)


METHODS = [Method("nobody's"), method("first", 0), method("second", 0.02, quality=False)]


def test_box_plots_have_a_dot_for_every_film_and_the_median() -> None:
    figure = box_plots(METHODS, "no_box")
    assert figure is not None
    lines = figure.axes[0].get_lines()
    dots = [sorted(line.get_xdata()) for line in lines if line.get_marker() == "."]
    assert dots == [pytest.approx(DICE), pytest.approx([d + 0.02 for d in DICE])]
    medians = [line.get_xdata()[0] for line in lines if line.get_linewidth() == 1.6]
    assert medians == pytest.approx([0.85, 0.87])
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["first", "second"]
    assert box_plots(METHODS, "true_box") is None  # nothing was scored so


def test_calibration_shows_only_methods_that_predict_a_quality() -> None:
    figure = quality_calibration(METHODS)
    assert figure is not None
    axes = figure.axes[0]
    dots = next(line for line in axes.get_lines() if line.get_marker() == ".")
    assert list(dots.get_xdata()) == pytest.approx(DICE)
    assert list(dots.get_ydata()) == pytest.approx([d - 0.1 for d in DICE])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["as predicted", "first"]
    assert quality_calibration([METHODS[2]]) is None


def test_accuracy_against_size_shows_the_cells_and_skips_what_has_none() -> None:
    rows = [
        {"name": name, "cells": {"dice": {"mean": mean, "interval": [mean - 0.01, mean + 0.02]}}}
        for name, mean in (("a", 0.9), ("b", 0.95))
    ]
    rows.append({"name": "empty", "cells": {}})
    sizes = {"a": 5e6, "b": 90e6, "empty": None}
    document = {
        "blocks": [{"prompt": "no_box", "source": "site", "rows": rows}],
        "costs": {name: {"bytes": size, "speed": None} for name, size in sizes.items()},
    }
    figure = accuracy_against(document, "bytes")
    assert figure is not None
    bars = figure.axes[0].containers
    assert [(bar[0].get_xdata()[0], bar[0].get_ydata()[0]) for bar in bars] == [(5, 0.9), (90, 0.95)]
    assert bars[0][2][0].get_segments()[0][:, 1] == pytest.approx([0.89, 0.92])
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["5", "10", "20", "50", "100"]
    assert accuracy_against(document, "speed") is None


def test_similarity_maps_are_the_measure_and_their_difference() -> None:
    film = Film.from_array(np.random.default_rng(0).random((48, 40), dtype=np.float32))
    truth, first, second = (np.zeros((48, 40), dtype=bool) for _ in range(3))
    truth[10:30, 8:30], first[14:36, 8:30], second[11:30, 8:30] = True, True, True
    figure = similarity_figure(film, truth, ("first", first), ("second", second))
    maps = [axes.get_images()[0].get_array() for axes in figure.axes[1:4]]
    np.testing.assert_allclose(maps[0], ssim_map(first, truth))
    np.testing.assert_allclose(maps[1], ssim_map(second, truth))
    np.testing.assert_allclose(maps[2], ssim_map(second, truth) - ssim_map(first, truth))
    assert maps[2].mean() > 0  # the second is nearer the truth: green
    again = similarity_figure(film, truth, ("first", first), ("second", second))
    assert svg_text(figure) == svg_text(again)
    assert png_bytes(figure) == png_bytes(again)


def test_ranks_over_epochs_are_those_of_the_run() -> None:
    names = {f"vision_encoder.layers.{layer}.attn.qkv.{p}": p for layer in (0, 1) for p in "qkv"}
    lines = [{"epoch": 0, "ranks": None}]
    lines += [{"epoch": e, "ranks": {n: 8 - e * (p == "k") for n, p in names.items()}} for e in (1, 2)]
    figure = rank_history(lines)
    assert figure is not None
    q, k, v = (axes.get_images()[0].get_array() for axes in figure.axes[:3])
    assert q.tolist() == v.tolist() == [[8, 8], [8, 8]]
    assert k.tolist() == [[7, 6], [7, 6]]
    assert rank_history([{"epoch": 0}]) is None


def test_quantisation_dots_are_the_numbers_and_the_files_are_alike(tmp_path: Path) -> None:
    before = np.random.default_rng(1).normal(size=400).astype(np.float32)
    after = (np.round(before / 0.1) * 0.1).astype(np.float32)
    figure, summary = quantisation_figure([LayerErrors("layer", before, after, 0.1)], "weights")
    dots = figure.axes[1].get_lines()[0]
    assert sorted(dots.get_xdata()) == pytest.approx(sorted(before))
    assert sorted(dots.get_ydata()) == pytest.approx(sorted(after))
    assert f"μ = {summary.mean:.2e}" in figure.axes[0].get_title(loc="left")
    again, _ = quantisation_figure([LayerErrors("layer", before, after, 0.1)], "weights")
    first, second = (save_figure(f, tmp_path / n, "e") for f, n in ((figure, "a"), (again, "b")))
    assert [path.name for path in first] == ["e.svg", "e.pdf", "e.png"]
    assert first[0].read_bytes() == second[0].read_bytes()


def entry(folder: Path, number: int, mask: np.ndarray) -> Entry:
    pixels = np.random.default_rng(number).integers(0, 255, mask.shape, np.uint8)
    image, outline = folder / f"{number}.png", folder / f"{number}_mask.png"
    Image.fromarray(pixels).save(image)
    write_mask(outline, mask)
    return Entry(
        id=f"f{number}",
        source="site",
        patient_id=f"p{number}",
        split="test",
        path_image=image,
        path_mask=outline,
    )


def test_films_of_the_page_are_saved_and_a_row_without_anything_is_skipped(tmp_path: Path) -> None:
    mask = np.zeros((48, 40), dtype=bool)
    mask[10:30, 8:30] = True
    entries = [entry(tmp_path, i, mask) for i in range(len(DICE))]
    for name, i in itertools.product(("first", "second"), range(len(DICE))):
        path = mask_path(tmp_path / "scores" / file_name(name), name, "no_box", f"f{i}")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mask(path, mask)
    shown = shown_films(shown_models(METHODS, tmp_path / "scores", "no_box"), entries)
    assert [(film.place, film.id) for film in shown] == [("best", "f4"), ("median", "f2"), ("worst", "f0")]
    assert [name for name, _, _ in panels(shown[0])] == ["Film", "Truth", "first", "second"]
    document = {"blocks": [], "costs": {}, "reference": "first"}
    figures = illustrate(document, ("no_box", "true_box"), METHODS, shown, tmp_path / "figures")
    names = [figure["name"] for figure in figures]
    assert names == ["dice-no_box", "quality", "ssim-best", "ssim-median", "ssim-worst"]
    saved = {path.name for path in (tmp_path / "figures").iterdir()}
    names += ["films-best", "films-median", "films-worst"]
    assert saved == {f"{name}.{kind}" for name in names for kind in ("svg", "pdf", "png")}


def test_what_is_no_analysis_or_audit_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="adaloraqat analyse"):
        analysis_of(tmp_path)
    (tmp_path / "robustness.json").write_text("[]")
    with pytest.raises(RecipeError, match="adaloraqat robustness"):
        robustness_of(tmp_path)
    (tmp_path / "audit.json").write_text(json.dumps({"duplicates": [1], "split_leaks": []}))
    with pytest.raises(ManifestError, match="adaloraqat data audit"):
        audit_of(tmp_path / "audit.json")
    assert "not given" in audit_of(None)


SVG = "{http://www.w3.org/2000/svg}svg"


def line(stage, step, dice, loss):
    return {
        "stage": stage,
        "step": step,
        "loss": None if loss is None else {"total": loss},
        "validation": {"dice_no_box": dice, "dice_box": dice},
    }


LINES = [
    line("stage1", 0, 0.7, None),
    line("stage1", 10, 0.9, 0.3),
    line("stage2", 0, 0.88, None),
    line("stage2", 5, 0.9, 0.2),
]


def test_the_curve_is_one_svg_and_the_same_each_time():
    first = svg_text(training_figure(LINES, prunes=(5,)))
    assert ElementTree.fromstring(first).tag == SVG
    assert first == svg_text(training_figure(LINES, prunes=(5,)))
    assert first != svg_text(training_figure(LINES))


def test_the_rank_map_names_every_matrix():
    ranks = {f"vision_encoder.layers.{n}.attn.qkv.{p}": n + i for n in range(2) for i, p in enumerate("qkv")}
    first = svg_text(rank_map(ranks, full=4))
    assert ElementTree.fromstring(first).tag == SVG
    assert first != svg_text(rank_map(ranks | {"vision_encoder.layers.1.attn.qkv.v": 0}, full=4))


def test_the_rank_map_tells_the_blocks_of_a_stage_apart():
    blocks = [(1, 0), (1, 1), (2, 0)]
    ranks = {
        f"vision_encoder.layers.{stage}.blocks.{block}.attn.qkv.{letter}": 10 * stage + block
        for stage, block in blocks
        for letter in "qkv"
    }
    drawn = svg_text(rank_map(ranks, full=40))
    for text in ("2.1", "2.2", "3.1", "10", "11", "20"):
        assert f"<!-- {text} -->" in drawn or f">{text}<" in drawn, text
