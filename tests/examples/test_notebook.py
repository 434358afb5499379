"""The notebook, cell by cell, as a person runs it: its model learns, and INT8 keeps what it learnt."""

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from PIL import Image

NOTEBOOK = Path(__file__).parents[2] / "examples/adapt_to_16_films.ipynb"


@pytest.mark.slow  # each thing that it calls is tested apart
def test_the_notebook_adapts_compresses_and_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mpl.use("Agg")
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            assert not cell["outputs"]
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    scores = names["scores"]
    assert scores["adapted"] > scores["the base"] + 0.03
    assert scores["in INT8"] > scores["adapted"] - 0.02
    assert names["parity"]["equal_pixels"] > 0.99
    assert names["bundle"].precision.weight_range == "portable"
    assert (names["found"].mask & names["truth"]).sum() > 0.8 * names["truth"].sum()
    with Image.open("adapted.png") as picture:
        assert picture.width > 600
