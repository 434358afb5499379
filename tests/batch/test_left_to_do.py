"""What a resumed batch takes for done: never the result of another film, mask or folder."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from adaloraqat.batch.film_entry import FilmEntry
from adaloraqat.batch.lock import LOCK, RESULTS, FolderLock, without_batch
from adaloraqat.batch.results import ResultsFile, Settings
from adaloraqat.batch.run import left_to_do, stamp_of
from adaloraqat.bundle import load_bundle
from adaloraqat.errors import OutputError


@dataclass(frozen=True)
class Task:
    source: Path
    name: str
    mask: Path | None = None
    target: str | None = None

    @property
    def file(self) -> str:
        return f"{self.target or self.source.stem}_mask.png"


@pytest.fixture
def settings(bundle: Path) -> Settings:
    return Settings.of(load_bundle(bundle), {})


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def film(path: Path, text: str = "film") -> Path:
    """Write a file that differs from others of as many bytes in nothing that its stamp tells."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    os.utime(path, ns=(10**18, 10**18))
    return path


def do(out: Path, settings: Settings, tasks: Sequence[Task]) -> list[str]:
    """Resume the batch; return the names of the films that were done now."""
    with ResultsFile(out, settings, resume=True) as results:
        left = left_to_do(results, tasks, lambda task: [task.file])
        for task in left:
            (out / task.file).write_text(task.name)
            results.append(stamp_of(task), FilmEntry(task.name, mask=task.file))
    return [task.name for task in left]


def lines(out: Path) -> list[str]:
    return [json.loads(line)["film"]["path"] for line in (out / RESULTS).read_text().splitlines()]


def test_the_mask_of_a_film_of_another_suffix_is_not_that_of_the_film(
    out: Path, settings: Settings, tmp_path: Path
) -> None:
    dicom, picture = (Task(film(tmp_path / f"in/a.{end}"), f"a.{end}") for end in ("dcm", "png"))
    for task in (dicom, picture, dicom):
        assert do(out, settings, [task]) == [task.name]
        assert lines(out) == [task.name]
        assert do(out, settings, [task]) == []


def test_a_film_whose_mask_another_one_will_write_is_done_again(
    out: Path, settings: Settings, tmp_path: Path
) -> None:
    first, second = (Task(film(tmp_path / "in" / name), name) for name in ("a.dcm", "a"))
    assert do(out, settings, [first]) == ["a.dcm"]
    apart = [replace(first, target="a.dcm"), second]  # as `cli.plan` keeps them apart
    assert do(out, settings, apart) == ["a.dcm", "a"]
    assert do(out, settings, apart) == []


def test_a_film_that_is_named_in_two_ways_is_done_once(out: Path, settings: Settings, tmp_path: Path) -> None:
    path = film(tmp_path / "in/a.png")
    one, other = (Task(path, name) for name in ("a.png", "in/a.png"))
    for first, second in ((one, other), (other, one)):
        here = out / first.name.replace("/", "-")
        assert do(here, settings, [first]) == [first.name]
        (here / first.file).write_text("corrected by hand")
        assert do(here, settings, [second]) == []
        assert lines(here) == [first.name]
        assert (here / first.file).read_text() == "corrected by hand"
        with ResultsFile(here, settings, resume=True) as results:
            assert second.name not in results
            left_to_do(results, [second], lambda task: [task.file])
            assert second.name in results
            assert results.failure(second.name) is None
            assert results.answered(second.name)
        film(path, f"replaced by what {second.name} names")
        assert do(here, settings, [second]) == [second.name]
        assert lines(here) == [second.name]


def test_the_files_of_a_film_that_failed_for_a_passing_reason_stay_until_there_are_new_ones(
    out: Path, settings: Settings, tmp_path: Path
) -> None:
    task = Task(film(tmp_path / "in/a.png"), "a.png")
    with ResultsFile(out, settings) as results:
        (out / task.file).write_text("mask")
        entry = FilmEntry(task.name, mask=task.file, error="The mask was written, but not the overlay.")
        results.append(stamp_of(task), entry, "output")
    with ResultsFile(out, settings, resume=True) as results:
        assert left_to_do(results, [task], lambda task: [task.file]) == [task]
    assert (out / task.file).read_text() == "mask"
    assert lines(out) == []


def test_films_of_the_same_names_in_another_folder_are_refused(
    out: Path, settings: Settings, tmp_path: Path
) -> None:
    first, other = (Task(film(tmp_path / folder / "a.png"), "a.png") for folder in ("one", "two"))
    do(out, settings, [first])
    whole = (out / RESULTS).read_bytes()
    with pytest.raises(OutputError, match=r"another a\.png, of a folder elsewhere.*replace the old folder"):
        do(out, settings, [other])
    namesake = Task(film(tmp_path / "two/a.dcm"), "a.dcm")  # would write the same mask
    with pytest.raises(OutputError, match=r"another a\.png"):
        do(out, settings, [namesake])
    assert (out / RESULTS).read_bytes() == whole
    assert (out / first.file).exists()
    assert do(out, settings, [Task(film(tmp_path / "two/b.png"), "b.png")]) == ["b.png"]  # no namesake

    (tmp_path / "one").rename(tmp_path / "moved")
    old, new = (f'"{tmp_path}/{name}"' for name in ("one", "moved"))
    (out / RESULTS).write_text((out / RESULTS).read_text().replace(old, new))  # as the sentence says
    assert do(out, settings, [Task(tmp_path / "moved/a.png", "a.png")]) == []


def test_a_linked_folder_is_the_same_folder(out: Path, settings: Settings, tmp_path: Path) -> None:
    do(out, settings, [Task(film(tmp_path / "in/a.png"), "a.png")])
    (tmp_path / "link").symlink_to("in")
    assert do(out, settings, [Task(tmp_path / "link/a.png", "a.png")]) == []


def test_another_mask_to_correct_asks_for_the_film_again(
    out: Path, settings: Settings, tmp_path: Path
) -> None:
    mask = film(tmp_path / "drawn/a_mask.png", "mask")
    task = Task(film(tmp_path / "in/a.png"), "a.png", mask)
    assert do(out, settings, [task]) == ["a.png"]
    assert do(out, settings, [task]) == []
    film(mask, "other mask")
    assert do(out, settings, [task]) == ["a.png"]


def test_a_replaced_film_loses_its_mask_before_it_is_done_again(
    out: Path, settings: Settings, tmp_path: Path
) -> None:
    task = Task(film(tmp_path / "in/a.png"), "a.png")
    do(out, settings, [task])
    film(task.source, "another film")
    with ResultsFile(out, settings, resume=True) as results:
        assert left_to_do(results, [task], lambda task: [task.file]) == [task]
    assert not (out / task.file).exists()
    assert lines(out) == []


def test_no_other_call_writes_into_a_batch(out: Path, settings: Settings, tmp_path: Path) -> None:
    with without_batch(out):
        pass
    assert not out.exists()
    do(out, settings, [Task(film(tmp_path / "in/a.png"), "a.png")])
    with pytest.raises(OutputError, match="results of an earlier call"), without_batch(out):
        pass
    (out / RESULTS).unlink()
    lock = FolderLock(out)
    with pytest.raises(OutputError, match="Another process"), without_batch(out):
        pass
    lock.release()
    with without_batch(out), pytest.raises(OutputError, match="Another process"):
        ResultsFile(out, settings)
    assert (out / LOCK).exists()
