import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from adaloraqat.batch.film_entry import FilmEntry
from adaloraqat.batch.results import RESULTS, FilmStamp, ResultsFile, Settings
from adaloraqat.bundle import load_bundle
from adaloraqat.errors import OutputError


@pytest.fixture
def settings(bundle: Path) -> Settings:
    return Settings.of(load_bundle(bundle), {"box": (1, 2, 3, 4), "engine": "onnxruntime"})


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def stamp(name: str, size: int = 5, mtime_ns: int = 7) -> FilmStamp:
    return FilmStamp(name, size, mtime_ns)


def fill(out: Path, settings: Settings, names: str) -> None:
    with ResultsFile(out, settings, resume=True) as results:
        for name in names:
            (out / f"{name}_mask.png").touch()
            results.append(stamp(name), FilmEntry(name, mask=f"{name}_mask.png"))


def paths(out: Path) -> list[str]:
    return [json.loads(line)["film"]["path"] for line in (out / RESULTS).read_text().splitlines()]


def test_a_line_holds_what_was_promised(out: Path, settings: Settings, bundle: Path) -> None:
    fill(out, settings, "a")
    [line] = map(json.loads, (out / RESULTS).read_text().splitlines())
    assert line["schema"] == 1
    assert line["version"]
    assert line["bundle"]["name"] == "tiny"
    assert len(line["bundle"]["sha256"]) == 64
    assert line["film"] == {"path": "a", "size": 5, "mtime_ns": 7}
    assert line["options"] == {"box": [1, 2, 3, 4], "engine": "onnxruntime"}
    assert line["entry"] == FilmEntry("a", mask="a_mask.png").to_dict() | {"warnings": [], "notices": []}


@pytest.mark.parametrize("torn", [b'{"schema":1,"ver', b"\x00\x00\x00", b'{"half":', b"{}"])
def test_a_torn_last_line_is_cut(out: Path, settings: Settings, torn: bytes) -> None:
    fill(out, settings, "abc")
    whole = (out / RESULTS).read_bytes()
    (out / RESULTS).write_bytes(whole + torn)
    with ResultsFile(out, settings, resume=True) as results:
        assert len(results) == 3
    assert (out / RESULTS).read_bytes() == whole


def test_every_place_of_the_cut(out: Path, settings: Settings) -> None:
    """Wherever the file ends, whole lines stay and the others are to be done."""
    fill(out, settings, "ab")
    whole = (out / RESULTS).read_bytes()
    first = whole.index(b"\n") + 1
    for end in range(0, len(whole), 7):
        (out / RESULTS).write_bytes(whole[:end])
        with ResultsFile(out, settings, resume=True) as results:
            assert len(results) == (end >= first)
        fill(out, settings, "b" if end >= first else "ab")
        assert (out / RESULTS).read_bytes() == whole


def test_what_counts_as_done(out: Path, settings: Settings) -> None:
    fill(out, settings, "abc")
    (out / "b_mask.png").unlink()
    with ResultsFile(out, settings, resume=True) as results:
        for name, failure in (("f", "film"), ("o", "output"), ("m", "memory"), ("d", "crash")):
            results.append(stamp(name), FilmEntry(name, error="no"), failure)  # type: ignore[arg-type]
        assert results.is_done(stamp("a"))
        assert not results.is_done(stamp("a", size=6))
        assert not results.is_done(stamp("a", mtime_ns=8))
        assert not results.is_done(stamp("b"))
        assert not results.is_done(stamp("z"))
        assert results.is_done(stamp("f"))
        assert not any(results.is_done(stamp(name)) for name in "omd")
        results.forget("bz")
        results.append(stamp("y"), FilmEntry("y"))
        assert [line["film"]["path"] for line in results.lines()] == sorted("acfomdy")
    assert paths(out) == list("acfomdy")


def test_a_second_process_is_refused_until_the_first_dies(out: Path, settings: Settings) -> None:
    program = (
        "import sys, time; from pathlib import Path; from adaloraqat.batch.lock import FolderLock; "
        "lock = FolderLock(Path(sys.argv[1])); print('held', flush=True); time.sleep(600)"
    )
    other = subprocess.Popen([sys.executable, "-c", program, out], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match="Another process"):
            ResultsFile(out, settings, resume=True)
    finally:
        other.kill()
        other.communicate()
    ResultsFile(out, settings, resume=True).close()


def test_earlier_results_are_not_touched_without_resume(out: Path, settings: Settings) -> None:
    fill(out, settings, "a")
    whole = (out / RESULTS).read_bytes()
    with pytest.raises(OutputError, match="--resume"):
        ResultsFile(out, settings)
    assert (out / RESULTS).read_bytes() == whole
    ResultsFile(out, settings, resume=True).close()  # the refusal let go of the folder


def changed(settings: Settings, **changes: Any) -> Settings:
    return Settings(settings.bundle, {**settings.options, **changes})


def test_other_options_or_another_model_are_refused(out: Path, settings: Settings, tmp_path: Path) -> None:
    from tiny_bundle import write_tiny_bundle

    fill(out, settings, "a")
    with pytest.raises(OutputError, match=r"other options \(box, overlay\)"):
        ResultsFile(out, changed(settings, box=None, overlay=True), resume=True)
    other = write_tiny_bundle(tmp_path / "tiny", threshold=0.1)
    with pytest.raises(OutputError, match="another model"):
        ResultsFile(out, Settings.of(other, settings.options), resume=True)


@pytest.mark.parametrize(("line", "match"), [('{"mine": 1}', "another program"), (None, "newer version")])
def test_foreign_files_are_refused(out: Path, settings: Settings, line: str | None, match: str) -> None:
    fill(out, settings, "a")
    newer = (out / RESULTS).read_text().replace('"schema":1', '"schema":2')
    (out / RESULTS).write_text(newer if line is None else line + "\n")
    before = (out / RESULTS).read_bytes()
    with pytest.raises(OutputError, match=match):
        ResultsFile(out, settings, resume=True)
    assert (out / RESULTS).read_bytes() == before


def test_what_a_killed_process_left_is_swept(out: Path, settings: Settings) -> None:
    fill(out, settings, "a")
    left, own = out / ".film_mask.ab12cd_3.tmp.png", out / ".film.png"
    left.touch()
    own.touch()
    ResultsFile(out, settings, resume=True).close()
    assert not left.exists()
    assert own.exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_a_full_disk_leaves_the_file_as_it_was(out: Path, settings: Settings) -> None:
    fill(out, settings, "a")
    whole = (out / RESULTS).read_bytes()
    with ResultsFile(out, settings, resume=True) as results:
        real, results._stream = results._stream, open("/dev/full", "ab")  # noqa: SIM115
        with pytest.raises(OutputError, match=r"results.jsonl cannot be written"):
            results.append(stamp("b"), FilmEntry("b"))
        with pytest.raises(OSError, match="No space"):
            results._stream.close()
        results._stream = real
    assert (out / RESULTS).read_bytes() == whole
