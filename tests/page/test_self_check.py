"""The page's self-check compares with what Python gives today."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from adaloraqat import Segmenter
from adaloraqat.radiograph import read_film

ROOT = Path(__file__).parents[2]
STORED = json.loads((ROOT / "web" / "src" / "engine" / "self_check.json").read_text())
PLACES = (
    ROOT / "src" / "adaloraqat" / "weights",
    ROOT / "packages" / "weights" / "src" / "adaloraqat_weights",
)
BUNDLES = sorted(path.parent for place in PLACES for path in place.glob("*/bundle.json"))


def test_every_shipped_bundle_has_an_answer() -> None:
    assert sorted(STORED["answers"]) == sorted(bundle.name for bundle in BUNDLES)


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_answers_are_pythons(bundle: Path) -> None:
    film = read_film(base64.b64decode(STORED["png"]))
    assert film.shape == (STORED["height"], STORED["width"])
    runs = STORED["answers"][bundle.name]["runs"]
    stored = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(film.shape)
    result = Segmenter.load(str(bundle)).segment(film)
    assert (stored == result.mask).mean() >= 0.999
    assert result.quality == pytest.approx(STORED["answers"][bundle.name]["quality"], abs=0.01)
