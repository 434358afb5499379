"""Tables: what a user gets from a recipe, cell by cell, and that work done is not done again."""

import csv
import io
import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from adaloraqat.cli.main import app
from adaloraqat.datasets.manifest import Entry, write_manifest
from adaloraqat.datasets.phantom import write_phantoms
from adaloraqat.errors import RecipeError
from adaloraqat.evaluate.rows import FilmRow
from adaloraqat.experiments.recipe import Row, TableRecipe, load_table
from adaloraqat.experiments.table import build_table, make_table
from adaloraqat.progress import Progress, no_progress
from adaloraqat.radiograph import write_mask
from adaloraqat.report.table import Method, file_name, to_csv, to_latex, to_markdown

TINY = {
    "image_size": 32, "patch_size": 8, "hidden_size": 32, "num_layers": 1, "num_heads": 2, "window_size": 4,
    "global_attention_layers": [0], "use_rel_pos": False, "channels": 1, "prompt_dim": 16,
    "decoder_mlp_dim": 32, "decoder_layers": 1, "decoder_heads": 2, "mask_input_channels": 4,
    "iou_head_hidden_dim": 16,
}  # fmt: skip
RECIPE = {
    "name": "small",
    "base": {"architecture": TINY},
    "stages": [
        {"name": "train", "kind": "full", "schedule": {"epochs": 1, "steps_per_epoch": 1, "batch_size": 2}}
    ],
}


def film(identity: str, model: str, dice: float, prompt: str = "no_box", error: str | None = None) -> FilmRow:
    scores = {"dice": dice, "iou": dice / (2 - dice), "nsd_2": dice, "hd95": 10 * (1 - dice)}
    rest = dict.fromkeys(("nsd_5", "assd", "ssim", "sensitivity", "specificity"), dice)
    sides = dict.fromkeys(("right_dice", "left_dice"))
    return FilmRow(
        identity, "site", f"p{identity}", model, prompt, scores | rest | sides | {"unit": "px"}, error=error
    )


@pytest.fixture
def document() -> dict:
    rows = (Row(name="ours & co"), Row(name="U-Net"), Row(name="nnU-Net v2", note="not trained here"))
    table = TableRecipe(
        name="t", title="Methods", reference="U-Net", rows=rows, columns=("dice", "hd95", "megabytes"),
        tolerances=(2.0, 5.0),
    )  # fmt: skip
    reference = np.linspace(0.80, 0.90, 12)
    ours = tuple(film(str(i), "ours & co", d + 0.02 + 0.001 * i) for i, d in enumerate(reference))
    boxed = tuple(film(str(i), "ours & co", 0.95, "true_box") for i in range(12))
    theirs = tuple(film(str(i), "U-Net", d) for i, d in enumerate(reference))
    methods = [Method("ours & co", ours + boxed), Method("U-Net", theirs), Method("nnU-Net v2")]
    return build_table(table, methods, {})


