"""What a tracker is told is what the run folder says; it changes no number, and is asked for in time."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adaloraqat.errors import RecipeError
from adaloraqat.training import parse_recipe
from adaloraqat.training.run_folder import load_tensors
from adaloraqat.training.trackers import Trackers
from adaloraqat.training.train import train

Make = Callable[[], dict[str, Any]]


class Stopped(Exception):
    pass


def test_the_event_file_says_what_the_run_folder_says(
    both_stages: Make, manifest: Path, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe, run = parse_recipe(both_stages()), tmp_path / "run"

    def stop(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("stage1", 6):
            raise Stopped

    with pytest.raises(Stopped):  # in the middle of epoch 3, whose steps are then taken again
        train(recipe, manifest, run, report=lambda line: None, on_step=stop, log=["tensorboard"])
    train(recipe, manifest, run, report=lambda line: None, resume=True, log=["tensorboard"])
    train(recipe, manifest, tmp_path / "plain", report=lambda line: None)
    tensors, wanted = (load_tensors(f / "checkpoint.safetensors")[0] for f in (run, tmp_path / "plain"))
    assert all(bool((tensors[name] == value).all()) for name, value in wanted.items())

    events = EventAccumulator(str(run / "logs" / "small"), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    before = {"stage1": 0, "stage2": 8}
    for stage, steps in (("stage1", 8), ("stage2", 4)):
        own = [line for line in lines if line["stage"] == stage]
        counted = [before[stage] + line["step"] for line in own]
        for score in ("dice_no_box", "dice_box", "worst_no_box"):
            points = events.Scalars(f"{stage}/validation/{score}")
            assert [point.step for point in points] == counted
            assert [p.value for p in points] == pytest.approx([line["validation"][score] for line in own])
        terms = {name for line in own[1:] for name in line["loss"]}
        assert terms == {"dice", "total"} | {"bce"} | ({"orthogonality"} if stage == "stage1" else set())
        for term in terms:
            points = events.Scalars(f"{stage}/loss/{term}")
            assert [p.step for p in points] == list(range(before[stage] + 1, before[stage] + steps + 1))
            means = np.array([p.value for p in points]).reshape(-1, 2).mean(1)  # two steps an epoch
            assert means == pytest.approx([line["loss"][term] for line in own[1:]], rel=1e-5)
        pictures = events.Images(f"{stage}/validation")
        assert [picture.step for picture in pictures] == counted
    for name, rank in lines[4]["ranks"].items():
        assert events.Scalars(f"stage1/ranks/{name}")[-1].value == rank
    assert events.Scalars("stage1/rate/singular_values")[0].value == pytest.approx(1e-2)
    (tmp_path / "first.png").write_bytes(events.Images("stage1/validation")[0].encoded_image_string)
    drawn = np.asarray(Image.open(tmp_path / "first.png"))
    assert ((drawn == (0, 255, 0)).all(-1)).any()  # the true mask's contour


def test_a_tracker_that_is_not_installed_is_refused_before_anything_begins(
    both_stages: Make, manifest: Path, tmp_path: Path
) -> None:
    absent = next(name for name in ("trackio", "mlflow", "wandb") if not _installed(name))
    with pytest.raises(
        RecipeError, match=f"needs {absent}, which is not installed: run pip install {absent}"
    ):
        train(parse_recipe(both_stages()), manifest, tmp_path / "run", log=[absent])
    assert not (tmp_path / "run").exists()
    with pytest.raises(RecipeError, match="There is no tracker paper; choose of tensorboard"):
        Trackers(["paper"])


def _installed(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None
