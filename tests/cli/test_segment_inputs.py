"""Films and folders as people really have them: UIDs as names, closed folders, links, names of any bytes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from permissions import obey_permissions
from PIL import Image
from tiny_bundle import two_lungs

from adaloraqat.cli.options import MOST_THREADS
from adaloraqat.datasets.phantom import write_phantoms
from adaloraqat.radiograph import read_mask

Run = Callable[..., Any]
LONG = "x" * 300


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(two_lungs()).save(path, format="PNG")
    return path


def written(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def errors(document: str) -> dict[str, str | None]:
    return {entry["path"]: entry["error"] for entry in json.loads(document)["results"]}


@pytest.fixture
def dicoms(tmp_path: Path) -> list[Path]:
    write_phantoms(tmp_path / "drawn", 4, size=64, dicom=True)
    return sorted((tmp_path / "drawn/images").glob("*.dcm"))


def test_every_film_of_a_folder_named_by_uids_has_its_mask(
    run: Run, bundle: Path, tmp_path: Path, dicoms: list[Path]
) -> None:
    names = ["1.2.840.1.1", "1.2.840.1.2", "IM.0001", "IM.0002"]
    (tmp_path / "uid").mkdir()
    for film, name in zip(dicoms, names, strict=True):
        film.rename(tmp_path / "uid" / name)
    save(tmp_path / "uid/ward.7/film.v2.PNG")
    ended = run("segment", "uid", "--model", bundle, "--out", "out")
    assert ended.code == 0, ended.err
    masks = [f"{name}_mask.png" for name in names]
    assert written(tmp_path / "out") == [*masks, "ward.7/film.v2_mask.png"]
    assert run("segment", "uid/IM.0002", "--model", bundle, "--out", "alone").code == 0
    assert (tmp_path / "alone" / masks[3]).read_bytes() == (tmp_path / "out" / masks[3]).read_bytes()


def test_the_index_of_a_dicom_medium_is_no_film(
    run: Run, bundle: Path, tmp_path: Path, dicoms: list[Path]
) -> None:
    from pydicom.data import get_testdata_file

    disc = tmp_path / "disc"
    disc.mkdir()
    for number, film in enumerate(dicoms[:2]):
        film.rename(disc / f"IM{number:06}")
    shutil.copy(str(get_testdata_file("DICOMDIR", download=False)), disc)  # comes with pydicom
    ended = run("segment", "disc", "--model", bundle, "--json")
    assert ended.code == 0, ended.err
    assert list(errors(ended.out).values()) == [None, None]
    assert run("segment", "disc/DICOMDIR", "--model", bundle).code == 2


def test_links_in_a_circle_and_names_too_long_cost_no_other_film(
    run: Run, bundle: Path, tmp_path: Path
) -> None:
    save(tmp_path / "in/good.png")
    for name in ("loop.png", "round.dcm", "loop"):
        (tmp_path / "in" / name).symlink_to(name)
    ended = run("segment", "in", "in/loop.png", f"{LONG}.png", "--model", bundle, "--json")
    assert ended.code == 1
    told = errors(ended.out)
    assert {name for name, error in told.items() if error} == {
        *("loop.png", "round.dcm", "in/loop.png", f"{LONG}.png")
    }
    assert all("cannot be opened" in error for error in told.values() if error)
    assert written(tmp_path / "adaloraqat-masks") == ["good_mask.png"]
    ended = run("segment", f"{LONG}.png", "--model", bundle)
    assert (ended.code, ended.err.count("\n")) == (2, 1)


@pytest.mark.parametrize("model", [LONG, "loop"])
def test_a_model_that_is_no_path(run: Run, tmp_path: Path, model: str) -> None:
    save(tmp_path / "film.png")
    (tmp_path / "loop").symlink_to("loop")
    ended = run("segment", "film.png", "--model", model)
    assert (ended.code, ended.err.count("\n")) == (2, 1)


def test_closed_folders_are_told_and_the_other_films_done(process: Run, bundle: Path, tmp_path: Path) -> None:
    save(tmp_path / "in/good.png")
    save(tmp_path / "in/list only/film.png")
    save(tmp_path / "in/locked/film.png")
    save(tmp_path / "shut/film.png")
    save(tmp_path / "in/closed")
    modes = {"in/list only": 0o444, "in/locked": 0, "shut": 0, "in/closed": 0}
    for name, mode in modes.items():
        (tmp_path / name).chmod(mode)
    try:
        calls = {
            ("in", "shut", "shut/film.png", "--model", bundle, "--json"): 1,
            ("in/locked", "--model", bundle): 2,
            ("in/good.png", "--model", "shut/model"): 2,
        }
        for arguments, code in calls.items():
            child = process("segment", *arguments, preexec_fn=obey_permissions)
            out, err = child.communicate(timeout=60)
            assert child.returncode == code, err
            assert "Traceback" not in err
            assert code == 1 or (err.count("\n") == 1 and "cannot be opened (Permission denied)" in err)
            if code == 1:
                told = errors(out)
                refused = {"locked", "list only/film.png", "closed", "shut", "shut/film.png"}
                assert {name for name, error in told.items() if error} == refused
                assert all("Permission denied" in told[name] for name in refused)
        assert written(tmp_path / "adaloraqat-masks") == ["good_mask.png"]
        script = "from adaloraqat.radiograph import find_films; find_films('in')"
        from_python = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            preexec_fn=obey_permissions,
            check=False,
        )
        assert "FilmError: locked cannot be opened (Permission denied)" in from_python.stderr
    finally:
        for name in modes:
            (tmp_path / name).chmod(0o755)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names of files are Unicode")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8:strict", "latin-1:strict", "ascii:surrogateescape"])
def test_names_of_any_bytes(process: Run, bundle: Path, tmp_path: Path, encoding: str) -> None:
    names = [os.fsdecode(name) for name in (b"bad\xff.png", "grün.png".encode(), b"good.png")]
    for name in names:
        save(tmp_path / "in" / name)
    (tmp_path / "in" / os.fsdecode(b"text\xfe.png")).write_text("no film")
    settings = {"text": False, "env": {**os.environ, "PYTHONIOENCODING": encoding}}
    child = process("segment", "in", "--model", bundle, "--json", **settings)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 1, err
    assert b"text\\udcfe.png" in err
    assert b"bad\\udcff.png" in out
    told = errors(out.decode("latin-1" if encoding.startswith("latin") else "utf-8"))
    assert [name for name, error in told.items() if not error] == sorted(names)
    child = process("segment", "in", "--model", bundle, **settings)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 1
    assert b"adaloraqat-masks/bad\\udcff_mask.png" in out.splitlines()
    assert len(out.splitlines()) == 3
    for name in names:
        assert read_mask(tmp_path / "adaloraqat-masks" / name.replace(".png", "_mask.png")).any()


def test_an_empty_name_is_not_this_folder(run: Run, bundle: Path, tmp_path: Path) -> None:
    save(tmp_path / "film.png")
    for arguments in (("",), ("film.png", ""), ("film.png", "--out", "")):
        ended = run("segment", *arguments, "--model", bundle)
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert "empty path" in ended.err
    assert written(tmp_path) == ["film.png"]


@pytest.mark.parametrize("threads", ["100000", "99999999999999999999"])
def test_more_threads_than_any_computer_runs_are_refused(
    run: Run, bundle: Path, tmp_path: Path, threads: str
) -> None:
    save(tmp_path / "film.png")
    commands = {
        "segment": ("film.png", "--model", bundle),
        "bench": (bundle,),
        "train": ("r.yaml", "--data", "m.csv", "--out", "run"),
        "analyse": ("run", "--data", "m.csv", "--out", "out"),
        "report": ("t.yaml", "--data", "m.csv", "--out", "out"),
        "demo": (),
    }
    for command, arguments in commands.items():
        ended = run(command, *arguments, "--threads", threads)
        assert ended.code == 2
        assert str(MOST_THREADS) in ended.err, ended.err
