"""The example for many machines, on two actors of this one."""

import importlib.util
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from adaloraqat import Segmenter
from adaloraqat.radiograph import read_mask

ray = pytest.importorskip("ray", reason="ray is not installed")
EXAMPLE = Path(__file__).parents[2] / "examples/ray_segment.py"
sys.path.insert(0, str(Path(__file__).parents[1] / "bundle"))


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # else it writes a token into the user's home
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    spec = importlib.util.spec_from_file_location("ray_segment", EXAMPLE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    # an actor has no file of the test's to import the example from
    monkeypatch.setitem(sys.modules, "ray_segment", module)
    ray.cloudpickle.register_pickle_by_value(module)
    yield module
    ray.shutdown()


@pytest.mark.filterwarnings("ignore")
def test_two_actors_write_shards_of_one_format(example: Any, tmp_path: Path) -> None:
    from tiny_bundle import two_lungs, write_tiny_bundle

    warnings.simplefilter("ignore")
    write_tiny_bundle(tmp_path / "tiny")
    films = tmp_path / "films"
    (films / "sub").mkdir(parents=True)
    for number in range(15):
        Image.fromarray(two_lungs(100 + number, 90)).save(
            films / ("sub" if number % 4 else ".") / f"f{number}.png"
        )
    (films / "bad.png").write_bytes(b"no film at all")
    model, out = str(tmp_path / "tiny"), tmp_path / "out"
    done = example.segment_folder(films, out, model)
    assert len(done) == 16
    assert [row["name"] for row in done if row["error"]] == ["bad.png"]
    assert example.segment_folder(films, out, model) == []

    lines = {
        document["film"]["path"]: (path.parent, document)
        for path in out.glob("shard-*/results.jsonl")
        for document in map(json.loads, path.read_text().splitlines())
    }
    assert len(lines) == 16
    assert {folder.name for folder, _ in lines.values()} == {"shard-0", "shard-1"}
    segmenter = Segmenter.load(model)
    for name, (folder, line) in lines.items():
        if name == "bad.png":
            assert line["failure"] == "film"
            continue
        mask = read_mask(folder / line["entry"]["mask"])
        assert (mask == segmenter.segment(films / name).mask).all()

    Image.fromarray(two_lungs(60, 60)).save(films / "f0.png")
    assert [row["name"] for row in example.segment_folder(films, out, model)] == ["f0.png"]
    total = sum(len(path.read_text().splitlines()) for path in out.glob("shard-*/results.jsonl"))
    assert total == 16
