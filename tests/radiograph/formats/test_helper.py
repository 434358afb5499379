"""The helper process: damaged bytes end it, and never the process that reads films."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from fuzz_seeds import DEEP, dicom, jpeg2000, jpeg_lossless
from pydicom.uid import JPEG2000Lossless, RLELossless

from adaloraqat.errors import FilmError
from adaloraqat.radiograph import read_film
from adaloraqat.radiograph.formats.decoders import DECODERS
from adaloraqat.radiograph.formats.helper import HELPER, DecoderDied, Helper

OPTIONS = {
    "rows": DEEP.shape[0],
    "columns": DEEP.shape[1],
    "samples_per_pixel": 1,
    "photometric_interpretation": "MONOCHROME2",
    "pixel_representation": 0,
    "bits_allocated": 16,
    "bits_stored": 16,
    "planar_configuration": 0,
    "pixel_keyword": "PixelData",
}


@pytest.fixture
def helper() -> Iterator[Helper]:
    helper = Helper()
    yield helper
    helper.close()


def decoded(helper: Helper, frame: bytes, seconds: float = 60) -> np.ndarray:
    return helper.decode(str(JPEG2000Lossless), "pylibjpeg", frame, OPTIONS, seconds)


def with_precision(content: bytes, precision: int) -> bytes:
    """A lossless JPEG in DICOM whose frame claims `precision` bits; gdcm dies of more than 16."""
    place = content.index(b"\xff\xc3")
    return content[: place + 4] + bytes([precision]) + content[place + 5 :]


def test_one_process_serves_many_films_and_gives_the_pixels(helper: Helper) -> None:
    for _ in range(3):
        assert np.array_equal(decoded(helper, jpeg2000()), DEEP)
    assert helper.starts == 1


def test_a_killed_helper_is_started_again(helper: Helper) -> None:
    decoded(helper, jpeg2000())
    assert helper.pid is not None
    os.kill(helper.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    for _ in range(2):  # the first may find the dying one
        with suppress(DecoderDied):
            assert np.array_equal(decoded(helper, jpeg2000()), DEEP)
    assert np.array_equal(decoded(helper, jpeg2000()), DEEP)
    assert helper.starts == 2


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="nothing can be paused here")
def test_a_decoder_that_takes_too_long_is_ended(helper: Helper) -> None:
    decoded(helper, jpeg2000())
    assert helper.pid is not None
    os.kill(helper.pid, signal.SIGSTOP)  # it would take for ever
    with pytest.raises(DecoderDied):
        decoded(helper, jpeg2000(), seconds=0.2)
    assert np.array_equal(decoded(helper, jpeg2000()), DEEP)


def test_what_a_decoder_refuses_is_an_error_and_no_death(helper: Helper) -> None:
    with pytest.raises(ValueError, match=r"\w+"):
        decoded(helper, b"no stream at all")
    decoded(helper, jpeg2000())
    assert helper.starts == 1


def test_threads_take_turns(helper: Helper) -> None:
    right: list[bool] = []
    threads = [
        threading.Thread(target=lambda: right.append(np.array_equal(decoded(helper, jpeg2000()), DEEP)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 4
    assert helper.starts == 1


def _in_a_child(frame: bytes, answers: "multiprocessing.Queue[tuple[bool, int]]") -> None:
    answers.put((np.array_equal(decoded(HELPER, frame), DEEP), HELPER.pid or 0))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_has_a_helper_of_its_own() -> None:
    decoded(HELPER, jpeg2000())
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_in_a_child, args=(jpeg2000(), answers))
    child.start()
    right, pid = answers.get(timeout=120)
    child.join()
    assert right
    assert pid != HELPER.pid
    assert np.array_equal(decoded(HELPER, jpeg2000()), DEEP)  # ours still answers


@pytest.mark.parametrize("precision", [17, 38, 255])
def test_lossless_jpeg_of_impossible_bits_is_one_sentence(tmp_path: Path, precision: int) -> None:
    """In this very process: were it gdcm's, the test run would end here."""
    path = tmp_path / "film.dcm"
    path.write_bytes(with_precision(jpeg_lossless(), precision))
    with pytest.raises(FilmError, match=r"^film\.dcm cannot be read: its pixels \(JPEG Lossless.*\.$"):
        read_film(path)
    path.write_bytes(jpeg_lossless())
    assert read_film(path).shape == DEEP.shape  # the next film is read


@pytest.mark.parametrize("depth", [37, 63, 127, 255])
def test_jpeg_2000_of_impossible_bits_is_one_sentence(tmp_path: Path, depth: int) -> None:
    stream = bytearray(jpeg2000())
    stream[42] = depth  # Ssiz, ISO 15444-1 A.5.1
    path = tmp_path / "film.dcm"
    path.write_bytes(dicom(DEEP, JPEG2000Lossless, bytes(stream)))
    with pytest.raises(FilmError, match=r"^film\.dcm cannot be read: its pixels \(JPEG 2000.*\.$"):
        read_film(path)


def test_gdcm_really_dies_of_such_bits(tmp_path: Path) -> None:
    """What the helper is for; when this fails, gdcm has been mended and may come home."""
    path = tmp_path / "film.dcm"
    path.write_bytes(with_precision(jpeg_lossless(), 17))
    code = f"import pydicom; pydicom.dcmread({str(path)!r}).pixel_array"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120)
    assert ended.returncode < 0 or ended.returncode > 1, ended.stderr[-300:]


def test_only_what_needs_it_runs_apart(tmp_path: Path) -> None:
    starts = HELPER.starts
    (tmp_path / "film.dcm").write_bytes(dicom(DEEP, RLELossless))
    assert read_film(tmp_path / "film.dcm").shape == DEEP.shape
    assert HELPER.starts == starts
    assert {decoder.plugin for decoder in DECODERS.values() if decoder.apart} == {"gdcm", "pylibjpeg"}
