"""Record what the shipped models, a short run and its table answer, through the command line alone.

`python tests/golden/record.py OUT` fills OUT: masks and JSON of 12 phantom films by three shipped models, the
metrics of a run of a few steps, and a table made of it. Times, versions and addresses are left out, so that
two recordings on one machine are equal byte for byte; on another CPU a few last digits may differ.
`test_golden.py` compares a recording with the one kept here.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

MODELS = ("lung-field", "lung-field-fast", "lung-whole-fast")
FILMS = 12
RECIPE = """\
name: golden
seed: 3
base: {weights: base}
prompts: {whole_film: 0.6, one_lung: 0.2, noise: 0.1}
stages:
  - name: stage1
    kind: adalora
    r_max: 6
    r_target: 4
    prune_at: [2, 3]
    prune_unit: step
    schedule: {epochs: 2, steps_per_epoch: 2, batch_size: 2, warmup_steps: 1, cosine: true}
    learning_rates: {adapters: 2.0e-3, singular_values: 1.0e-2, decoder: 1.0e-3}
    losses: {quality: 0.1}
  - name: stage2
    kind: quantize
    policy: int8
    train: all
    calibration_films: 2
    schedule: {epochs: 1, steps_per_epoch: 2, batch_size: 2}
    learning_rates: {encoder: 2.0e-5, decoder: 2.0e-5, adapters: 2.0e-5, singular_values: 2.0e-5}
    losses: {quality: 0.1}
"""
TABLE = """\
name: golden
title: Golden
reference: before
margin: 0.05
columns: [dice, iou, nsd, hd95, assd, ssim, parameters, trainable]
rows:
  - {name: before, model: lung-field-fast}
  - {name: stage 1, recipe: recipe.yaml, run: golden, stage: stage1, precision: fp32}
  - {name: stage 2, recipe: recipe.yaml, run: golden}
"""
_UNSTEADY = {"milliseconds", "seconds", "timing", "environment", "command", "sha256", "megabytes", "bytes"}


def main(out: Path) -> None:
    """Fill the folder `out`; what it held goes."""
    shutil.rmtree(out, ignore_errors=True)
    work = out / "work"
    work.mkdir(parents=True)
    _call("data", "phantom", "--count", FILMS, "--seed", 11, "--out", work / "films")
    for model in MODELS:
        masks = out / model
        arguments = ("segment", work / "films" / "images", "--model", model, "--out", masks, "--json")
        _keep(out / f"{model}.json", json.loads(_call(*arguments, "--threads", 2)))
    manifest = work / "films" / "manifest.csv"
    (work / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    (work / "table.yaml").write_text(TABLE, encoding="utf-8")
    arguments = ("--data", manifest, "--runs", work / "runs", "--out", work / "table")
    _call("report", work / "table.yaml", *arguments)
    lines = (work / "runs" / "golden" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    _keep(out / "metrics.json", [json.loads(line) for line in lines])
    _keep(out / "table.json", json.loads((work / "table" / "table.json").read_text(encoding="utf-8")))
    shutil.copy(work / "table" / "table.csv", out / "table.csv")
    shutil.rmtree(work)


def _call(*arguments: object) -> str:
    command = [sys.executable, "-m", "adaloraqat", *map(str, arguments)]
    environment = {**os.environ, "ADALORAQAT_CACHE": "off", "OMP_NUM_THREADS": "2"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def _keep(path: Path, document: Any) -> None:
    path.write_text(json.dumps(_steady(document), indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _steady(own) for key, own in value.items() if key not in _UNSTEADY}
    return [_steady(own) for own in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main(Path(sys.argv[1]))
