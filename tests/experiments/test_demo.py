"""The whole demo on a network of a few thousand weights: what it leaves, what it replaces, when it passes."""

import json
import math
import re
from html.parser import HTMLParser

import pytest
import yaml

from adaloraqat.bundle import load_bundle
from adaloraqat.cli.demo import summary
from adaloraqat.datasets.manifest import read_manifest
from adaloraqat.errors import OutputError, RecipeError
from adaloraqat.experiments.demo import DemoPlan, judge, run_demo
from adaloraqat.experiments.demo_results import MARKER, DemoFiles, claim
from adaloraqat.radiograph import read_mask
from adaloraqat.report.page import write_report
from adaloraqat.report.text import megabytes, signed
from adaloraqat.training.recipe import SHIPPED_RECIPES, parse_recipe


def recipe(*stages):
    document = yaml.safe_load((SHIPPED_RECIPES / "demo.yaml").read_text())
    document["base"] = {"architecture": "tiny"}
    first, second = document["stages"]
    first |= {"prune_at": [1], "r_max": 4, "r_target": 2}
    first["schedule"] |= {"epochs": 1, "steps_per_epoch": 2, "batch_size": 2}
    second["schedule"] |= {"epochs": 1, "steps_per_epoch": 1, "batch_size": 2}
    second["calibration_films"] = 2
    document["stages"] = [stage for stage in (first, second) if not stages or stage["name"] in stages]
    return parse_recipe(document)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    lines = []
    out = tmp_path_factory.mktemp("demo") / "demo"
    document = run_demo(recipe(), out, DemoPlan(films=6, size=64), report=lines.append)
    return document, DemoFiles.below(out), lines


def test_the_demo_goes_all_the_way_and_reports_its_steps(outcome):
    found, files, lines = outcome
    assert [line[:5] for line in lines if line.startswith("[")] == [f"[{n}/6]" for n in range(1, 7)]
    assert load_bundle(files.bundle).precision.policy == "int8"
    splits = {entry.split for entry in read_manifest(files.manifest)}
    assert splits == {"train", "val", "test"}
    masks = sorted(files.segmented.glob("*_mask.png"))
    assert len(masks) == found["films"]["test"] == len(list(files.segmented.glob("*_overlay.png")))
    assert read_mask(masks[0]).shape == (64, 64)
    assert 0 < files.figure.stat().st_size < 300_000


def test_its_numbers_are_those_of_the_evaluation_and_of_the_files(outcome):
    _, files, _ = outcome
    document = json.loads(files.numbers.read_text())
    evaluation = json.loads((files.evaluation / "evaluation.json").read_text())["models"]
    before, after, int8 = document["models"]
    for row in document["models"]:
        assert row["dice_no_box"] == evaluation[row["key"]]["phantom-bedside"]["no_box"]["dice_mean"]
    assert document["verdict"]["gain"] == pytest.approx(after["dice_no_box"] - before["dice_no_box"])
    assert int8["bytes"] == sum(path.stat().st_size for path in files.bundle.glob("*.onnx"))
    assert after["speedup"] == 1.0
    training = document["training"]
    assert training["components_after"] == sum(training["ranks"].values()) == 12
    assert training["components_before"] == 24


def test_two_steps_are_not_enough_and_the_verdict_says_so(outcome):
    found, files, _ = outcome
    assert not found["verdict"]["passed"]
    text = "\n".join(summary(found, files.folder))
    assert "NOT passed" in text
    following = text.splitlines()[-1].removeprefix("Next: ").split()
    assert following[1:2] == ["segment"]
    assert str(files.folder) not in text[text.index("Next: ") :]
    assert (files.folder.parent / following[2]).is_file()
    assert files.folder.parent / following[4] == files.bundle
    assert "Not passed." in files.report.read_text()


class _Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.addresses = set(), []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "srcset")]


