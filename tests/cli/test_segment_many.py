"""`segment --workers --resume`: the union of killed calls is the uninterrupted call's results."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_bundle import two_lungs

Run = Callable[..., Any]
Process = Callable[..., "subprocess.Popen[str]"]

TIMES = ("milliseconds", "mtime_ns")


def make_films(folder: Path, count: int, size: int = 100) -> None:
    (folder / "sub").mkdir(parents=True)
    for number in range(count):
        place = folder / "sub" if number % 3 == 0 else folder
        Image.fromarray(two_lungs(size + number % 9, size)).save(place / f"f{number:04}.png")
    (folder / "bad.png").write_bytes(b"no film at all")


def results(out: Path) -> dict[str, Any]:
    """Return {path: entry} of results.jsonl without times; no film may have two lines."""
    found: dict[str, Any] = {}
    for line in (out / "results.jsonl").read_text().splitlines():
        document = json.loads(line)
        assert document["film"]["path"] not in found
        document["entry"].pop("milliseconds")
        found[document["film"]["path"]] = (document["failure"], document["entry"])
    return found


def masks(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*_mask.png")}


def rows(out: Path) -> list[dict[str, str]]:
    with open(out / "results.csv", encoding="utf-8", newline="") as stream:
        return [
            {key: value for key, value in row.items() if key not in TIMES} for row in csv.DictReader(stream)
        ]


def test_workers_give_what_one_process_gives(run: Run, bundle: Path, tmp_path: Path) -> None:
    make_films(tmp_path / "films", 7)
    one = run("segment", "films", "--model", bundle, "--out", "one", "--json", "--overlay")
    two = run("segment", "films", "--model", bundle, "--out", "two", "--json", "--overlay", "--workers", 2)
    assert one.code == two.code == 1
    documents = [json.loads(ended.out) for ended in (one, two)]
    for document, name in zip(documents, ("one", "two"), strict=True):
        for entry in document["results"]:
            del entry["milliseconds"]
            for key in ("mask", "overlay"):
                entry[key] = entry[key] and entry[key].removeprefix(f"{name}/")
    assert documents[0] == documents[1]
    assert masks(tmp_path / "one") == masks(tmp_path / "two")
    assert len(masks(tmp_path / "two")) == 7
    assert "1 of 8 inputs failed: bad.png" in two.err
    assert results(tmp_path / "two")["bad.png"][0] == "film"
    table = rows(tmp_path / "two")
    assert [row["path"] for row in table] == sorted(results(tmp_path / "two"))
    assert table[1]["area_px"] == str(results(tmp_path / "two")["f0001.png"][1]["area_px"])
    assert not (tmp_path / "one/results.jsonl").exists()


def test_resume_does_only_what_is_missing(run: Run, bundle: Path, tmp_path: Path) -> None:
    make_films(tmp_path / "films", 3)
    call = ("segment", "films", "--model", bundle, "--out", "out", "--resume")
    assert run(*call).code == 1
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*_mask.png")}
    Image.fromarray(np.fliplr(two_lungs(100, 100))).save(tmp_path / "films/f0001.png")
    Image.fromarray(two_lungs(90, 90)).save(tmp_path / "films/new.png")
    again = run(*call)
    assert again.code == 1
    assert "3 of 5 films were already done." in again.err
    assert again.out.splitlines() == ["out/f0001_mask.png", "out/new_mask.png"] or again.out.splitlines() == [
        "out/new_mask.png",
        "out/f0001_mask.png",
    ]
    after = {path: path.stat().st_mtime_ns for path in before}
    assert [path.name for path in before if before[path] != after[path]] == ["f0001_mask.png"]
    assert len(results(tmp_path / "out")) == len(rows(tmp_path / "out")) == 5


def test_a_film_of_a_folder_that_is_named_alone_is_done(run: Run, bundle: Path, tmp_path: Path) -> None:
    make_films(tmp_path / "films", 3)
    call = ("--model", bundle, "--out", "out", "--resume")
    run("segment", "films", *call)
    lines = (tmp_path / "out/results.jsonl").read_bytes()
    (tmp_path / "out/f0001_mask.png").write_bytes(b"corrected by hand")
    alone = run("segment", "films/f0001.png", *call, "--json")
    assert alone.code == 0
    [entry] = json.loads(alone.out)["results"]
    assert (entry["path"], entry["mask"]) == ("films/f0001.png", "out/f0001_mask.png")
    assert (tmp_path / "out/f0001_mask.png").read_bytes() == b"corrected by hand"
    assert (tmp_path / "out/results.jsonl").read_bytes() == lines


def test_refusals_touch_nothing(run: Run, bundle: Path, tmp_path: Path) -> None:
    make_films(tmp_path / "films", 1)
    call = ("segment", "films", "--model", bundle, "--out", "out")
    run(*call, "--workers", 1)
    before = (tmp_path / "out/results.jsonl").read_bytes()
    for more, sentence in (
        (("--workers", 1), "--resume"),
        ((), "--resume"),
        (("--resume", "--overlay"), "other options (overlay)"),
        (("--resume", "--box", 1, 2, 30, 40), "other options (box)"),
    ):
        ended = run(*call, *more)
        assert ended.code == 2
        assert sentence in ended.err
    assert (tmp_path / "out/results.jsonl").read_bytes() == before


def test_a_broken_model_or_engine_is_one_sentence(run: Run, bundle: Path, tmp_path: Path) -> None:
    make_films(tmp_path / "films", 1)
    ended = run("segment", "films", "--model", bundle, "--workers", 2, "--engine", "onnxruntime:cuda")
    assert ended.code == 2
    assert "finds no cuda" in ended.err


def test_ctrl_c_keeps_what_is_done(process: Process, run: Run, bundle: Path, tmp_path: Path) -> None:
    make_films(tmp_path / "films", 200)
    call = ("segment", "films", "--model", bundle, "--out", "out", "--resume", "--workers", 2)
    stopped = process(*call)
    wait_for_lines(tmp_path / "out", 5, stopped)
    stopped.send_signal(signal.SIGINT)
    _, said = stopped.communicate(timeout=60)
    assert stopped.returncode == 130
    assert "--resume continues" in said
    assert "Traceback" not in said
    done = len(results(tmp_path / "out"))
    assert 5 <= done < 201
    assert run(*call).code == 1
    assert len(results(tmp_path / "out")) == 201


def wait_for_lines(out: Path, count: int, process: "subprocess.Popen[str]") -> None:
    """Return when results.jsonl has `count` lines more than now, or the process has ended."""
    path = out / "results.jsonl"
    before = path.read_bytes().count(b"\n") if path.exists() else 0
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if path.exists() and path.read_bytes().count(b"\n") >= before + count:
            return
        time.sleep(0.005)


def children(pid: int) -> list[int]:
    """Return the processes that work for `pid` (the one that tracks resources is none)."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            works = b"spawn_main" in (place / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if parent == pid and works:
            found.append(int(place.name))
    return found


