"""`data audit` and `data split` as a user calls them, on phantoms with planted copies."""

import csv
import json
import shutil
import signal
from pathlib import Path

import pytest
from PIL import Image, ImageEnhance

from adaloraqat.datasets.manifest import read_manifest


@pytest.fixture
def site(tmp_path: Path, run) -> Path:
    """Eight phantoms without faults, in `site/`, with their manifest."""
    assert run("data", "phantom", "--count", 8, "--size", 128, "--seed", 3, "--out", "site").code == 0
    return tmp_path / "site"


def add_row(manifest: Path, image: Path, name: str, split: str) -> None:
    """Append a film to a manifest, with the mask of its first film."""
    with open(manifest, newline="") as stream:
        rows = list(csv.DictReader(stream))
    row = dict(rows[0]) | {"id": name, "patient_id": name, "split": split, "path_labels": ""}
    row["path_image"] = str(image.relative_to(manifest.parent))
    with open(manifest, "w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows([*rows, row])


def plant(site: Path, split: str = "") -> str:
    """Plant a brightened JPEG of the first film; return the first film's id."""
    first = read_manifest(site / "manifest.csv")[0]
    with Image.open(first.path_image) as film:
        ImageEnhance.Brightness(film.convert("L")).enhance(1.2).save(site / "images" / "copy.jpg", quality=85)
    add_row(site / "manifest.csv", site / "images" / "copy.jpg", "copy", split)
    return first.id


def test_a_clean_set_has_no_findings(run, site):
    ended = run("data", "audit", "site/manifest.csv", "--out", "report", "--strict")
    assert ended.code == 0, ended.err
    assert ended.out.split() == ["report/audit.json", "report/audit.csv", "report/audit.html"]
    document = json.loads(Path("report/audit.json").read_text())
    assert (document["duplicates"], document["split_leaks"], document["problems"]) == ([], [], [])
    assert document["counts"]["films"] == 8
    assert "8 films audited (0 unreadable), 0 findings" in ended.err


def test_a_planted_copy_a_leak_and_a_broken_file_are_reported(run, site):
    first = read_manifest(site / "manifest.csv")[0]
    assert plant(site, "test" if first.split != "test" else "train") == first.id
    (site / "images" / "broken.png").write_bytes(b"\x89PNG broken")
    add_row(site / "manifest.csv", site / "images" / "broken.png", "broken", "")
    ended = run("data", "audit", "site/manifest.csv", "--out", "report")
    assert ended.code == 0  # it could look
    document = json.loads(Path("report/audit.json").read_text())
    (pair,) = document["duplicates"]
    assert ({pair["a"], pair["b"]}, pair["kind"]) == ({first.id, "copy"}, "near")
    (leak,) = document["split_leaks"]
    assert sorted(leak["films"]) == sorted([first.id, "copy"])
    assert leak["splits"] == sorted(leak["splits"], key=["train", "val", "test"].index)
    assert [(p["id"], p["kind"]) for p in document["problems"]] == [("broken", "image-unreadable")]
    rows = csv.DictReader(Path("report/audit.csv").read_text().splitlines())
    findings = [row["finding"] for row in rows if row["finding"] != "look-alike"]
    assert findings == ["duplicate", "split leak", "problem"]
    page = Path("report/audit.html").read_text()
    assert page.count("data:image/jpeg;base64,") >= 2
    assert "http" not in page.replace("http-equiv", "")
    assert "image-unreadable" in page
    assert run("data", "audit", "site/manifest.csv", "--out", "report", "--strict").code == 1


def test_copies_across_manifests(run, site):
    shutil.copytree(site, "other")
    ended = run("data", "audit", "site/manifest.csv", "other/manifest.csv", "--out", "report")
    assert ended.code == 0
    document = json.loads(Path("report/audit.json").read_text())
    assert document["counts"]["duplicates"] == {"exact": 8}
    assert {pair["a"].split(":")[0] for pair in document["duplicates"]} == {"other/manifest"}
    assert [found["name"] for found in document["manifests"]] == ["site/manifest", "other/manifest"]


def test_nothing_can_be_done(run, site):
    ended = run("data", "audit", "none.csv", "--out", "report")
    assert ended.code == 2
    assert "no manifest none.csv" in ended.err
    assert not Path("report").exists()


def empty_splits(manifest: Path) -> None:
    with open(manifest, newline="") as stream:
        rows = list(csv.DictReader(stream))
    with open(manifest, "w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "split": ""} for row in rows)


@pytest.mark.parametrize("way", ["compared", "stored"])
def test_split_keeps_copies_together(run, site, way):
    original = plant(site)
    empty_splits(site / "manifest.csv")
    options: list[object] = []
    if way == "stored":
        run("data", "audit", "site/manifest.csv", "--out", "report")
        options = ["--duplicates", "report/audit.json"]
    for seed in range(3):
        ended = run("data", "split", "site/manifest.csv", "--out", "site/split.csv", "--seed", seed, *options)
        assert ended.code == 0, ended.err
        assert "Pairs of copies kept together: 1" in ended.err
        splits = {entry.id: entry.split for entry in read_manifest(site / "split.csv")}
        assert splits[original] == splits["copy"]


def test_sources_that_share_films_are_divided_together(run, site):
    shutil.copytree(site, "other")
    empty_splits(site / "manifest.csv")
    empty_splits(Path("other/manifest.csv"))
    text = Path("other/manifest.csv").read_text().replace("phantom-standard", "elsewhere")
    Path("other/manifest.csv").write_text(text)
    ended = run("data", "split", "site/manifest.csv", "other/manifest.csv", "--out", "both.csv")
    assert ended.code == 0, ended.err
    splits = {entry.id: entry.split for entry in read_manifest("both.csv")}
    assert len(splits) == 16
    for name, split in splits.items():
        place, _, own = name.partition(":")
        twin = {"site/manifest": "other/manifest", "other/manifest": "site/manifest"}[place]
        assert splits[f"{twin}:{own}"] == split


def test_split_refuses_what_leaks_and_says_which(run, site):
    first = read_manifest(site / "manifest.csv")[0]
    plant(site, "test" if first.split != "test" else "train")
    ended = run("data", "split", "site/manifest.csv", "--out", "split.csv")
    assert ended.code == 2
    assert f"'{first.id}'" in ended.err
    assert "'copy'" in ended.err
    assert not Path("split.csv").exists()
    ended = run("data", "split", "site/manifest.csv", "--out", "split.csv", "--no-duplicates")
    assert ended.code == 0
    assert "may end up in different splits" in ended.err


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (("--fractions", "nan,0,1"), "three numbers"),
        (("--external", "nowhere"), "'nowhere'"),
        (("--out", "site"), "site is a folder"),
    ],
)
def test_split_refuses_what_it_can_before_it_compares(run, site, monkeypatch, option, says):
    def compared(*_: object) -> None:
        pytest.fail("the films were compared first, which takes as long as reading them")

    monkeypatch.setattr("adaloraqat.cli.data.duplicate_pairs", compared)
    ended = run("data", "split", "site/manifest.csv", "--out", "split.csv", *option)
    assert ended.code == 2
    assert says in ended.err