def test_the_page_needs_nothing_else(outcome):
    _, files, _ = outcome
    page = files.report.read_text()
    links = _Links()
    links.feed(page)
    assert len(links.addresses) == 5 + 2  # one validation film's panels and two figures
    assert all(address.startswith("data:image/") for address in links.addresses)
    assert not links.tags & {"script", "link", "iframe", "object"}
    assert "@import" not in page
    assert "url(" not in page
    assert "://" not in re.sub(r"base64,[^\"]*", "", page)
    assert str(files.folder.parent) not in page + files.numbers.read_text()


def test_a_browser_opens_the_page_without_complaint(outcome, print_page):
    _, files, _ = outcome
    printed = print_page(files.report)
    assert printed.console == []
    assert 2 <= len(printed.sheets) <= 5


def test_a_passed_run_and_warnings_are_shown_and_escaped(outcome, tmp_path):
    found, _, _ = outcome
    document = found | {
        "verdict": found["verdict"] | {"passed": True, "failures": [], "gain": 0.0712},
        "warnings": ["stage1: <b>odd</b>"],
        "parity": {"measured": False},
    }
    write_report(tmp_path / "page.html", document, {"films": [], "curve": "data:,", "ranks": "data:,"})
    page = (tmp_path / "page.html").read_text()
    assert "<b>Passed.</b>" in page
    assert "+0.0712" in page
    assert "&lt;b&gt;odd&lt;/b&gt;" in page
    assert "Not measured." in page


def test_a_foreign_folder_and_half_a_recipe_are_refused_before_any_work(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("x")
    with pytest.raises(OutputError, match="not an earlier demo"):
        run_demo(recipe(), tmp_path / "mine")
    with pytest.raises(RecipeError, match="adalora stage and a quantize stage"):
        run_demo(recipe("stage1"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_numbers_are_written_for_people():
    assert megabytes(18_240_536) == "18.2 MB"
    assert megabytes(2_048) == "2.0 kB"
    assert megabytes(None) == "no file"
    assert signed(-0.01234) == "−0.0123"
    assert signed(0.05) == "+0.0500"


def test_a_new_and_an_empty_folder_are_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty", "deep/new"):
        claim(tmp_path / name)
        assert [path.name for path in (tmp_path / name).iterdir()] == [MARKER]


def test_a_former_demo_is_replaced_whole(tmp_path):
    folder = tmp_path / "demo"
    claim(folder)
    (folder / "films").mkdir()
    (folder / "films" / "a.png").write_bytes(b"old")
    (folder / "report.html").write_text("old")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (folder / "link").symlink_to(outside)
    claim(folder)
    assert [path.name for path in folder.iterdir()] == [MARKER]
    assert (outside / "kept").read_text() == "kept"  # a link is removed, not what it points to


def test_anything_else_is_left_alone(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="mine is not empty and is not an earlier demo"):
        claim(folder)
    assert (folder / "thesis.txt").read_text() == "years of work"
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(folder)
    for name in ("file", "link"):
        with pytest.raises(OutputError, match=f"{name} is not a plain folder"):
            claim(tmp_path / name)


def scores(dice, failed=0):
    return {
        "no_box": {"dice_mean": dice, "failed": failed},
        "true_box": {"dice_mean": 0.5, "failed": 0},
    }


@pytest.mark.parametrize(
    ("before", "after", "int8", "passed", "word"),
    [
        (0.80, 0.86, 0.86, True, ""),
        (0.80, 0.86, 0.855, True, ""),
        (0.80, 0.86, 0.90, True, ""),  # INT8 may be better
        (0.80, 0.84, 0.84, False, "Training"),
        (0.80, 0.86, 0.84, False, "INT8"),
        (0.90, 0.80, 0.80, False, "Training"),
        (math.nan, 0.86, 0.86, False, "Training"),
    ],
)
def test_both_conditions_decide(before, after, int8, passed, word):
    verdict = judge(scores(before), scores(after), scores(int8))
    assert verdict["passed"] is passed
    assert word in " ".join(verdict["failures"])


def test_a_failed_film_is_a_failure_even_with_good_means():
    verdict = judge(scores(0.5), scores(0.9), scores(0.9, failed=1))
    assert not verdict["passed"]
    assert "1 results failed" in verdict["failures"][0]
