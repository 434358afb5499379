import pytest
from typer.testing import CliRunner

from adaloraqat.cli.main import app
from adaloraqat.datasets.manifest import read_manifest


def call(*arguments):
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


def test_phantom_then_index_then_split(tmp_path):
    made = call(
        "phantom", "--count", 6, "--seed", 2, "--out", tmp_path / "site", "--size", 48, "--site", "bedside"
    )
    assert made.exit_code == 0, made.output
    assert made.stdout.strip() == str(tmp_path / "site" / "manifest.csv")
    assert len(read_manifest(tmp_path / "site" / "manifest.csv")) == 6

    (tmp_path / "site" / "masks" / "stray.png").write_bytes(b"x")
    indexed = call("index", "folder", tmp_path / "site", "--out", tmp_path / "films.csv")
    assert indexed.exit_code == 0, indexed.output
    assert "1 mask is skipped, without a film of the same name: stray.png." in indexed.stderr
    assert {entry.split for entry in read_manifest(tmp_path / "films.csv")} == {None}

    divided = call(
        "split", tmp_path / "films.csv", "--out", tmp_path / "films.csv", "--fractions", "0.5,0.5,0"
    )
    assert divided.exit_code == 0, divided.output
    assert (
        sorted(entry.split for entry in read_manifest(tmp_path / "films.csv")) == ["train"] * 3 + ["val"] * 3
    )


def test_dicom(tmp_path):
    assert call("phantom", "--count", 1, "--out", tmp_path, "--size", 48, "--dicom").exit_code == 0
    assert [path.suffix for path in (tmp_path / "images").iterdir()] == [".dcm"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("phantom", "--count", 1, "--out", "x", "--site", "moon"),
            "'moon' is not one of 'standard', 'bedside'",
        ),
        (("phantom", "--count", 1, "--out", "x", "--size", 4), "4 pixels cannot be drawn"),
        (("split", "none.csv", "--out", "x.csv"), "no manifest none.csv"),
        (("index", "folder", "nowhere", "--out", "x.csv"), "no folder images/"),
        (("phantom", "--count", 0, "--out", "x"), "--count"),
        (("index", "moon", "x", "--out", "x.csv"), "'moon' is not one of jsrt, "),
    ],
)
def test_what_cannot_be_done_gets_a_sentence_and_exit_code_2(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


def test_bad_fractions(tmp_path):
    call("phantom", "--count", 1, "--out", tmp_path, "--size", 48)
    result = call("split", tmp_path / "manifest.csv", "--out", tmp_path / "x.csv", "--fractions", "most,some")
    assert result.exit_code == 2
    assert "not three numbers" in result.stderr
