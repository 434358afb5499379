"""What a film without a result leaves behind: its reasons, all of them, and what was there before it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_bundle import two_lungs

from adaloraqat.bundle import Segmenter
from adaloraqat.cli import segment_film
from adaloraqat.cli.case import Propagate
from adaloraqat.cli.dicom import Objects
from adaloraqat.cli.plan import Wanted, plan
from adaloraqat.cli.segment_film import Given, How, Strictness, Work
from adaloraqat.datasets.phantom.write import write_dicom
from adaloraqat.errors import OutputError

Start = Callable[..., Work]


@pytest.fixture
def start(bundle: Path, tmp_path: Path) -> Start:
    segmenter = Segmenter.load(bundle, threads=1)

    def work(wanted: Wanted = Wanted(), check: Strictness | None = None, out: str = "out") -> Work:  # noqa: B008
        objects = Objects(wanted.kinds) if wanted.kinds else None
        how = How(Given(None), "auto", Propagate.box, True, False, wanted, objects, check)
        return Work(segmenter, tmp_path / out, how)

    return work


def film(path: Path, pixels: np.ndarray | None = None) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(two_lungs() if pixels is None else pixels).save(path)
    return path


def dicom(path: Path, pixels: np.ndarray | None = None) -> Path:
    path.parent.mkdir(exist_ok=True)
    pixels = two_lungs() if pixels is None else pixels
    write_dicom(path, pixels.astype(np.float32) / 255, "f", "p", (2.0, 2.0))
    return path


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def raising(problem: BaseException) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise problem

    return fail


BLANK = np.full((64, 64), 90, np.uint8)


def test_objects_that_cannot_be_written_are_a_failure_of_the_output(start: Start, tmp_path: Path) -> None:
    wanted, out = Wanted(overlay=True, kinds=("seg", "sr")), tmp_path / "out"
    (out / "a_sr.dcm").mkdir(parents=True)
    (out / "a_overlay.png").mkdir()
    work = start(wanted)
    [job], _ = plan([dicom(tmp_path / "in/a.dcm")], out, wanted)
    entry = work.do(job)
    assert work.failure == "output"
    assert (entry.mask, entry.overlay, entry.dicom) == ("a_mask.png", None, None)
    assert entry.answered
    assert written(out) == {"a_mask.png"}  # the segmentation went, too
    reasons = [f"The mask was written, but not the {what}: " for what in ("DICOM results", "overlay")]
    assert entry.error is not None
    assert all(reason in entry.error for reason in reasons)


def test_a_header_that_allows_no_objects_is_a_failure_of_the_film(start: Start, tmp_path: Path) -> None:
    import pydicom

    path, wanted = dicom(tmp_path / "in/a.dcm"), Wanted(kinds=("sr",))
    dataset = pydicom.dcmread(path)
    dataset.SOPClassUID = "1.2.3.4"
    dataset.save_as(path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a_sr.dcm").write_bytes(b"of an earlier call")
    work = start(wanted)
    [job], _ = plan([path], tmp_path / "out", wanted)
    error = work.do(job).error
    assert error is not None
    assert error.endswith(" An earlier a_sr.dcm was left in place: it is not of this call.")
    assert work.failure == "film"
    assert written(tmp_path / "out") == {"a_mask.png", "a_sr.dcm"}


def test_a_film_that_fails_takes_no_file_of_an_earlier_call_away(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = Wanted(overlay=True)
    [job], _ = plan([film(tmp_path / "in/a.png")], tmp_path / "out", wanted)
    assert start(wanted).do(job).error is None
    mask = film(tmp_path / "out/a_mask.png", BLANK)  # corrected by hand
    before = mask.read_bytes()

    def check(work: Work, answered: bool = False) -> None:
        entry = work.do(job)
        assert entry.error is not None
        left = " An earlier a_mask.png, a_overlay.png were left in place: they are not of this call."
        assert entry.error.endswith(left)
        assert (entry.mask, entry.answered) == (None, answered)
        assert mask.read_bytes() == before
        assert written(tmp_path / "out") == {"a_mask.png", "a_overlay.png"}

    for problem in (OutputError("No space is left."), MemoryError()):
        with monkeypatch.context() as patch:
            patch.setattr(segment_film, "write_mask", raising(problem))
            check(start(wanted))
    film(job.source, BLANK)
    check(start(wanted, Strictness(0.1, keep=False)), answered=True)
    job.source.write_bytes(b"damaged")
    check(start(wanted))


@pytest.mark.parametrize("out", ["in", "out"])
def test_a_mask_drawn_by_its_owner_stays(start: Start, tmp_path: Path, out: str) -> None:
    before = film(tmp_path / out / "a_mask.png", BLANK).read_bytes()
    [job], _ = plan([film(tmp_path / "in/a.png", BLANK)], tmp_path / out, Wanted())
    entry = start(check=Strictness(0.1, keep=False), out=out).do(job)
    assert entry.error is not None
    assert entry.error.startswith("Refused (")
    assert entry.error.endswith(" An earlier a_mask.png was left in place: it is not of this call.")
    assert (tmp_path / out / "a_mask.png").read_bytes() == before


def test_a_refusal_is_told_beside_what_could_not_be_written(start: Start, tmp_path: Path) -> None:
    wanted = Wanted(kinds=("sr",))
    (tmp_path / "out/a_sr.dcm").mkdir(parents=True)
    [job], _ = plan([dicom(tmp_path / "in/a.dcm", BLANK)], tmp_path / "out", wanted)
    work = start(wanted, Strictness(0.1, keep=True))
    entry = work.do(job)
    assert entry.mask == "a_mask.png"
    assert entry.error is not None
    assert entry.error.startswith("The mask was written, but not the DICOM results: ")
    assert "another output folder. Refused (" in entry.error
    assert entry.error.endswith(" Its mask was kept.")
    assert work.failure == "output"  # a batch tries it again


def test_an_overlay_that_cannot_be_written_leaves_the_earlier_one_and_says_so(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = Wanted(overlay=True)
    [job], _ = plan([film(tmp_path / "in/a.png")], tmp_path / "out", wanted)
    start(wanted).do(job)
    # a disk of which the last byte was the mask's
    monkeypatch.setattr(segment_film, "write_overlay", raising(OutputError("No space is left.")))
    work = start(wanted)
    entry = work.do(job)
    assert (entry.mask, entry.overlay, work.failure) == ("a_mask.png", None, "output")
    assert entry.error is not None
    assert entry.error.endswith(" An earlier a_overlay.png was left in place: it is not of this call.")
    assert written(tmp_path / "out") == {"a_mask.png", "a_overlay.png"}
