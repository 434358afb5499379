"""Several processes train what one trains: same parameters, same ranks, same numbers, one run folder."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from adaloraqat.errors import RecipeError
from adaloraqat.training import parse_recipe
from adaloraqat.training.processes import Processes, check_division, launched
from adaloraqat.training.run_folder import load_tensors
from adaloraqat.training.train import train

DRIVER = Path(__file__).with_name("launched.py")
STEPS = {"epochs": 5, "batch_size": 4, "steps_per_epoch": 4}
Make = Callable[[], dict[str, Any]]


def recipes(make: Make, folder: Path) -> dict[str, Path]:
    """Write the recipes: 20 steps of stage 1 with clipping; a few on batch norms that stay; both stages."""
    whole = make()
    for stage in whole["stages"]:
        stage["schedule"]["batch_size"] = 4
    exact = make()
    exact["stages"] = [
        {**exact["stages"][0], "schedule": {**STEPS, "clip_gradient": 0.5}, "prune_at": [2, 4]}
    ]
    norms = make() | {"base": {"architecture": "lite_medsam_tiny"}}
    norms["stages"] = [
        {**norms["stages"][0], "schedule": {"epochs": 3, "batch_size": 4, "steps_per_epoch": 2}}
    ]
    found = {"exact": exact, "norms": norms, "whole": whole}
    for name, document in found.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(document))
    return {name: folder / f"{name}.yaml" for name in found}


def checkpoint(run: Path) -> dict[str, torch.Tensor]:
    return load_tensors(run / "checkpoint.safetensors")[0]


def assert_near(run: Path, reference: Path, tolerance: float) -> None:
    """Compare everything that is trained, and all that decides how it goes on."""
    found, wanted = checkpoint(run), checkpoint(reference)
    assert found.keys() == wanted.keys()
    assert all(tensor.dtype in (torch.float64, torch.float32, torch.int64) for tensor in wanted.values())
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, atol=tolerance, rtol=0, msg=name)


def lines(run: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "timing"} for line in found]


def untimed(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key != "timing"}


class Stopped(Exception):
    pass


def launch(count: int, jobs: list[dict[str, Any]], folder: Path) -> list[list[dict[str, Any]]]:
    """Run jobs in `count` processes; return what each process returned."""
    (folder / "jobs.json").write_text(json.dumps(jobs))
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        str(count),
    ]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["--main_process_port", "0"]  # any that is free; gloo, since the recipes ask for the CPU
    command += [str(DRIVER), str(folder / "jobs.json"), str(folder / "results")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=1200, env=environment)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return [json.loads((folder / f"results.{number}").read_text()) for number in range(count)]


@pytest.mark.slow  # each process imports torch anew
@pytest.mark.parametrize("count", [2, 4])
def test_several_processes_train_what_one_trains(
    count: int, both_stages: Make, manifest: Path, tmp_path: Path
) -> None:
    spec = importlib.util.spec_from_file_location("launched", DRIVER)
    driver = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(driver)
    paths = recipes(both_stages, tmp_path)

    def job(name: str, run: str, exact: bool = True, **more: Any) -> dict[str, Any]:
        return {
            "recipe": str(paths[name]),
            "manifest": str(manifest),
            "out": str(tmp_path / run),
            "exact": exact,
            **more,
        }

    one = {name: driver.work(**job(name, f"{name}-1", name != "whole")) for name in paths}

    # a run of one process, stopped in epoch 3, for several to continue
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(Stopped):
            train(driver.load_recipe(paths["exact"]), manifest, tmp_path / "stopped", on_step=_stop_at(10))
    finally:
        torch.set_default_dtype(torch.float32)

    jobs = [
        job("exact", "exact-n", copied_at="epoch 3/5"),
        job("norms", "norms-n"),
        job("whole", "whole-n", exact=False, log=["tensorboard"]),
        job("exact", "stopped", resume=True),
    ]
    several = launch(count, jobs, tmp_path)

    for name in ("exact", "norms"):
        assert_near(tmp_path / f"{name}-n", tmp_path / f"{name}-1", 1e-8)
        ranks = several[0][jobs.index(next(j for j in jobs if j["out"].endswith(f"{name}-n")))]["stages"][0][
            "ranks"
        ]
        assert ranks == one[name]["stages"][0]["ranks"]
        assert len(set(ranks.values())) > 1 or name == "norms"  # importance told the matrices apart
    assert one["exact"]["stages"][0]["steps"] == 20
    for number in range(1, count):  # sums over a process's own parameters: the same bits everywhere
        assert [untimed(r) for r in several[number]] == [untimed(r) for r in several[0]]

    losses = [
        [line["loss"]["total"] for line in lines(tmp_path / run) if line["loss"]]
        for run in ("whole-n", "whole-1")
    ]
    assert len(losses[0]) == 6
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert len(list((tmp_path / "whole-n").rglob("events.out.tfevents*"))) >= 1
    files = [
        {path.relative_to(tmp_path / run) for path in (tmp_path / run).rglob("*") if "logs" not in path.parts}
        for run in ("whole-n", "whole-1")
    ]
    assert files[0] == files[1]

    # continued by another number of processes, in both directions
    assert_near(tmp_path / "stopped", tmp_path / "exact-1", 1e-8)
    assert lines(tmp_path / "exact-n-half")[-1]["epoch"] == 3
    driver.work(**job("exact", "exact-n-half", resume=True))
    assert_near(tmp_path / "exact-n-half", tmp_path / "exact-1", 1e-8)


def _stop_at(step: int) -> Callable[[str, int, int], None]:
    def on_step(stage: str, done: int, total: int) -> None:
        if done == step:
            raise Stopped

    return on_step


# ---- what is refused, and what is shared out ------------------------------------------------------------


def test_parts_of_a_batch_are_one_step(both_stages: Make, manifest: Path, tmp_path: Path) -> None:
    """Accumulation in one process, clicks and a warp in every part; a resumed run may divide otherwise."""
    document = both_stages()
    document["stages"] = document["stages"][:1]
    document["stages"][0]["schedule"] = {"epochs": 3, "batch_size": 4, "steps_per_epoch": 2}
    document["prompts"] = {"clicks": {"share": 1.0, "most": 2}}
    runs = []
    for parts in (1, 4):
        document["stages"][0]["schedule"]["accumulate"] = parts
        train(parse_recipe(document), manifest, tmp_path / str(parts), report=lambda line: None)
        runs.append(tmp_path / str(parts))
    for line, wanted in zip(*map(lines, reversed(runs)), strict=True):
        assert line["validation"] == pytest.approx(wanted["validation"], abs=1e-3)
        assert line["loss"] == (wanted["loss"] and pytest.approx(wanted["loss"], abs=1e-4))
        assert line.get("ranks") == wanted.get("ranks")
    (runs[1] / "result.json").unlink()
    document["stages"][0]["schedule"]["accumulate"] = 2
    train(parse_recipe(document), manifest, runs[1], resume=True, report=lambda line: None)


def test_a_batch_that_does_not_divide_is_refused(both_stages: Make, manifest: Path, tmp_path: Path) -> None:
    document = both_stages()
    document["stages"][0]["schedule"]["batch_size"] = 6
    with pytest.raises(
        RecipeError, match=r"stage1 has a batch_size of 6, which 4 processes cannot share evenly"
    ):
        check_division(parse_recipe(document), 4)
    check_division(parse_recipe(document), 2)
    document["stages"][1]["schedule"]["accumulate"] = 4
    with pytest.raises(
        RecipeError, match=r"stage2 .* one process with accumulate: 4 .*: make it a multiple of 4"
    ):
        train(parse_recipe(document), manifest, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_batch_norms_that_train_are_refused_on_parts_of_a_batch(manifest: Path, tmp_path: Path) -> None:
    schedule = {"epochs": 1, "batch_size": 2, "steps_per_epoch": 1, "accumulate": 2}
    stage = {"name": "first", "kind": "full", "schedule": schedule}
    document = {"name": "norms", "base": {"architecture": "lite_medsam_tiny"}, "stages": [stage]}
    with pytest.raises(RecipeError, match=r"Stage first trains batch norms, .* process with accumulate: 1"):
        train(parse_recipe(document), manifest, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    # a decoder has none, and a quantised encoder has them folded into its convolutions
    stage["train"] = "decoder"
    second = {"name": "second", "kind": "quantize", "policy": "qmedsam", "calibration_films": 2}
    document["stages"] = [stage, {**second, "schedule": schedule}]
    train(parse_recipe(document), manifest, tmp_path / "run", report=lambda line: None)


def test_what_accelerate_says_of_its_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "ACCELERATE_USE_CPU"):
        monkeypatch.delenv(name, raising=False)
    assert launched() == (0, 1)
    monkeypatch.setenv("PMI_SIZE", "8")  # of a cluster's shell: nobody launched anything
    assert launched() == (0, 1)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    assert launched() == (3, 4)
    for name in ("WORLD_SIZE", "RANK", "PMI_SIZE"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")  # `accelerate launch --cpu --num_processes 2`
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(RecipeError, match=r"has started one: use torchrun"):
        launched()


def test_every_film_of_a_batch_is_one_process_s(both_stages: Make) -> None:
    from adaloraqat.training.batches import Batch

    films = torch.arange(8.0)
    batch = Batch(
        list(range(8)), None, *(films[:, None, None, None] for _ in range(2)), films[:, None], films[:, None]
    )
    parts = [p for number in range(2) for p in Processes(torch.device("cpu"), number, 2).shares(batch, 2)]
    assert [part.indices for part, _ in parts] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert [part.boxes.flatten().tolist() for part, _ in parts] == [part.indices for part, _ in parts]
    assert sum(share for _, share in parts) == 1
