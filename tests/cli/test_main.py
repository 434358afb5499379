import json
import os
import pty
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiny_bundle import two_lungs, write_tiny_bundle

import adaloraqat
from adaloraqat.cli import main
from adaloraqat.extras import EXTRAS

Run = Callable[..., Any]


def test_help_lists_every_command_without_importing_one(run: Run) -> None:
    before = set(sys.modules)
    ended = run("--help")
    assert ended.code == 0
    for name, entry in main.COMMANDS.items():
        assert name in ended.out
        assert entry.summary[:40] in ended.out
    assert not {entry.module for entry in main.COMMANDS.values()} & (set(sys.modules) - before)


def test_version(run: Run) -> None:
    assert run("--version").out.startswith("adaloraqat ")


def test_misspelt_commands_are_usage_errors(run: Run) -> None:
    ended = run("segmet")
    assert ended.code == 2
    assert "Did you mean 'segment'?" in ended.err


@pytest.mark.parametrize(
    ("module", "extra"), [("torch", "train"), ("scipy", "evidence"), ("monai", "baselines")]
)
def test_a_missing_package_is_one_sentence_with_its_extra(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: str, extra: str
) -> None:
    (tmp_path / f"needs_{module}_zzz.py").write_text(f"import {module}.zzz_missing\ndef train(): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(main.COMMANDS, "train", main.Command(f"needs_{module}_zzz", "train", "-"))
    monkeypatch.setitem(sys.modules, module, None)
    ended = run("train")
    assert ended.code == 2
    assert f"needs {module}" in ended.err
    assert f"pip install '.[{extra}]' in a clone" in ended.err
    assert ended.err.count("\n") == 1


def test_extras_are_those_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert {*project["optional-dependencies"]} - {"dev", "docs", "release"} == {*EXTRAS}


def test_ctrl_c_in_any_command(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "interrupted_zzz.py").write_text("def train():\n    raise KeyboardInterrupt\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(main.COMMANDS, "train", main.Command("interrupted_zzz", "train", "-"))
    ended = run("train")
    assert ended.code == 130
    assert ended.err.startswith("Stopped by Ctrl-C")


def test_a_bar_on_a_terminal_and_plain_lines_elsewhere(
    process: Callable[..., Any], bundle: Path, tmp_path: Path
) -> None:
    for index in range(3):
        Image.fromarray(two_lungs()).save(tmp_path / f"film{index}.png")
    terminal, child_end = pty.openpty()
    child = process("segment", ".", "--model", bundle, stderr=child_end, env={**os.environ, "TERM": "xterm"})
    os.close(child_end)
    shown = b""
    try:
        while chunk := os.read(terminal, 4096):
            shown += chunk
    except OSError:
        pass  # how a terminal whose other end is closed says so
    os.close(terminal)
    child.communicate(timeout=60)
    assert child.returncode == 0
    assert b"films" in shown
    child = process("segment", ".", "--model", bundle)
    assert not any(line for line in child.communicate(timeout=60)[1].splitlines() if " films" not in line)


def test_info_of_this_computer(run: Run) -> None:
    document = json.loads(run("info", "--json").out)
    assert document["cpu"]
    assert document["vnni"] in (True, False, None)
    assert document["versions"]["onnxruntime"]
    assert isinstance(document["models"], dict)


def test_info_of_a_bundle(run: Run, bundle: Path) -> None:
    document = json.loads(run("info", bundle, "--json").out)
    assert document["name"] == "tiny"
    assert document["files"]["encoder.onnx"] == (bundle / "encoder.onnx").stat().st_size
    assert document["files"]["total"] == sum(path.stat().st_size for path in bundle.iterdir())
    products = document["matrix_products"]
    assert products["onnxruntime"]["encoder"]["integer_operators"] == {"QLinearMatMul": 1}
    assert products["openvino"]["encoder"]["integer"] == 1
    assert products["onnxruntime"]["decoder"]["integer"] == 0
    assert "QLinearMatMul: 1" in run("info", bundle).out


def test_info_counts_the_modules_of_a_bundle_unless_asked_for_each(run: Run, tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "tiny").folder
    document = json.loads((bundle / "bundle.json").read_text())
    modules = {"neck.conv1": "int8 per channel", "neck.conv2": "int8 per channel", "tokens": "float32"}
    document["precision"]["modules"] = modules
    (bundle / "bundle.json").write_text(json.dumps(document))
    short, full = run("info", bundle).out, run("info", bundle, "--verbose").out
    assert "\n  modules:\n    int8 per channel: 2\n    float32: 1\n" in short
    assert "neck.conv1" not in short
    assert all(f"\n    {name}: {how}\n" in full for name, how in modules.items())
    assert json.loads(run("info", bundle, "--json").out)["precision"]["modules"] == modules


def test_info_of_nothing_known(run: Run) -> None:
    ended = run("info", "no-such-thing")
    assert ended.code == 2
    assert ended.err.count("\n") == 1


def test_bench_sets_bundles_side_by_side(run: Run, bundle: Path, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "plain")
    ended = run("bench", bundle, "plain", "--json", "--repeats", 3)
    assert ended.code == 0
    document = json.loads(ended.out)
    assert list(document["candidates"]) == ["tiny", "plain"]
    assert document["candidates"]["tiny"]["speedup"] == 1
    for name, folder in (("tiny", bundle), ("plain", tmp_path / "plain")):
        row = document["candidates"][name]
        assert row["milliseconds"] >= row["milliseconds_least"] > 0
        assert row["bytes"]["encoder.onnx"] == (folder / "encoder.onnx").stat().st_size
    assert document["cpu"]
    ended = run("bench", bundle, bundle, "--engine", "onnxruntime", "--engine", "openvino", "--repeats", 1)
    assert ended.out.count("tiny (onnxruntime)") == 2
    assert ended.out.count("tiny (openvino)") == 2
    assert run("bench", "no-such").code == 2


@pytest.mark.slow
def test_info_of_an_architecture(run: Run) -> None:
    pytest.importorskip("torch")
    document = json.loads(run("info", "vit-b", "--json").out)
    assert document["stage_1"]["matrices"] == 36
    assert document["stage_1"]["components"] == 1152


def test_ctrl_c_while_the_program_is_still_being_loaded() -> None:
    script = (
        "import sys, adaloraqat.__main__ as entry\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'typer': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "assert 'numpy' not in sys.modules and 'typer' not in sys.modules\n"
        "entry.main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "Stopped by Ctrl-C.\n")


def test_the_package_runs_as_a_module() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "adaloraqat", "--version"], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, f"adaloraqat {adaloraqat.__version__}\n")
