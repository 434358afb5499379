"""Choices, short options, -v and -q, and completion: what every command has alike."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from adaloraqat.bundle.engine import ENGINES
from adaloraqat.bundle.format import WEIGHT_RANGES
from adaloraqat.cli import data, export, main, options, robustness, train
from adaloraqat.datasets.manifest import MASK_KINDS, SPLITS
from adaloraqat.datasets.phantom.site import PHANTOM_SITES
from adaloraqat.datasets.sources import SOURCES
from adaloraqat.radiograph.corrupt import CORRUPTIONS


def test_choices_are_what_the_rooms_know() -> None:
    from adaloraqat.quantize.policy import POLICIES
    from adaloraqat.training.trackers import TRACKERS

    engines = [name for runtime in ENGINES for name in (runtime, *with_devices(runtime))]
    assert list(options.EngineName) == engines
    assert list(options.Split) == [*SPLITS, "all"]
    assert list(options.Policy) == list(POLICIES)
    assert list(options.Precision) == [*POLICIES, "auto"]
    assert set(export.WeightRange) == set(WEIGHT_RANGES) - {"none"}
    assert list(robustness.CorruptionName) == list(CORRUPTIONS)
    assert list(data.SourceName) == list(SOURCES)
    assert list(data.MaskKind) == list(MASK_KINDS)
    assert list(data.Site) == list(PHANTOM_SITES)
    assert list(train.TrackerName) == list(TRACKERS)


def with_devices(runtime: str) -> list[str]:
    return [f"{runtime}:{device}" for device in ENGINES[runtime].devices]


@pytest.mark.parametrize(
    "arguments",
    [
        ("segment", "film.png", "--engine", "X"),
        ("segment", "film.png", "--prompt", "X"),
        ("evaluate", "lung-field", "--data", "m.csv", "-o", "out", "--split", "X"),
        ("robustness", "lung-field", "--data", "m.csv", "-o", "out", "--corruption", "X"),
        ("bench", "lung-field", "--engine", "X"),
        ("export", "run", "-o", "out", "--precision", "X"),
        ("export", "run", "-o", "out", "--weight-range", "X"),
        ("export", "run", "-o", "out", "--to", "X"),
        ("analyse", "run", "--data", "m.csv", "-o", "out", "--policy", "X"),
        ("data", "index", "X", "folder", "-o", "m.csv"),
        ("data", "index", "folder", "folder", "-o", "m.csv", "--mask", "X"),
        ("data", "export", "X", "m.csv", "-o", "out"),
        ("data", "phantom", "--count", 1, "-o", "out", "--site", "X"),
    ],
)
def test_a_choice_that_is_none_is_refused_with_those_there_are(run, tmp_path, arguments) -> None:
    ended = run(*arguments)
    assert ended.code == 2
    assert "'X' is not one of" in ended.err
    assert not list(tmp_path.iterdir())


def leaves() -> Iterator[tuple[str, typer.core.TyperCommand]]:
    """Every command with its whole name."""
    for name in main.COMMANDS:
        loaded = main._load(name)
        for own, leaf in getattr(loaded, "commands", {"": loaded}).items():
            yield f"{name} {own}".strip(), leaf


def test_every_command_has_the_same_short_options() -> None:
    for name, leaf in leaves():
        known = {spelling for parameter in leaf.params for spelling in parameter.opts}
        assert {"-v", "-q", "--verbose", "--quiet"} <= known, name
        assert ("--out" in known) == ("-o" in known), name
        assert "--install-completion" not in known, name


def test_short_help_is_help_and_of_one_style(run) -> None:
    for arguments in ((), ("segment",), ("data",), ("data", "split"), ("weights", "get")):
        short = run(*arguments, "-h")
        assert short.code == 0
        assert short.out == run(*arguments, "--help").out
        assert short.out.lstrip().startswith("Usage: ")
        assert "╭" not in short.out  # Rich's boxes: the other style


def test_quiet_leaves_results_and_verbose_tells_where_an_error_came_from(run, tmp_path) -> None:
    usual = run("data", "phantom", "--count", 10, "--size", 64, "-o", "films")
    assert usual.code == 0
    split = ("data", "split", "films/manifest.csv", "-o", "split.csv", "--no-duplicates", "--fresh")
    said, quiet, more = run(*split), run(*split, "-q"), run(*split, "-v")
    assert "train: 8 films" in said.err
    assert "train: 8 films" not in quiet.err
    assert "--no-duplicates" in quiet.err  # a warning
    assert quiet.out == said.out == more.out == "split.csv\n"
    assert more.err.startswith("adaloraqat ")
    wrong = ("data", "split", "none.csv", "-o", "x.csv")
    assert run(*wrong, "-q").err.count("\n") == 1
    shown = main_verbosely(wrong)
    assert "Traceback" in shown
    assert "ManifestError" in shown
    assert run(*wrong).err.count("\n") == 1  # one call's -v is not the next one's


def main_verbosely(arguments: tuple[str, ...]) -> str:
    from typer.testing import CliRunner

    return CliRunner().invoke(main.app, [*arguments, "-v"]).stderr


@pytest.fixture(scope="module")
def completion(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A program `adaloraqat`, and the script that it gives to bash."""
    program = tmp_path_factory.mktemp("program") / "adaloraqat"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m adaloraqat "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "_ADALORAQAT_COMPLETE": "source_bash"}
    ended = subprocess.run([program], env=environment, capture_output=True, text=True, check=True)
    return program, ended.stdout


@pytest.mark.parametrize(
    ("words", "offers"),
    [
        ("adaloraqat seg", "segment"),
        ("adaloraqat data ph", "phantom"),
        ("adaloraqat segment --prom", "--prompt"),
        ("adaloraqat segment film.png --prompt w", "whole"),
        ("adaloraqat data index qata", "qata_cov19"),
        ("adaloraqat segment film.png --engine openv", "openvino"),
        ("adaloraqat bench lung-fi", "lung-field"),
        ("adaloraqat weights path lite", "lite-medsam"),
    ],
)
def test_tab_completes_by_the_variable_that_shells_use(
    words: str, offers: str, completion: tuple[Path, str]
) -> None:
    program, script = completion
    ask = (
        f"{script}\nCOMP_WORDS=({words}); COMP_CWORD={len(words.split()) - 1}\n"
        f"_adaloraqat_completion '{program}'\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert offers in done.stdout.split("\n")


def test_a_group_does_not_offer_a_completion_that_nothing_answers(run) -> None:
    assert run("data", "--install-completion").code == 2
    assert get_command(main.app).params  # the whole command line offers it
    assert "--install-completion" in run("--help").out
