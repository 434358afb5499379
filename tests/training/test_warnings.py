"""What a training says at its start: films of one patient on both sides, rates that are never reached."""

import csv
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adaloraqat.datasets.manifest import read_manifest, write_manifest
from adaloraqat.training import parse_recipe
from adaloraqat.training.dry_run import plan
from adaloraqat.training.train import train

Make = Callable[[], dict[str, Any]]
LEAK = "1 of 2 validation films are of patients with training films: 'standard-3-00001'"


def _short(both_stages: Make, **schedule: Any) -> Any:
    document = both_stages()
    schedule = {"epochs": 1, "batch_size": 2, "steps_per_epoch": 1, **schedule}
    document["stages"] = [{"name": "f", "kind": "full", "schedule": schedule}]
    return parse_recipe(document)


def _said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("column", ["patient_id", "path_image"])
def test_validation_films_of_training_patients_are_told(
    column: str, both_stages: Make, manifest: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    moved = tmp_path / "films.csv"
    write_manifest(moved, read_manifest(manifest))
    with moved.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    train_row = next(row for row in rows if row["split"] == "train")
    val_rows = [row for row in rows if row["split"] != "train"][:2]
    for row in val_rows:
        row["split"] = "val"
    val_rows[0][column] = train_row[column]
    with moved.open("w", newline="") as stream:
        table = csv.DictWriter(stream, rows[0])
        table.writeheader()
        table.writerows(row for row in rows if row in val_rows or row["split"] == "train")
    told = LEAK.replace("standard-3-00001", val_rows[0]["id"])
    result = train(_short(both_stages), moved, tmp_path / "run", report=lambda line: None)
    assert any(sentence.startswith(told) for sentence in result["warnings"])
    assert _said(caplog)[0].startswith(told)
    assert any(line.startswith(told) for line in plan(_short(both_stages), moved).lines())


def test_a_warm_up_that_is_longer_than_the_stage_is_told(
    both_stages: Make, manifest: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    long = _short(both_stages, warmup_steps=8)
    train(long, manifest, tmp_path / "long", report=lambda line: None)
    sentence = "warmup_steps 8 is more than all 1 steps, so the learning rates reach only 0.12"
    assert [text for text in _said(caplog) if sentence in text]
    assert [line for line in plan(long, manifest).lines() if sentence in line]
    caplog.clear()
    train(_short(both_stages, warmup_steps=1), manifest, tmp_path / "fits", report=lambda line: None)
    assert not _said(caplog)
