"""Which files a call may write: no input of it, and nothing that its owner keeps by a result's name."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaloraqat.batch.label_picture import write_labels
from adaloraqat.cli.plan import Wanted, plan
from adaloraqat.errors import OutputError
from adaloraqat.radiograph import read_labels

LABELS = np.eye(8, dtype=np.uint8)
MEASURES = Wanted(measures=True)


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A folder with one film."""
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(LABELS).save(folder / "a.png")
    return folder


def own(path: Path) -> Path:
    """A label picture of this program's."""
    path.parent.mkdir(exist_ok=True)
    write_labels(path, LABELS)
    return path


def drawn(path: Path) -> Path:
    """A label picture, or a mask, that somebody drew."""
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(LABELS).save(path)
    return path


def names(folder: Path, out: Path, wanted: Wanted = MEASURES) -> list[str]:
    return [job.name for job in plan([folder], out, wanted)[0]]


def refused(given: Path, out: Path, wanted: Wanted = MEASURES) -> str:
    """The file for which the one film of the call is refused that is."""
    [refusal] = plan([given], out, wanted)[1]
    assert refusal.name == "a.png"
    found = re.search(
        r"overwrite (\S+), which is not known for a result of this program: rename", refusal.error
    )
    assert found
    return found[1]


def test_labels_that_are_an_input_are_not_overwritten(films: Path) -> None:
    drawn(films / "a_labels.png")
    with pytest.raises(OutputError, match=r"overwrite the input a_labels\.png: choose another --out"):
        plan([films], films, MEASURES)
    assert names(films, films, Wanted()) == ["a.png", "a_labels.png"]


@pytest.mark.parametrize("mask", [True, False])
def test_labels_beside_the_film_are_not_overwritten(films: Path, mask: bool) -> None:
    drawn(films / "a_labels.png")
    if mask:  # of an earlier call without --measures, or drawn too
        drawn(films / "a_mask.png")
    assert refused(films / "a.png", films) == "a_labels.png"
    assert names(films / "a.png", films, Wanted())


def test_labels_without_a_mask_in_the_folder_of_results_are_not_overwritten(films: Path) -> None:
    drawn(films.parent / "out/a_labels.png")
    Image.fromarray(LABELS).save(films / "b.png")
    out = films.parent / "out"
    assert refused(films, out) == "a_labels.png"
    assert names(films, out) == ["b.png"]  # the others go on


def test_own_labels_are_written_again_and_are_no_films(films: Path) -> None:
    for out in (films, films / "out"):
        np.testing.assert_array_equal(read_labels(own(out / "a_labels.png")), LABELS)
        drawn(out / "a_mask.png")
        assert names(films, out) == ["a.png"]


def test_an_object_beside_the_film_without_a_mask_is_not_overwritten(films: Path) -> None:
    wanted = Wanted(kinds=("seg",))
    (films / "a_seg.dcm").write_bytes(b"of a radiologist")
    assert refused(films / "a.png", films, wanted) == "a_seg.dcm"
    drawn(films / "a_mask.png")
    assert names(films / "a.png", films, wanted) == [(films / "a.png").name]


def test_the_mask_to_correct_is_not_overwritten(films: Path) -> None:
    for mask in (drawn(films / "a_mask.png"), films):
        with pytest.raises(OutputError, match=r"overwrite the mask a_mask\.png, which is to be corrected"):
            plan([films / "a.png"], films, Wanted(), mask)
        [job], _ = plan([films / "a.png"], films.parent / "out", Wanted(), mask)
        assert job.mask == films / "a_mask.png"


def test_films_whose_names_macos_does_not_tell_apart_do_not_share_a_mask(
    films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There `A_mask.png` and `a_mask.png` are one file, and so is an accent written in two ways."""
    for name in ("A.bmp", "\u00e9.png", "e\u0301.bmp"):
        Image.fromarray(LABELS).save(films / name)
    monkeypatch.setattr("adaloraqat.cli.plan.sys.platform", "darwin")
    targets = {job.target.name for job in plan([films], films / "out", Wanted())[0]}
    assert targets == {"A.bmp", "a.png", "\u00e9.png", "e\u0301.bmp"}
