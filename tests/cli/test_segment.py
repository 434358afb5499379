import json
import os
import re
import resource
import shutil
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
from tiny_bundle import two_lungs, write_tiny_bundle

from adaloraqat.radiograph import read_mask

Run = Callable[..., Any]
KEYS = {
    *("path", "mask", "overlay", "dicom", "width", "height", "box", "box_source", "prompts", "proposer"),
    *("quality", "quality_error", "area_px", "area_mm2", "labels", "measures"),
    *("spacing_mm", "milliseconds", "warnings", "notices", "error"),
}


def save(path: Path, film: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(two_lungs() if film is None else film).save(path)
    return path


def written(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def results(ended: Any) -> dict[str, dict[str, Any]]:
    return {entry["path"]: entry for entry in json.loads(ended.out)["results"]}


def test_one_film(run: Run, bundle: Path, tmp_path: Path) -> None:
    save(tmp_path / "film.png", two_lungs(100, 150))
    ended = run("segment", "film.png", "--model", bundle)
    assert ended.code == 0
    assert ended.out == "adaloraqat-masks/film_mask.png\n"
    assert ended.err == ""
    with Image.open(tmp_path / "adaloraqat-masks/film_mask.png") as mask:
        assert mask.size == (150, 100)
        assert sorted(set(np.asarray(mask).ravel().tolist())) == [0, 255]


def test_json(run: Run, bundle: Path, tmp_path: Path) -> None:
    save(tmp_path / "film.png")
    ended = run("segment", "film.png", "--model", bundle, "--json", "--overlay", "--out", "out")
    assert ended.code == 0
    document = json.loads(ended.out)
    assert document["model"] == "tiny"
    assert document["engine"] == "onnxruntime"
    [entry] = document["results"]
    assert set(entry) == KEYS
    assert entry["path"] == "film.png"
    assert entry["mask"] == "out/film_mask.png"
    assert entry["overlay"] == "out/film_overlay.png"
    assert entry["box"] == [0, 0, 128, 128]
    assert entry["box_source"] == "whole film"
    assert entry["quality"] == 0.9
    assert entry["area_px"] == read_mask(tmp_path / entry["mask"]).sum()
    assert entry["area_mm2"] is None
    assert entry["milliseconds"] > 0
    assert entry["warnings"] == []
    assert entry["error"] is None
    with Image.open(tmp_path / entry["overlay"]) as overlay:
        assert overlay.mode == "RGB"


def test_a_box_is_obeyed(run: Run, bundle: Path, tmp_path: Path) -> None:
    save(tmp_path / "film.png")
    ended = run("segment", "film.png", "--model", bundle, "--json", "--box", 64, -5, 128, 200)
    [entry] = results(ended).values()
    assert entry["box"] == [64, 0, 128, 128]
    assert entry["box_source"] == "given"
    mask = read_mask(tmp_path / entry["mask"])
    assert mask[:, 66:].any()
    assert not mask[:, :62].any()


@pytest.mark.parametrize("box", [(50, 0, 10, 40), (500, 0, 600, 50), ("nan", 0, 1, 1)])
def test_bad_boxes(run: Run, bundle: Path, tmp_path: Path, box: tuple[object, ...]) -> None:
    save(tmp_path / "film.png")
    ended = run("segment", "film.png", "--model", bundle, "--box", *box)
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert "The box" in ended.err
    assert not (tmp_path / "adaloraqat-masks").exists()


def test_folders_are_mirrored_and_own_outputs_skipped(run: Run, bundle: Path, tmp_path: Path) -> None:
    save(tmp_path / "in/a.png")
    save(tmp_path / "in/deep/er/b.jpg")
    (tmp_path / "in/notes.txt").write_text("not a film")
    for _ in range(2):  # the second call meets the results of the first
        ended = run("segment", "in", "--model", bundle, "--out", "in/masks", "--overlay", "--json")
        assert ended.code == 0
        assert sorted(results(ended)) == ["a.png", "deep/er/b.jpg"]
    outputs = ["a_mask.png", "a_overlay.png", "deep/er/b_mask.png", "deep/er/b_overlay.png"]
    assert written(tmp_path / "in/masks") == outputs
    ended = run("segment", ".", "--model", bundle, "--json", "--out", "more")
    assert sorted(results(ended)) == ["in/a.png", "in/deep/er/b.jpg"]


def test_linked_folders_are_mirrored_once_and_may_collide(run: Run, bundle: Path, tmp_path: Path) -> None:
    save(tmp_path / "in/a.png")
    save(tmp_path / "store/b.png")
    save(tmp_path / "store/deep/c.png")
    (tmp_path / "in/ward").symlink_to(tmp_path / "store")
    (tmp_path / "in/ward-again").symlink_to(tmp_path / "store")
    (tmp_path / "store/loop").symlink_to(tmp_path / "in")
    ended = run("segment", "in", "--model", bundle, "--out", "out", "--json")
    assert ended.code == 0, ended.err
    assert sorted(results(ended)) == ["a.png", "ward/b.png", "ward/deep/c.png"]
    assert written(tmp_path / "out") == ["a_mask.png", "ward/b_mask.png", "ward/deep/c_mask.png"]
    assert not (tmp_path / "out/ward").is_symlink()
    save(tmp_path / "store/b.bmp")
    ended = run("segment", "in", "--model", bundle, "--out", "other")
    assert ended.code == 0, ended.err
    assert written(tmp_path / "other/ward") == ["b.bmp_mask.png", "b.png_mask.png", "deep/c_mask.png"]


def test_absolute_paths_are_not_repeated(run: Run, bundle: Path, tmp_path: Path) -> None:
    save(tmp_path / "in/sub/a.png")
    film = save(tmp_path / "b.png")
    ended = run("segment", tmp_path / "in", film, "--model", bundle, "--out", tmp_path / "out", "--json")
    assert {name: entry["mask"] for name, entry in results(ended).items()} == {
        "sub/a.png": "sub/a_mask.png",
        "b.png": "b_mask.png",
    }
    assert written(tmp_path / "out") == ["b_mask.png", "sub/a_mask.png"]


@pytest.mark.parametrize(
    ("films", "inputs"),
    [
        (["x/a.png", "y/a.png"], ["x", "y"]),
        (["x/a.png", "a.png"], ["x", "a.png"]),
    ],
)
def test_collisions_are_refused_before_work(
    run: Run, bundle: Path, tmp_path: Path, films: list[str], inputs: list[str]
) -> None:
    for film in films:
        save(tmp_path / film)
    ended = run("segment", *inputs, "--model", bundle)
    assert ended.code == 2
    assert "would both write a.png_mask.png" in ended.err
    assert not (tmp_path / "adaloraqat-masks").exists()


def test_a_result_never_overwrites_an_input(run: Run, bundle: Path, tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    precious = save(tmp_path / "a_mask.png").read_bytes()
    ended = run("segment", "a.png", "a_mask.png", "--model", bundle, "--out", ".")
    assert ended.code == 2
    assert "would overwrite the input a_mask.png" in ended.err
    assert (tmp_path / "a_mask.png").read_bytes() == precious


def test_a_film_named_twice_is_done_once(run: Run, bundle: Path, tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    ended = run("segment", "a.png", "./a.png", "--model", bundle, "--json")
    assert len(results(ended)) == 1


BAD_FILES: dict[str, Callable[[Path], object]] = {
    "text.png": lambda path: path.write_text("this is no picture"),
    "empty.png": lambda path: path.write_bytes(b""),
    "truncated.png": lambda path: path.write_bytes(save(path).read_bytes()[:200]),
    "pixel.png": lambda path: save(path, np.zeros((1, 1), np.uint8)),
    "void.dcm": lambda path: path.write_bytes(b""),
    "half.dcm": lambda path: path.write_bytes(b"\0" * 128 + b"DICM" + b"\x02\0\0\0UL\x04\0"),
    "nan.npz": lambda path: np.savez(path, imgs=np.full((32, 32), np.nan)),
}


def test_bad_films_are_told_one_by_one_and_the_good_ones_done(run: Run, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, make in BAD_FILES.items():
        make(tmp_path / "in" / name)
    save(tmp_path / "in/good.png")
    ended = run("segment", "in", "missing.png", "--model", bundle, "--json")
    assert ended.code == 1
    entries = results(ended)
    assert {name for name, entry in entries.items() if entry["error"]} == {*BAD_FILES, "missing.png"}
    assert entries["good.png"]["error"] is None
    assert all(set(entry) == KEYS for entry in entries.values())
    assert f"{len(BAD_FILES) + 1} of {len(BAD_FILES) + 2} inputs failed" in ended.err
    told = [
        line for line in ended.err.splitlines() if not re.match(r"\d+ of \d+ films", line)
    ]  # but for progress
    assert len(told) == len(BAD_FILES) + 2  # one line each, and the summary
    assert written(tmp_path / "adaloraqat-masks") == ["good_mask.png"]


@pytest.mark.parametrize("name", BAD_FILES)
def test_one_bad_film_alone(run: Run, bundle: Path, tmp_path: Path, name: str) -> None:
    BAD_FILES[name](tmp_path / name)
    ended = run("segment", name, "--model", bundle)
    assert ended.code == 2
    assert name in ended.err
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "adaloraqat-masks").exists()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA", "1", "I;16"])
def test_every_kind_of_png(run: Run, bundle: Path, tmp_path: Path, mode: str) -> None:
    film = Image.fromarray(two_lungs())
    if mode == "I;16":
        film = Image.fromarray(two_lungs().astype(np.uint16) * 16)
    elif mode == "1":
        film = film.point(lambda value: 255 * (value > 100)).convert("1")
    else:
        film = film.convert(mode)
    film.save(tmp_path / "film.png")
    ended = run("segment", "film.png", "--model", bundle)
    assert ended.code == 0, ended.err
    mask = read_mask(tmp_path / "adaloraqat-masks/film_mask.png")
    truth = two_lungs() < 100
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.85


def test_wrong_path_empty_folder_and_nothing(run: Run, bundle: Path, tmp_path: Path) -> None:
    ended = run("segment", "nowhere", "--model", bundle)
    assert (ended.code, ended.err) == (2, "nowhere does not exist: check the path.\n")
    (tmp_path / "void").mkdir()
    ended = run("segment", "void", "--model", bundle)
    assert ended.code == 2
    assert "void holds no films" in ended.err
    assert run("segment").code == 2
    assert run("segment", "x.png", "--box", 1, 2).code == 2
    assert run("segment", "x.png", "--threads", 0).code == 2


def test_bundles_that_cannot_be_used(run: Run, bundle: Path, tmp_path: Path) -> None:
    save(tmp_path / "film.png")
    ended = run("segment", "film.png", "--model", "no-such")
    assert ended.code == 2
    assert "no model called or stored at 'no-such'" in ended.err
    shutil.copytree(bundle, tmp_path / "damaged")
    with open(tmp_path / "damaged/encoder.onnx", "ab") as stream:
        stream.write(b"x")
    ended = run("segment", "film.png", "--model", "damaged")
    assert ended.code == 2
    assert "is damaged" in ended.err
    assert ended.err.count("\n") == 1
    assert run("segment", "film.png", "--model", bundle, "--engine", "abacus").code == 2


def test_doubts_are_told(run: Run, bundle: Path, tmp_path: Path) -> None:
    save(tmp_path / "blank.png", np.full((100, 100), 77, np.uint8))
    ended = run("segment", "blank.png", "--model", bundle, "--json")
    assert ended.code == 0
    [entry] = results(ended).values()
    assert entry["warnings"][0].startswith("blank-film: ")
    assert "blank.png: blank-film: " in ended.err


def test_openvino_gives_the_same_mask(run: Run, bundle: Path, tmp_path: Path) -> None:
    save(tmp_path / "film.png")
    for engine in ("onnxruntime", "openvino"):
        assert run("segment", "film.png", "--model", bundle, "--engine", engine, "--out", engine).code == 0
    a, b = (read_mask(tmp_path / engine / "film_mask.png") for engine in ("onnxruntime", "openvino"))
    assert (a == b).mean() > 0.999


def test_existing_results_are_replaced_and_nothing_else_is_left(
    run: Run, bundle: Path, tmp_path: Path
) -> None:
    save(tmp_path / "film.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/film_mask.png").write_text("old")
    assert run("segment", "film.png", "--model", bundle, "--out", "out").code == 0
    assert written(tmp_path / "out") == ["film_mask.png"]
    assert read_mask(tmp_path / "out/film_mask.png").any()


def test_an_output_folder_that_is_a_file(run: Run, bundle: Path, tmp_path: Path) -> None:
    save(tmp_path / "film.png")
    (tmp_path / "out").write_text("a file")
    ended = run("segment", "film.png", "--model", bundle, "--out", "out")
    assert ended.code == 2
    assert "choose another output folder" in ended.err
    assert ended.err.count("\n") == 1


def test_full_disk(process: Run, bundle: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk; the noisy film's overlay exceeds it."""
    save(tmp_path / "in/a.png")
    noise = np.random.default_rng(0).integers(0, 256, (1500, 1500), dtype=np.uint8)
    save(tmp_path / "in/b.png", noise)
    save(tmp_path / "in/c.png")
    args = ("segment", "in", "--model", bundle, "--json", "--overlay")
    child = process(*args, preexec_fn=lambda: (_ignore_size_signal(), _limit_files(100_000)))
    out, err = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "Traceback" not in err
    assert [line for line in err.splitlines() if "b_" in line and "choose another output folder" in line]
    entries = {entry["path"]: entry["error"] for entry in json.loads(out)["results"]}
    assert entries["a.png"] is None
    assert entries["b.png"]
    assert entries["c.png"].startswith("Not tried, because of b.png: ")
    left = written(tmp_path / "adaloraqat-masks")
    assert left[:2] == ["a_mask.png", "a_overlay.png"]
    assert all(name in ("a_mask.png", "a_overlay.png", "b_mask.png") for name in left)


def _ignore_size_signal() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def _limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_really_full_disk(process: Run, bundle: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        save(tmp_path / "in/a.png")
        (disk / "ballast").write_bytes(b"x" * 60_000)
        child = process("segment", "in", "--model", bundle, "--overlay", "--out", "disk")
        _, err = child.communicate(timeout=60)
        assert child.returncode == 1
        assert "The mask was written, but not the overlay: No space is left to write a_overlay.png" in err
        assert written(disk) == ["a_mask.png", "ballast"]
        assert read_mask(disk / "a_mask.png").any()
        (disk / "a_mask.png").unlink()
        (disk / "ballast").write_bytes(b"x" * 65_536)
        child = process("segment", "in", "--model", bundle, "--out", "disk")
        _, err = child.communicate(timeout=60)
        assert child.returncode == 2
        assert "No space is left to write a_mask.png" in err
        assert err.count("\n") == 1
        assert written(disk) == ["ballast"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_ctrl_c_keeps_what_is_finished(process: Run, bundle: Path, tmp_path: Path) -> None:
    film = save(tmp_path / "in/film0000.png", two_lungs(600, 600))
    for index in range(1, 400):
        os.link(film, tmp_path / f"in/film{index:04}.png")
    child = process("segment", "in", "--model", bundle, "--overlay")
    masks = tmp_path / "adaloraqat-masks"
    deadline = time.monotonic() + 30
    while len(written(masks)) < 6 and time.monotonic() < deadline:
        time.sleep(0.005)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert child.returncode == 130
    assert "Traceback" not in err
    assert "films are kept" in err
    assert written(masks)
    assert len(written(masks)) < 800
    for name in written(masks):
        assert not name.startswith(".")
        with Image.open(masks / name) as picture:
            picture.load()  # whole, or this raises
    assert set(out.split()) <= {f"adaloraqat-masks/{name}" for name in written(masks)}


def test_no_torch_and_quick_to_start(bundle: Path, tmp_path: Path) -> None:
    save(tmp_path / "film.png", two_lungs(512, 512))
    script = (
        "import sys; from adaloraqat.cli.main import app\n"
        f"sys.argv = ['adaloraqat', 'segment', 'film.png', '--model', {str(bundle)!r}, '--out', '.']\n"
        "try: app()\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "heavy = {'torch', 'transformers', 'peft', 'onnx', 'openvino', 'scipy', 'rich.progress', 'pydicom'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "film_mask.png").exists()
    # processor time, because wall time on a shared computer measures the others
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.5


@pytest.mark.skipif(
    "ADALORAQAT_FILMS" not in os.environ, reason="ADALORAQAT_FILMS names no folder of real films"
)
def test_real_dicom_files(run: Run, bundle: Path, tmp_path: Path) -> None:
    ended = run("segment", Path(os.environ["ADALORAQAT_FILMS"], "dicom"), "--model", bundle, "--json")
    assert ended.code == 1
    entries = results(ended)
    assert [name for name, entry in entries.items() if entry["error"]] == ["not_chest/RG3_JPLY.dcm"]
    for entry in entries.values():
        if entry["error"] is None:
            assert read_mask(tmp_path / entry["mask"]).shape == (entry["height"], entry["width"])
            if entry["spacing_mm"]:
                assert entry["area_mm2"] == pytest.approx(
                    entry["area_px"] * np.prod(entry["spacing_mm"]), rel=1e-3, abs=0.01
                )


def test_a_shipped_name_is_the_default(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from adaloraqat.bundle import shipped

    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path / "weights")
    write_tiny_bundle(tmp_path / "weights/lung-field", name="lung-field")
    save(tmp_path / "film.png")
    document = json.loads(run("segment", "film.png", "--json").out)
    assert (document["model"], document["notices"]) == ("lung-field", [])


@pytest.mark.parametrize("many", [(), ("--resume",)])
def test_the_first_wheel_alone_says_which_model_stands_in(
    run: Run, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: tuple[str, ...]
) -> None:
    from adaloraqat.bundle import shipped

    save(tmp_path / "film.png")
    assert (
        run("segment", "film.png", "--model", bundle, "--out", "warm", *many).code == 0
    )  # imports all it needs
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path / "weights")
    write_tiny_bundle(tmp_path / "weights/lung-open", name="lung-open")
    monkeypatch.setattr(shipped, "other_packages", lambda _=None: ())
    ended = run("segment", "film.png", "--json", *many)
    document = json.loads(ended.out)
    assert (ended.code, document["model"]) == (0, "lung-open")
    (notice,) = document["notices"]
    assert ended.err.splitlines()[0] == notice
    assert ended.err.count(notice) == 1
    assert "'lung-field' is not installed" in notice
    asked = run("segment", "film.png", "--model", "lung-field", "--out", "refused", *many)
    assert (asked.code, asked.out) == (2, "")
    assert "pip install ./packages/weights" in asked.err
    assert not (tmp_path / "refused").exists()