def test_cells_of_every_format_say_the_same(document: dict) -> None:
    markdown, latex = to_markdown(document, "the command"), to_latex(document)
    lines = list(csv.DictReader(io.StringIO(to_csv(document))))
    first = lines[0]
    # mean of 0.80..0.90 is 0.85; ours is 0.02 + 0.001 * 5.5 above it
    assert first["Method"] == "ours & co"
    assert first["Dice"].startswith("0.8755 ± ")
    assert first["Δ Dice [95 % CI]"].startswith("+0.0255 [")
    assert first["Non-inferior"] == "yes"
    assert first["p (Holm)"] == "< 0.001"
    assert first["Dice"] in markdown
    mean, _, interval = first["Dice"].partition(" [")
    assert mean.replace("±", r"$\pm$") + r"\\{\scriptsize [" + interval in latex
    assert first["Δ Dice [95 % CI]"].replace("%", r"\%") in latex
    assert r"ours \& co" in latex
    assert "`the command`" in markdown


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="LaTeX is not installed")
def test_latex_compiles_without_a_complaint(document: dict, tmp_path: Path) -> None:
    page = [r"\documentclass[twocolumn]{article}", r"\usepackage{booktabs,graphicx}", r"\begin{document}"]
    (tmp_path / "page.tex").write_text("\n".join([*page, to_latex(document), r"\end{document}"]))
    command = ("pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    assert "Overfull" not in done.stdout
    assert (tmp_path / "page.pdf").stat().st_size > 0


def test_boxed_is_never_compared_with_boxless(document: dict) -> None:
    boxed = next(block for block in document["blocks"] if block["prompt"] == "true_box")
    rows = {row["name"]: row for row in boxed["rows"]}
    assert rows["ours & co"]["cells"]["dice"]["mean"] == pytest.approx(0.95)
    assert rows["ours & co"]["test"] is None  # U-Net has no boxed score to be compared with
    assert rows["U-Net"]["cells"] == {}
    assert "box of the truth" in to_markdown(document, "")


def test_every_measure_is_tested_and_kept(document: dict) -> None:
    tested = {row["measure"]: row for row in document["comparisons"]["rows"]}
    assert set(tested) == {
        "dice",
        "iou",
        "nsd_2",
        "nsd_5",
        "hd95",
        "assd",
        "ssim",
        "sensitivity",
        "specificity",
    }
    assert tested["hd95"]["mean_difference"] == pytest.approx(-0.255)
    assert tested["hd95"]["interval"][1] < 0


def test_a_row_nobody_trained_stays_empty(document: dict) -> None:
    last = [line for line in csv.DictReader(io.StringIO(to_csv(document))) if line["Method"] == "nnU-Net v2"]
    assert {line["Dice"] for line in last} == {"–"}
    assert {line["Films"] for line in last} == {"–"}


def test_failures_are_counted(document: dict) -> None:
    rows = (Row(name="a"),)
    table = TableRecipe(name="t", title="T", reference="a", rows=rows)
    films = (film("1", "a", 0.9), film("2", "a", 0.0, error="no memory"))
    block = build_table(table, [Method("a", films)], {})["blocks"][0]
    assert block["rows"][0]["failed"] == 1
    assert block["rows"][0]["cells"]["dice"]["mean"] == pytest.approx(0.45)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"reference": "who"}, "'who' is not among the rows"),
        ({"rows": [{"name": "a"}, {"name": "a"}]}, "same name"),
        ({"rows": [{"name": "a", "model": "x", "recipe": "y"}]}, "one of recipe, model and predictions"),
        ({"margin": 0}, "margin"),
        ({"tolerances": [-1]}, "distance of 0 or more"),
        ({"tolerances": [2, 2.0]}, "given twice"),
        ({"colums": []}, r"colums: no such key is known.*recipes/tables/1\.yaml"),
    ],
)
def test_an_impossible_table_is_refused(tmp_path: Path, change: dict, words: str) -> None:
    document = {"name": "t", "title": "T", "reference": "a", "rows": [{"name": "a"}]} | change
    path = tmp_path / "t.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(RecipeError, match=words):
        load_table(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [("- a", "not a recipe"), ("a: [", "not a readable YAML"), (None, r"no recipe t\.yaml")],
)
def test_a_file_that_holds_no_table_is_refused_with_an_example(
    tmp_path: Path, text: str | None, words: str
) -> None:
    if text is not None:
        (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(RecipeError, match=rf"{words}.*recipes/tables/1\.yaml"):
        load_table(tmp_path / "t.yaml")


def test_names_that_differ_only_in_signs_keep_apart() -> None:
    assert file_name("LoRA r=8") != file_name("LoRA r 8")


def test_report_trains_scores_and_reuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_phantoms(tmp_path / "films", 8, seed=5, size=64)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(RECIPE))
    table = {
        "name": "t", "title": "Small", "reference": "lung-field", "phantoms": True,
        "columns": ["dice", "speed"],
        "rows": [
            {"name": "lung-field", "model": "lung-field-fast"},
            {"name": "small", "recipe": "small.yaml", "precision": "fp32"},
            {"name": "later", "recipe": "small.yaml", "run": "later", "train": False},
        ],
    }  # fmt: skip
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(table))
    command = ["report", "t.yaml", "--data", "films/manifest.csv", "--out", "out"]
    first = CliRunner().invoke(app, command, catch_exceptions=False)
    assert first.exit_code == 0, first.stderr
    assert (tmp_path / "runs/small/result.json").exists()
    assert not (tmp_path / "runs/later").exists()
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/scores").rglob("films.csv")}
    assert len(written) == 2
    page = (tmp_path / "out/report.html").read_text()
    assert "Phantom films." in page
    assert "<script" not in page
    assert str(tmp_path) not in page
    document = json.loads((tmp_path / "out/table.json").read_text())
    assert document["costs"]["small"]["speed"] > 0
    assert document["costs"]["later"]["bytes"] is None
    second = CliRunner().invoke(app, command, catch_exceptions=False)
    assert second.exit_code == 0
    assert "training" not in second.stderr
    assert {path: path.stat().st_mtime_ns for path in written} == written


