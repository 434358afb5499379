"""Results that cannot be written cost no others, and stdout that cannot be written is one sentence."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_bundle import two_lungs

from adaloraqat.radiograph import read_mask

Run = Callable[..., Any]


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(two_lungs()).save(path)
    return path


def written(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def entries(document: str) -> dict[str, dict[str, Any]]:
    return {entry["path"]: entry for entry in json.loads(document)["results"]}


def test_one_result_that_cannot_be_written_costs_no_other(run: Run, bundle: Path, tmp_path: Path) -> None:
    longest = "a" * 246  # with _mask.png the longest name that a file may have
    for name in (f"{longest}.png", f"{longest}b.png", "c.png", "sub/d.png", "z.png"):
        save(tmp_path / "in" / name)
    (tmp_path / "out/c_mask.png").mkdir(parents=True)
    (tmp_path / "out/sub").write_text("no folder")
    ended = run("segment", "in", "--model", bundle, "--out", "out", "--json")
    assert ended.code == 1
    failed = {name: entry["error"] for name, entry in entries(ended.out).items() if entry["error"]}
    assert set(failed) == {f"{longest}b.png", "c.png", "sub/d.png"}
    assert all(" cannot be written" in error for error in failed.values())
    assert "its name is too long" in failed[f"{longest}b.png"]
    assert written(tmp_path / "out") == [f"{longest}_mask.png", "sub", "z_mask.png"]
    first = run("segment", f"in/{longest}b.png", "in/z.png", "--model", bundle, "--out", "new")
    assert first.code == 1
    assert written(tmp_path / "new") == ["z_mask.png"]


def test_an_output_folder_that_takes_nothing_stops_the_work(run: Run, bundle: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save(tmp_path / "in" / name)
    (tmp_path / "out").write_text("a file")
    ended = run("segment", "in", "--model", bundle, "--out", "out", "--json")
    assert ended.code == 2
    assert entries(ended.out)["b.png"]["error"].startswith("Not tried, because of a.png: ")


def test_a_mask_without_its_overlay_is_done_and_told(run: Run, bundle: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save(tmp_path / "in" / name)
    np.savez(tmp_path / "in/case.npz", imgs=two_lungs(), boxes=[[0, 0, 64, 128]])
    for name in ("a", "case"):
        (tmp_path / f"out/{name}_overlay.png").mkdir(parents=True)
    ended = run("segment", "in", "--model", bundle, "--out", "out", "--json", "--overlay")
    assert ended.code == 1
    told = entries(ended.out)
    for name in ("a.png", "case.npz"):
        assert told[name]["error"].startswith("The mask was written, but not the overlay: ")
        assert (tmp_path / told[name]["mask"]).is_file()
        assert told[name]["overlay"] is None
    assert told["b.png"]["overlay"] == "out/b_overlay.png"
    alone = run("segment", "in/a.png", "--model", bundle, "--out", "out", "--overlay")
    assert (alone.code, alone.out) == (1, "out/a_mask.png\n")
    assert "a_overlay.png cannot be written" in alone.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "arguments", [("segment", "in"), ("segment", "in", "--json"), ("info",), ("--help",)]
)
def test_a_full_stdout_is_one_sentence(
    process: Run, bundle: Path, tmp_path: Path, arguments: tuple[str, ...], unbuffered: str
) -> None:
    for index in range(12):
        save(tmp_path / f"in/film-with-a-name-that-fills-the-buffer-{index}.png")
    if arguments[0] == "segment":
        arguments += ("--model", str(bundle))
    with open("/dev/full", "w") as full:
        child = process(*arguments, stdout=full, env={**os.environ, "PYTHONUNBUFFERED": unbuffered})
        _, err = child.communicate(timeout=60)
    assert child.returncode == 2
    assert err.startswith("Standard output cannot be written (No space left on device)")
    assert err.count("\n") == 1
    if arguments[0] == "segment":
        for name in written(tmp_path / "adaloraqat-masks"):
            assert read_mask(tmp_path / "adaloraqat-masks" / name).any()
        assert written(tmp_path / "adaloraqat-masks")


def test_a_reader_that_has_gone_ends_it_quietly(bundle: Path, tmp_path: Path) -> None:
    for index in range(3):
        save(tmp_path / f"in/{index}.png")
    command = [sys.executable, "-m", "adaloraqat", "segment", "in", "--model", str(bundle)]
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(
        command, stdout=write, stderr=subprocess.PIPE, text=True, cwd=tmp_path, timeout=60, check=False
    )
    os.close(write)
    assert ended.returncode != 0
    assert ended.stderr == ""
    assert written(tmp_path / "adaloraqat-masks") == ["0_mask.png"]