def test_an_external_source_and_a_wrong_audit(run, site):
    empty_splits(site / "manifest.csv")
    ended = run("data", "split", "site/manifest.csv", "--out", "x.csv", "--external", "phantom-standard")
    assert ended.code == 0
    assert {entry.split for entry in read_manifest("x.csv")} == {"test"}
    Path("a.json").write_text("[]")
    ended = run("data", "split", "site/manifest.csv", "--out", "y.csv", "--duplicates", "a.json")
    assert ended.code == 2
    assert "a.json is not an audit.json" in ended.err


def test_films_with_a_split_keep_it_unless_divided_afresh(run, site):
    before = [entry.split for entry in read_manifest(site / "manifest.csv")]
    ended = run("data", "split", "site/manifest.csv", "--out", "x.csv", "--seed", 1)
    assert "8 of 8 films keep the split they have" in ended.err
    assert [entry.split for entry in read_manifest("x.csv")] == before
    ended = run("data", "split", "site/manifest.csv", "--out", "x.csv", "--fresh", "--fractions", "0,0,1")
    assert ended.code == 0
    assert {entry.split for entry in read_manifest("x.csv")} == {"test"}


def test_split_says_which_films_it_could_not_compare(run, site):
    (site / "images" / "broken.png").write_bytes(b"\x89PNG broken")
    add_row(site / "manifest.csv", site / "images" / "broken.png", "broken", "")
    ended = run("data", "split", "site/manifest.csv", "--out", "x.csv")
    assert ended.code == 0
    assert "broken.png is" in ended.err
    assert "Films that cannot be read, so that their copies cannot be found: 1" in ended.err
    assert len(read_manifest("x.csv")) == 9


def test_an_audit_of_several_manifests_serves_their_split(run, site):
    shutil.copytree(site, "other")
    run("data", "audit", "site/manifest.csv", "other/manifest.csv", "--out", "report")
    ended = run(
        "data", "split", "site/manifest.csv", "other/manifest.csv", "--out", "both.csv", "--fresh",
        "--duplicates", "report/audit.json",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert "Pairs of copies kept together: 8" in ended.err
    assert "a different number of films" not in ended.err


def test_an_audit_is_not_written_into_a_file(run, site):
    ended = run("data", "audit", "site/manifest.csv", "--out", "site/manifest.csv")
    assert ended.code == 2
    assert "manifest.csv is a file" in ended.err
    assert "films audited" not in ended.err


@pytest.mark.slow  # an audit of many films
def test_ctrl_c_leaves_nothing_half_written(process, tmp_path, run):
    run("data", "phantom", "--count", 70, "--size", 128, "--out", "site")
    with open("site/manifest.csv") as stream:
        rows = list(csv.DictReader(stream))
    with open("site/many.csv", "w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        for number in range(40):
            writer.writerows({**row, "id": f"{number}-{row['id']}"} for row in rows)
    running = process("data", "audit", "site/many.csv", "--out", "report")
    while " films" not in running.stderr.readline():  # the first films are done
        assert running.poll() is None
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Stopped by Ctrl-C" in err
    assert "Traceback" not in err
    assert not (tmp_path / "report").exists()