def killed(process: Process, call: tuple[Any, ...], out: Path, kills: int, draw: random.Random) -> None:
    """Kill parent or worker, at a moment of chance, `kills` times while films are in work."""
    given = 0
    while given < kills:
        running = process(*call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_lines(out, draw.randrange(1, 4), running)
        time.sleep(draw.random() * 0.05)
        assert running.poll() is None, "it ended before it was killed: give it more films"
        workers = children(running.pid)
        if given % 2 and workers:
            os.kill(draw.choice(workers), signal.SIGKILL)
            given += 1
            wait_for_lines(out, 1, running)
        running.kill()
        running.wait()
        given += 1


def check_kills(process: Process, run: Run, bundle: Path, tmp_path: Path, films: int, kills: int) -> None:
    make_films(tmp_path / "films", films)
    call = ("segment", "films", "--model", bundle, "--workers", 2)
    assert run(*call, "--out", "whole").code == 1
    out = tmp_path / "out"
    killed(process, (*call, "--out", "out", "--resume"), out, kills, random.Random(kills))
    assert 0 < len(results(out)) < films + 1
    assert run(*call, "--out", "out", "--resume").code == 1
    assert results(out) == results(tmp_path / "whole")
    assert masks(out) == masks(tmp_path / "whole")
    assert rows(out) == rows(tmp_path / "whole")
    assert not list(out.rglob(".*.tmp*"))


needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds workers by /proc")


@needs_proc
def test_killed_four_times(process: Process, run: Run, bundle: Path, tmp_path: Path) -> None:
    check_kills(process, run, bundle, tmp_path, 150, 4)


@needs_proc
@pytest.mark.slow
def test_killed_fifty_times(process: Process, run: Run, bundle: Path, tmp_path: Path) -> None:
    check_kills(process, run, bundle, tmp_path, 2000, 50)
