"""Ids and model names that are no file names: each mask has its own, is found again, and lies in `--out`."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from tiny_bundle import two_lungs

from adaloraqat.radiograph import read_mask

Run = Callable[..., Any]
PLAIN = ("a_b", "a-b", "JPCLN001", "1.2.840")
ODD = (
    *(
        "a/b",
        "a b",
        "a:b",
        "a\\b",
        "..",
        ".",
        "../../../../../../../up",
        "/absolute",
        "C:\\drive",
        "-x",
        "--out",
    ),
    *("~", "$HOME", ".hidden", "ends.", "Ä", "ä", "*", "two\nlines"),
)
WIDTH = 64
SITE = "deep/er/site"
"""The films' folder, and the one for results beside it: room for names that lead out of them."""


@pytest.fixture
def films(tmp_path: Path) -> tuple[str, ...]:
    """A manifest of films, no two of one width, with odd ids; returns the ids."""
    site = tmp_path / SITE
    site.mkdir(parents=True)
    ids = (*PLAIN, *ODD)
    with (site / "m.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(("id", "path_image", "path_mask", "split"))
        for number, identity in enumerate(ids):
            film = two_lungs(64, WIDTH + 2 * number)
            Image.fromarray(film).save(site / f"film{number}.png")
            Image.fromarray((film < 100).astype(np.uint8) * 255).save(site / f"truth{number}.png")
            table.writerow((identity, f"film{number}.png", f"truth{number}.png", "test"))
    return ids


def contents(folder: Path, but: str) -> dict[Path, bytes]:
    """Return every file below `folder`, except below its subfolder `but`."""
    outside = folder / but
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(outside))
    return {path: path.read_bytes() for path in files}


def scores(path: Path, prompt: str = "no_box") -> dict[str, list[str]]:
    """Return what films.csv says of each film with one prompt, without the model's name and quality."""
    with path.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["prompt"] == prompt]
    return {
        row["id"]: [cell for name, cell in row.items() if name not in ("model", "quality")] for row in rows
    }


def test_every_film_has_its_own_mask_inside_out_and_predictions_are_found(
    run: Run, bundle: Path, tmp_path: Path, films: tuple[str, ...]
) -> None:
    before = contents(tmp_path, f"{SITE}/out")
    ended = run("evaluate", bundle, "--data", f"{SITE}/m.csv", "--out", f"{SITE}/out")
    assert ended.code == 0, ended.err
    assert contents(tmp_path, f"{SITE}/out") == before
    masks = tmp_path / SITE / "out/masks/tiny/no_box"
    names = {path.name for path in masks.iterdir()}
    assert len(names) == len(films)
    assert names >= {f"{identity}_mask.png" for identity in PLAIN}
    assert all(name.isascii() and name.isprintable() and not name.startswith(".") for name in names)
    first = scores(tmp_path / SITE / "out/films.csv")
    assert tuple(first) == films  # ids stand in the table as they were given

    made_by = ("--predictions", f"again={masks.relative_to(tmp_path)}")
    ended = run("evaluate", *made_by, "--data", f"{SITE}/m.csv", "--out", f"{SITE}/again")
    assert ended.code == 0, ended.err
    assert scores(tmp_path / SITE / "again/films.csv") == first
    by_width = {read_mask(path).shape[1]: path.name for path in masks.iterdir()}
    for number, identity in enumerate(films):
        assert (by_width[WIDTH + 2 * number] == f"{identity}_mask.png") == (identity in PLAIN)


@pytest.mark.parametrize("model", [".", ".."])
def test_a_model_named_by_where_the_user_stands_has_its_folders_name(
    run: Run,
    bundle: Path,
    tmp_path: Path,
    films: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    model: str,
) -> None:
    shutil.copytree(bundle, tmp_path / "models/tiny")
    (tmp_path / "models/tiny/inner").mkdir()
    monkeypatch.chdir(tmp_path / "models/tiny" / ("inner" if model == ".." else ""))
    out = tmp_path / SITE / "out"
    ended = run("evaluate", model, "--data", tmp_path / SITE / "m.csv", "--out", out)
    assert ended.code == 0, ended.err
    assert list(json.loads((out / "evaluation.json").read_text())["models"]) == ["tiny"]
    assert [path.name for path in (out / "masks").iterdir()] == ["tiny"]


@pytest.mark.slow  # a whole report; tests/report has its pages
def test_report_writes_nothing_beside_out_and_shows_the_outlines(
    run: Run, bundle: Path, tmp_path: Path, films: tuple[str, ...]
) -> None:
    rows = [{"name": name, "model": str(bundle)} for name in ("tiny", "W4/A8", "../../../../../../../up")]
    table = {"name": "t", "title": "Odd", "reference": "tiny", "columns": ["dice"], "rows": rows}
    (tmp_path / SITE / "t.yaml").write_text(yaml.safe_dump(table))
    before = contents(tmp_path, f"{SITE}/out")
    ended = run("report", f"{SITE}/t.yaml", "--data", f"{SITE}/m.csv", "--out", f"{SITE}/out")
    assert ended.code == 0, ended.err
    assert contents(tmp_path, f"{SITE}/out") == before
    scored = list((tmp_path / SITE / "out/scores").iterdir())
    assert len(scored) == len(rows)
    for folder in scored:
        (model,) = (folder / "masks").iterdir()
        assert len(list((model / "no_box").iterdir())) == len(films)


def test_a_long_name_keeps_its_column(run: Run, bundle: Path, tmp_path: Path, films: tuple[str, ...]) -> None:
    name = "a-model-whose-name-is-longer-than-most"
    shutil.copytree(bundle, tmp_path / name)
    ended = run("evaluate", name, "--data", f"{SITE}/m.csv", "--out", "out")
    heads, *lines = (line.split() for line in ended.out.splitlines())
    assert heads[:4] == ["model", "source", "prompt", "films"]
    assert [line[:4] for line in lines[:2]] == [
        [name, "films", p, str(len(films))] for p in ("no_box", "true_box")
    ]