def table_of_masks(folder: Path, entries: Sequence[Entry]) -> TableRecipe:
    """A table of one row, whose predictions are copies of the true masks."""
    folder.mkdir()
    for entry in entries:
        shutil.copy(entry.path_mask, folder / f"{entry.id}_mask.png")
    row = Row(name="nnU-Net", predictions=folder)
    return TableRecipe(name="t", title="T", reference="nnU-Net", rows=(row,), columns=("dice",))


def test_predictions_are_scored_and_scored_again_when_they_change(tmp_path: Path) -> None:
    entries = write_phantoms(tmp_path / "films", 8, seed=5, size=64)
    table = table_of_masks(tmp_path / "masks", entries)
    lines: list[str] = []

    def dice() -> float:
        manifest, out = tmp_path / "films/manifest.csv", tmp_path / "out"
        document, _, _ = make_table(table, manifest, tmp_path / "runs", out, "", lines.append)
        assert [block["rows"][0]["cells"] for block in document["blocks"][1:]] == [{}]  # none with a box
        return document["blocks"][0]["rows"][0]["cells"]["dice"]["mean"]

    assert dice() == dice() == 1.0
    assert len(lines) == 1  # read back the second time
    scored = next(entry for entry in entries if entry.split == "test")
    write_mask(tmp_path / "masks" / f"{scored.id}_mask.png", np.eye(64, dtype=bool))
    assert dice() < 1.0


def test_rows_are_scored_again_when_labels_spacing_or_films_of_an_interrupted_call_changed(
    tmp_path: Path,
) -> None:
    entries = write_phantoms(tmp_path / "films", 8, seed=5, size=64)
    scored = next(entry for entry in entries if entry.split == "test")
    assert scored.path_labels is not None
    table = table_of_masks(tmp_path / "masks", entries)
    lines: list[str] = []

    def scorings(progress: Progress = no_progress) -> int:
        manifest, out = tmp_path / "films/manifest.csv", tmp_path / "out"
        make_table(table, manifest, tmp_path / "runs", out, "", lines.append, progress)
        return len(lines)

    def interrupt(films: Any, what: str) -> Iterator[Any]:
        yield from films[:1]
        raise KeyboardInterrupt

    assert scorings() == scorings() == 1
    labels = np.asarray(Image.open(scored.path_labels))
    Image.fromarray(np.where(labels == 1, 2, labels)).save(scored.path_labels)
    assert scorings() == scorings() == 2
    write_manifest(
        tmp_path / "films/manifest.csv", [replace(entry, spacing_mm=(3.0, 3.0)) for entry in entries]
    )
    assert scorings() == scorings() == 3
    before = scored.path_mask.read_bytes()
    write_mask(scored.path_mask, np.eye(64, dtype=bool))
    with pytest.raises(KeyboardInterrupt):
        scorings(interrupt)
    scored.path_mask.write_bytes(before)
    assert scorings() == scorings() == 5  # what the interrupted call left of the folder is not known


def test_wrong_folders_are_told_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_phantoms(tmp_path / "films", 8, seed=5, size=64)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(RECIPE))
    (tmp_path / "taken").write_text("a file")
    rows = [{"name": "small", "recipe": "small.yaml"}, {"name": "nnU-Net", "predictions": "nowhere"}]
    table = {"name": "t", "title": "T", "reference": "small"}
    for out, kept, words in (("out", rows, "nowhere"), ("taken/out", rows[:1], "taken is a file")):
        (tmp_path / "t.yaml").write_text(yaml.safe_dump(table | {"rows": kept}))
        report = ["report", "t.yaml", "--data", "films/manifest.csv", "--out", out]
        ended = CliRunner().invoke(app, report, catch_exceptions=False)
        assert ended.exit_code == 2
        assert words in ended.stderr
    assert not (tmp_path / "runs").exists()


def test_a_run_of_another_recipe_is_not_passed_off_as_the_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_phantoms(tmp_path / "films", 8, seed=5, size=64)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(RECIPE))
    trained = ["train", "small.yaml", "--data", "films/manifest.csv", "--out", "runs/small"]
    assert CliRunner().invoke(app, trained, catch_exceptions=False).exit_code == 0
    row = {"name": "small", "recipe": "small.yaml", "precision": "fp32"}
    report = ["report", "t.yaml", "--data", "films/manifest.csv", "--out", "out"]
    for change, words in (({"settings": ["seed=1"]}, "another recipe"), ({}, "films that differ")):
        table = {"name": "t", "title": "T", "reference": "small", "rows": [row | change]}
        (tmp_path / "t.yaml").write_text(yaml.safe_dump(table))
        if not change:
            write_phantoms(tmp_path / "films", 8, seed=6, size=64)
        ended = CliRunner().invoke(app, report, catch_exceptions=False)
        assert ended.exit_code == 2
        assert words in ended.stderr
