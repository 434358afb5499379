"""Films that are missing or damaged, films that may not judge, and full disks, on the command line."""

import csv
import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from refusal import refused
from smallest import ARCHITECTURE

from adaloraqat.datasets.phantom import write_phantoms
from adaloraqat.radiograph import read_mask, write_mask

RECIPE = {
    "name": "small",
    "base": {"architecture": ARCHITECTURE},
    "stages": [
        {
            "name": "stage1",
            "kind": "adalora",
            "r_max": 2,
            "r_target": 2,
            "prune_at": [],
            "schedule": {"epochs": 1, "batch_size": 2, "steps_per_epoch": 1},
        }
    ],
}
POST_TRAINING = ("export", "run", "--out", "made", "--precision", "int8", "--data", "films/manifest.csv")
ALL = ("--data", "films/manifest.csv", "--split", "all", "--out", "scores")

Run = Callable[..., Any]
Row = dict[str, str]


@pytest.fixture
def films(here: Path) -> Path:
    return here / "films"


def rows(films: Path, split: str | None = None) -> list[Row]:
    with open(films / "manifest.csv", newline="") as stream:
        return [row for row in csv.DictReader(stream) if split in (None, row["split"])]


def give_splits(films: Path, **splits: str) -> None:
    """Write the manifest with each split named otherwise."""
    table = rows(films)
    with open(films / "manifest.csv", "w", newline="") as stream:
        writer = csv.DictWriter(stream, table[0])
        writer.writeheader()
        writer.writerows(row | {"split": splits.get(row["split"], row["split"])} for row in table)


def spoil(films: Path, *spoiled: Row) -> None:
    for row in spoiled:
        (films / row["path_image"]).write_text("no picture")


def remove(films: Path, *removed: Row) -> None:
    for row in removed:
        (films / row["path_image"]).unlink()


def document(folder: Path) -> Any:
    return json.loads((folder / "bundle.json").read_text())


