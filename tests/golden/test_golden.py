"""What the shipped models answer stays as it was recorded (`record.py`) before the house was rebuilt.

A CPU without VNNI, or one that adds up in another order, may turn a few pixels and last digits; on the
machine that recorded, `python tests/golden/record.py OUT` gives every byte again.
"""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from adaloraqat import Segmenter
from adaloraqat.datasets.phantom import write_phantoms
from adaloraqat.radiograph import read_mask

HERE = Path(__file__).parent
TURNED = 0.0005  # share of a mask's pixels that another CPU's rounding may turn over
LAST_DIGITS = 2e-3  # of a score or loss after a few steps on another CPU


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden")
    write_phantoms(folder, 12, seed=11)
    return folder / "images"


@pytest.mark.parametrize("model", ["lung-field", "lung-field-fast", "lung-whole-fast"])
def test_the_shipped_models_answer_as_recorded(model, films):
    segmenter = Segmenter.load(model, threads=2)
    recorded = {entry["path"]: entry for entry in json.loads((HERE / f"{model}.json").read_text())["results"]}
    assert len(recorded) == 12
    few = {"lung-field": 4}  # it takes a second a film; all twelve are compared by the slow test below
    for path in sorted(films.iterdir())[: few.get(model)]:
        result, entry = segmenter.segment(path), recorded[path.name]
        golden = read_mask(HERE / model / entry["mask"], result.mask.shape)
        assert np.mean(result.mask != golden) <= TURNED, path.name
        assert result.box_source == entry["box_source"]
        assert result.warnings == entry["warnings"]
        assert result.quality == pytest.approx(entry["quality"], abs=5 * LAST_DIGITS)


@pytest.mark.slow
def test_a_recording_repeats_the_masks_the_run_and_the_table(tmp_path):
    spec = importlib.util.spec_from_file_location("golden_record", HERE / "record.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(tmp_path / "again")
    for name in ("metrics.json", "table.json", *(f"{model}.json" for model in module.MODELS)):
        _alike(
            json.loads((HERE / name).read_text()), json.loads((tmp_path / "again" / name).read_text()), name
        )


def _alike(golden, new, where):
    assert type(golden) is type(new), where
    if isinstance(golden, dict):
        assert golden.keys() == new.keys(), where
        for key in golden:
            _alike(golden[key], new[key], f"{where}.{key}")
    elif isinstance(golden, list):
        assert len(golden) == len(new), where
        for place, (one, other) in enumerate(zip(golden, new, strict=True)):
            _alike(one, other, f"{where}[{place}]")
    elif isinstance(golden, float):
        assert new == pytest.approx(golden, abs=LAST_DIGITS, rel=0.02), where
    else:
        assert golden == new, where
