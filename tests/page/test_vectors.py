"""The page's engine gives Python's numbers: grey values, model input and mask, of the same bytes."""

import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from page_dicom import DICOM, dataset
from page_engine import Agreement, compared, missing, run_engine
from page_pictures import PICTURES
from PIL import Image
from pydicom.uid import MRSpectroscopyStorage

from adaloraqat import Segmenter

REFUSALS = {
    "empty.png": b"",
    "text.png": b"no film at all",
    "cut.png": None,
    "small.png": None,
    "cut.dcm": None,
    "spectroscopy.dcm": None,
}
"""Bad films: both refuse them, in one sentence."""

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "packages" / "weights" / "src" / "adaloraqat_weights" / "lung-field-fast"
FILMS = {**PICTURES, **DICOM}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Write all films, run the engine over them in one process, and return the folder and the names."""
    reason = missing()
    if reason is not None:
        if os.environ.get("ADALORAQAT_CI") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("films")
    for name, write in FILMS.items():
        write(folder / name)
    _write_bad(folder)
    names = [*FILMS, *REFUSALS]
    run_engine(BUNDLE, [folder / name for name in names], folder)
    return folder, names


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.load(str(BUNDLE))


@pytest.mark.parametrize("name", FILMS)
def test_same_numbers(name: str, answers: tuple[Path, list[str]], segmenter: Segmenter) -> None:
    folder, names = answers
    found = compared(segmenter, folder / name, folder, names.index(name))
    assert found.why == ""
    lossy = name.endswith(".jpg") or name in ("jpeg-baseline.dcm", "jpeg-colour.dcm")
    assert found.grey <= (1.01 / 255 if lossy else 1e-6)
    if found.grey <= 1e-6:
        assert found.model_input <= 1e-4
    assert found.mask >= 0.999
    assert found.labels >= 0.998
    if not lossy:
        assert found.ratio <= 0.01
        assert found.quality <= 0.01
    assert found.notices[0] == found.notices[1]
    assert [_without_numbers(each) for each in found.warnings[0]] == [
        _without_numbers(each) for each in found.warnings[1]
    ]


def _without_numbers(warning: str) -> str:
    """Return a warning without its numbers: last bits of a quality can round to another hundredth."""
    return re.sub(r"\d+\.\d+", "#", warning)


@pytest.mark.parametrize("name", REFUSALS)
def test_bad_films_are_refused(name: str, answers: tuple[Path, list[str]], segmenter: Segmenter) -> None:
    folder, names = answers
    said = json.loads((folder / f"{names.index(name)}.json").read_text())
    assert said["error"].startswith(name)
    assert said["error"].endswith(".")
    if name != "text.png":  # the page reads fewer formats, and names its own
        assert compared(segmenter, folder / name, folder, names.index(name)) == Agreement()


def _write_bad(folder: Path) -> None:
    whole = (folder / "grey-8.png").read_bytes()
    made = {
        "cut.png": whole[: len(whole) // 2],
        "small.png": _small(),
        "cut.dcm": (folder / "implicit.dcm").read_bytes()[:-5000],
        "spectroscopy.dcm": _spectroscopy(),
    }
    for name, content in REFUSALS.items():
        (folder / name).write_bytes(made[name] if content is None else content)


def _spectroscopy() -> bytes:
    """Return an object of spectroscopy, which holds no film."""
    stream = io.BytesIO()
    made = dataset(np.zeros((32, 32), np.uint16), 16, SOPClassUID=MRSpectroscopyStorage)
    made.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _small() -> bytes:
    """Return a PNG of 8 x 8 pixels."""
    stream = io.BytesIO()
    Image.new("L", (8, 8)).save(stream, "PNG")
    return stream.getvalue()
