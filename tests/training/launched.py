"""One of several processes that accelerate starts: one training after the other, for `test_processes.py`.

    accelerate launch ... launched.py JOBS RESULTS     JOBS: a JSON list of the arguments of `work`

Each process writes what its trainings returned to RESULTS.<its number>.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from adaloraqat.training import load_recipe
from adaloraqat.training.train import train


def work(
    recipe: str,
    manifest: str,
    out: str,
    exact: bool,
    resume: bool = False,
    log: list[str] | None = None,
    copied_at: str | None = None,
) -> dict[str, Any]:
    """Train, in float64 if `exact`; copy the run as it stands when `copied_at` is reported to `out`-half."""

    def report(line: str) -> None:
        if copied_at is not None and copied_at in line:
            shutil.copytree(out, f"{out}-half")

    torch.set_default_dtype(torch.float64 if exact else torch.float32)
    try:
        settled = load_recipe(recipe)
        return train(settled, Path(manifest), Path(out), resume=resume, report=report, log=log or ())
    finally:
        torch.set_default_dtype(torch.float32)


if __name__ == "__main__":
    torch.set_num_threads(1)
    results = [work(**job) for job in json.loads(Path(sys.argv[1]).read_text())]
    Path(f"{sys.argv[2]}.{os.environ['RANK']}").write_text(json.dumps(results))
