"""Lines that another program, or another version of this one, wrote: used, or refused with one sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adaloraqat.batch.csv_files import RESULTS_CSV, write_results_csv
from adaloraqat.batch.film_entry import FilmEntry
from adaloraqat.batch.lock import RESULTS
from adaloraqat.batch.results import FilmStamp, ResultsFile, Settings
from adaloraqat.bundle import load_bundle
from adaloraqat.errors import OutputError

Line = dict[str, Any]


@pytest.fixture
def resumed(bundle: Path, tmp_path: Path) -> Callable[[Callable[[Line], object]], ResultsFile]:
    """Return what opens results of one film, of which the line was changed."""
    settings, path = Settings.of(load_bundle(bundle), {"box": None}), tmp_path / RESULTS

    def resume(change: Callable[[Line], object]) -> ResultsFile:
        with ResultsFile(tmp_path, settings, resume=True) as results:
            (tmp_path / "a_mask.png").touch()
            results.append(FilmStamp("a", 5, 7, "/in"), FilmEntry("a", mask="a_mask.png", spacing_mm=(1, 2)))
        line = json.loads(path.read_text())
        change(line)
        path.write_text(json.dumps(line) + "\n")
        return ResultsFile(tmp_path, settings, resume=True)

    return resume


def put(*keys: str, value: Any) -> Callable[[Line], None]:
    def change(line: Line) -> None:
        for key in keys[:-1]:
            line = line[key]
        line[keys[-1]] = value

    return change


WRONG = {
    ("schema",): ("1", 0, None, True, 1.5),
    ("version",): (None, 1),
    ("bundle",): (None, "x", {"name": "x"}, {"name": "x", "sha256": 1}),
    ("film",): (None, [], {"path": "a", "mtime_ns": 7}, {"path": "a", "size": "5", "mtime_ns": 7}),
    ("film", "folder"): (1,),
    ("options",): (None, "box"),
    ("failure",): ("unknown", 1),
    ("entry",): (None, [], "a"),
    ("entry", "warnings"): (None, "text", [1]),
    ("entry", "dicom"): ("a_seg.dcm", {"seg": 1}),
    ("entry", "spacing_mm"): (1, "ab"),
    ("entry", "mask"): (1, "../a_mask.png", "/etc/passwd"),  # what a line names may be removed
}


@pytest.mark.parametrize(("keys", "value"), [(keys, value) for keys, all in WRONG.items() for value in all])
def test_a_line_of_another_shape_is_one_sentence(resumed: Any, keys: tuple[str, ...], value: Any) -> None:
    with pytest.raises(OutputError, match=r"from another program, or a damaged one \(line 1\)"):
        resumed(put(*keys, value=value))


@pytest.mark.parametrize(
    "change",
    [
        put("entry", "said_later", value=1),
        put("film", "said_later", value=1),
        put("said_later", value=1),
        lambda line: line["entry"].pop("warnings"),
        lambda line: line["entry"].pop("measures"),
        lambda line: line["film"].pop("folder"),  # as earlier versions wrote it
    ],
)
def test_what_another_version_says_more_or_less_does_no_harm(
    resumed: Any, change: Callable[[Line], object], tmp_path: Path
) -> None:
    with resumed(change) as results:
        assert results.is_done(FilmStamp("a", 5, 7, "/in"))
        write_results_csv(tmp_path / RESULTS_CSV, results.lines())
    assert "a_mask.png" in (tmp_path / RESULTS_CSV).read_text()


def test_a_number_that_json_has_not_is_damage(resumed: Any) -> None:
    with resumed(put("entry", "quality", value=float("nan"))) as results:
        assert len(results) == 0