def limit_files(size: int) -> Callable[[], None]:
    """A limit on the size of files stands in for a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


TRAIN = ("train", "r.yaml", "--data", "films/manifest.csv", "--out", "new")


@pytest.mark.parametrize("cache", [(), ("--cache", "cache")])
def test_train_goes_on_without_bad_films_and_names_all(
    cache: tuple[str, ...], here: Path, films: Path, run: Run
) -> None:
    first, second, third, *_ = rows(films, "train")
    last = rows(films, "val")[-1]
    spoil(films, second, last)
    remove(films, first)
    (films / third["path_mask"]).unlink()
    used = len(rows(films, "train") + rows(films, "val"))
    ended = run(*TRAIN, *cache)
    assert ended.code == 1, ended.err
    said = [line for line in ended.err.splitlines() if "cannot be used" in line]
    assert "3 of" in said[0]
    assert "1 of" in said[1]
    assert f"4 of {used} films" in said[-1]
    for row in (first, second, third):
        assert repr(row["id"]) in said[0]
    assert repr(last["id"]) in said[1]
    assert "they are skipped" in said[1]
    result = json.loads((here / "new/result.json").read_text())
    assert set(result["films"]["left_out"]) == {first["id"], second["id"], third["id"], last["id"]}
    assert "does not exist" in result["films"]["left_out"][first["id"]]
    assert result["films"]["train"] == len(rows(films, "train")) - 3
    assert result["films"]["val"] == len(rows(films, "val")) - 1
    assert str(here) not in json.dumps(result)
    again = run(*TRAIN, "--resume")
    assert again.code == 1
    assert "already finished" in again.err


def test_train_ends_where_a_split_has_no_film_left(here: Path, films: Path, run: Run) -> None:
    spoiled = rows(films, "val")
    spoil(films, *spoiled)
    ended = run(*TRAIN)
    assert ended.code == 2
    assert f"{len(spoiled)} of {len(spoiled)} films cannot be used" in ended.err.splitlines()[-1]
    assert not (here / "new").exists()


@pytest.mark.parametrize("stops", ["at the start", "before the result"])
def test_a_run_without_its_bad_films_is_resumed_without_them(
    stops: str, here: Path, films: Path, run: Run
) -> None:
    spoil(films, rows(films, "train")[1])
    longer = (*TRAIN, "--set", "stages.0.schedule.epochs=2")
    whole = [argument if argument != "new" else "whole" for argument in longer]
    assert run(*whole).code == 1
    shutil.copytree(here / "whole", here / "new")
    (here / "new/result.json").unlink()
    if stops == "at the start":
        for name in ("checkpoint.safetensors", "best.safetensors", "stages/stage1.safetensors"):
            (here / "new" / name).unlink()
    assert run(*longer, "--resume").code == 1
    one, other = (json.loads((here / name / "result.json").read_text()) for name in ("whole", "new"))
    assert one | {"timing": None} == other | {"timing": None}
    counts = [(here / name / "metrics.jsonl").read_text().count("\n") for name in ("whole", "new")]
    assert counts[0] == counts[1]


def test_other_films_are_another_run(films: Path, run: Run) -> None:
    """A film that was mended, splits that were swapped, another label file: all change what a run scores."""
    row, other, *_ = rows(films, "train")
    labels, image = films / row["path_labels"], films / other["path_image"]
    before = labels.read_bytes(), image.read_bytes()
    labels.unlink()
    spoil(films, other)
    ended = run(*TRAIN)
    assert ended.code == 1
    assert f"The label picture {labels.name} does not exist" in ended.err
    labels.write_bytes(before[0])
    refused(run(*TRAIN, "--resume"), "other films")
    labels.unlink()
    image.write_bytes(before[1])
    refused(run(*TRAIN, "--resume"), "other films")
    spoil(films, other)
    give_splits(films, train="val", val="train")
    refused(run(*TRAIN, "--resume"), "other films")
    give_splits(films, train="val", val="train")
    assert run(*TRAIN, "--resume").code == 1
    assert "already finished" in run(*TRAIN, "--resume").err


def test_masks_that_outline_nothing_are_refused(here: Path, films: Path, run: Run) -> None:
    for row in rows(films, "train"):
        write_mask(films / row["path_mask"], 0 * read_mask(films / row["path_mask"]))
    refused(run(*TRAIN), "All 7 training masks are empty")
    assert not (here / "new").exists()


def test_train_does_without_test_films_that_lie_elsewhere(films: Path, run: Run) -> None:
    give_splits(films, val="test", test="val")
    remove(films, *rows(films, "test"))
    assert run("train", "r.yaml", "--data", "films/manifest.csv", "--out", "new").code == 0


def test_export_goes_on_without_bad_films_and_says_which(here: Path, films: Path, run: Run) -> None:
    give_splits(films, test="val")
    calibrating, validating = rows(films, "train"), rows(films, "val")
    spoil(films, calibrating[0], validating[0])
    remove(films, validating[1])
    ended = run(*POST_TRAINING)
    assert ended.code == 1, ended.err
    said = [line for line in ended.err.splitlines() if "cannot be used" in line]
    assert len(said) == 2
    assert f"1 of {len(calibrating)} films" in said[0]
    assert repr(calibrating[0]["id"]) in said[0]
    assert f"2 of {len(validating)} films" in said[1]
    assert repr(validating[0]["id"]) in said[1]
    assert "they are skipped" in said[1]
    made = document(here / "made")
    assert made["metrics"]["validation"]["films"] == len(validating) - 2
    assert made["training"]["films_left_out"] == 3


@pytest.mark.slow  # as the export above, for each group of layers
def test_export_auto_names_a_bad_film_once(films: Path, run: Run) -> None:
    give_splits(films, test="val")
    spoil(films, rows(films, "train")[0], rows(films, "val")[0])
    auto = ["auto" if argument == "int8" else argument for argument in POST_TRAINING]
    ended = run(*auto, "--max-drop", "1")
    assert ended.code == 1, ended.err
    assert ended.err.count("cannot be used") == 2


def test_analyse_goes_on_without_bad_films(here: Path, films: Path, run: Run) -> None:
    give_splits(films, test="val")
    validating = rows(films, "val")
    spoil(films, rows(films, "train")[0])
    remove(films, validating[0])
    ended = run(
        "analyse",
        "run",
        "--data",
        "films/manifest.csv",
        "--out",
        "seen",
        "--policy",
        "int8",
        "--max-drop",
        "1",
    )
    assert ended.code == 1, ended.err
    counts = json.loads((here / "seen/analysis.json").read_text())["films"]
    assert set(counts["left_out"]) == {rows(films, "train")[0]["id"], validating[0]["id"]}
    assert counts["validation"] == len(validating) - 1


@pytest.mark.parametrize("split", ["train", "val"])
def test_export_ends_where_no_film_is_left(split: str, here: Path, films: Path, run: Run) -> None:
    spoiled = rows(films, split)
    spoil(films, *spoiled)
    ended = run(*POST_TRAINING)
    assert ended.code == 2
    assert f"{len(spoiled)} of {len(spoiled)} films cannot be used" in ended.err.splitlines()[-1]
    assert not (here / "made").exists()


def test_films_that_trained_never_validate(here: Path, films: Path, run: Run) -> None:
    """They calibrate, and what they would say of the bundle is said not to be measured."""
    give_splits(films, val="train", test="train")
    ended = run(*POST_TRAINING)
    assert ended.code == 0, ended.err
    assert "not measured" in ended.err
    made = document(here / "made")
    assert made["metrics"] == {}
    assert made["parity"] == {"measured": False}
    assert made["training"]["post_training_quantisation"]
    assert not made["prompt"]["second_pass"]
    assert not made.get("smallest_part")


def test_films_of_no_split_validate_beside_training_films(here: Path, films: Path, run: Run) -> None:
    give_splits(films, val="", test="")
    assert run(*POST_TRAINING).code == 0
    assert document(here / "made")["metrics"]["validation"]["films"] == len(rows(films, ""))


def test_evaluate_scores_the_others_and_names_the_missing(here: Path, films: Path, run: Run) -> None:
    missing, maskless, damaged, *others = rows(films)
    remove(films, missing)
    (films / maskless["path_mask"]).unlink()
    spoil(films, damaged)
    ended = run("evaluate", "run", *ALL, "--json")
    assert ended.code == 1
    for row in (missing, maskless, damaged):
        assert repr(row["id"]) in ended.err.splitlines()[-1]
    assert "6 results of 3 films" in ended.err
    with open(here / "scores/films.csv", newline="") as stream:
        scores = [row for row in csv.DictReader(stream) if row["prompt"] == "no_box"]
    failed = {row["id"]: row["error"] for row in scores if row["failed"] == "True"}
    assert set(failed) == {missing["id"], maskless["id"], damaged["id"]}
    assert "does not exist" in failed[missing["id"]]
    assert {row["dice"] for row in scores if row["id"] in failed} == {"0.0"}
    assert {row["id"] for row in scores} - set(failed) == {row["id"] for row in others}
    (numbers,) = json.loads(ended.out)["models"]["run-stage1"].values()
    assert (numbers["no_box"]["films"], numbers["no_box"]["failed"]) == (10, 3)
    assert len(json.loads(ended.out)["fingerprint"]) == 64


def test_evaluate_names_the_first_few_of_many_failed_films(films: Path, run: Run) -> None:
    spoil(films, *rows(films)[:5])
    ended = run("evaluate", "run", *ALL)
    assert ended.code == 1
    assert f"({', '.join(repr(row['id']) for row in rows(films)[:3])} and 2 more)" in ended.err


def test_evaluate_refuses_a_manifest_of_which_no_film_is_there(here: Path, films: Path, run: Run) -> None:
    remove(films, *rows(films))
    refused(run("evaluate", "run", *ALL), "row 2 of manifest.csv", "does not exist")
    assert not (here / "scores").exists()


def test_robustness_scores_the_others_and_names_the_missing(
    here: Path, films: Path, run: Run, bundle: Path
) -> None:
    missing, damaged, *_ = rows(films)
    remove(films, missing)
    spoil(films, damaged)
    ended = run("robustness", bundle, *ALL, "--corruption", "inverted", "--json")
    assert ended.code == 1, ended.err
    # on the clean film no box, the true one and three jitters of it; inverted, no box and the true one
    assert "14 results of 2 films" in ended.err.splitlines()[-1]
    assert repr(missing["id"]) in ended.err.splitlines()[-1]
    assert "see films.jsonl for the reasons" in ended.err
    assert "does not exist" in (here / "scores/films.jsonl").read_text()
    for row in json.loads(ended.out)["rows"]:
        assert (row["films"], row["failed"], row["dice_worst"]) == (10, 2, 0)
    again = run("robustness", bundle, *ALL, "--corruption", "inverted", "--json")
    assert (again.code, again.out) == (1, ended.out)


@pytest.mark.slow  # `evaluate` scores, and a page is drawn three times
def test_report_scores_the_others_and_names_the_missing(
    here: Path, films: Path, run: Run, bundle: Path
) -> None:
    scored = rows(films, "test")
    give_splits(films, val="test")
    missing = rows(films, "test")[0]
    whole = (films / missing["path_image"]).read_bytes()
    remove(films, missing)
    table = {"name": "t", "title": "T", "reference": "a", "columns": ["dice", "hd95"]}
    table["rows"] = [{"name": "a", "model": str(bundle)}]
    (here / "t.yaml").write_text(yaml.safe_dump(table))
    report = ("report", "t.yaml", "--data", "films/manifest.csv", "--out", "out")
    ended = run(*report)
    assert ended.code == 1, ended.err
    assert "2 results of 1 film failed" in ended.err.splitlines()[-1]
    assert repr(missing["id"]) in ended.err.splitlines()[-1]
    blocks = json.loads((here / "out/table.json").read_text())["blocks"]
    assert len(rows(films, "test")) > len(scored)
    for block in blocks:
        assert (block["rows"][0]["films"], block["rows"][0]["failed"]) == (len(rows(films, "test")), 1)
    page = (here / "out/report.html").read_text()
    assert missing["id"] in page
    assert "does not exist" in page
    again = run(*report)
    assert again.code == 1
    assert "scoring" not in again.err
    (films / missing["path_image"]).write_bytes(whole)
    assert run(*report).code == 0  # put back, it is scored


@pytest.mark.parametrize("command", ["robustness", "report"])
def test_no_film_at_all_is_a_wrong_manifest(
    command: str, here: Path, films: Path, run: Run, bundle: Path
) -> None:
    remove(films, *rows(films))
    table = {"name": "t", "title": "T", "reference": "a", "rows": [{"name": "a", "model": str(bundle)}]}
    (here / "t.yaml").write_text(yaml.safe_dump(table))
    subject = bundle if command == "robustness" else "t.yaml"
    ended = run(command, subject, "--data", "films/manifest.csv", "--out", "scores")
    refused(ended, "row 2 of manifest.csv", "does not exist")
    assert not (here / "scores").exists()


def test_a_full_disk_is_no_bad_model(here: Path, process: Run, bundle: Path) -> None:
    child = process("evaluate", bundle, *ALL, preexec_fn=limit_files(50))
    out, err = child.communicate(timeout=60)
    assert child.returncode == 2, err
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "_mask.png cannot be written" in err
    assert not (here / "scores/evaluation.json").exists()
    assert not [path for path in (here / "scores").rglob("*") if path.is_file()]


def test_no_room_for_a_corrupted_film_is_no_bad_model(here: Path, process: Run, bundle: Path) -> None:
    write_phantoms(here / "large", 1, seed=1, size=512)
    asked = ("--data", "large/manifest.csv", "--split", "all", "--out", "scores", "--corruption", "noisy")
    child = process("robustness", bundle, *asked, preexec_fn=limit_files(20_000))
    out, err = child.communicate(timeout=60)
    assert child.returncode == 2, err
    assert out == ""
    assert "temporary files cannot hold a film" in err.splitlines()[-1]
    assert not (here / "scores/robustness.json").exists()
    child = process("robustness", bundle, *asked)
    assert child.communicate(timeout=60)[0]
    assert child.returncode == 0


LONG = "n" * 300


@pytest.mark.parametrize("name", [LONG, "loop", "loop/inside"])
@pytest.mark.parametrize(
    "command",
    [
        ("train", "{}", "--data", "films/manifest.csv", "--out", "new"),
        ("train", "r.yaml", "--data", "{}", "--out", "new"),
        ("train", "r.yaml", "--data", "films/manifest.csv", "--out", "{}"),
        ("train", "r.yaml", "--data", "films/manifest.csv", "--out", "new", "--set", "base={{weights: {}}}"),
        ("export", "{}", "--out", "new"),
        ("export", "run", "--out", "{}"),
        ("evaluate", "{}", *ALL),
        ("info", "{}"),
    ],
)
def test_a_name_that_no_file_can_have_is_one_sentence(
    command: tuple[str, ...], name: str, here: Path, run: Run
) -> None:
    (here / "loop").symlink_to("loop")
    ended = run(*(part.format(name) for part in command))
    assert ended.code == 2
    assert len(ended.err.strip().splitlines()) == 1, ended.err
    assert len(ended.err) < 400 + len(LONG)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("result.json", {}),
        ("result.json", []),
        ("result.json", {"films": {}, "stages": []}),
        ("result.json", {"films": 1, "stages": 2}),
        ("data.json", []),
        ("data.json", {}),
    ],
)
def test_damaged_documents_of_a_run_are_one_sentence(
    name: str, content: Any, here: Path, films: Path, run: Run
) -> None:
    assert run(*TRAIN).code == 0
    (here / "new" / name).write_text(json.dumps(content))
    refused(run(*TRAIN, "--resume"), "is damaged")
