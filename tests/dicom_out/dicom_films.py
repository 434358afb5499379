"""Films as DICOM, a result to write, and the programs that judge DICOM."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import Dataset

from adaloraqat.bundle import Segmentation
from adaloraqat.datasets.phantom.write import write_dicom
from adaloraqat.radiograph import Box
from adaloraqat.radiograph.formats.base import quiet

Written = dict[str, Dataset]
"""Objects as they are read back, by their kind."""


def program(name: str, package: str) -> str:
    """Return a Debian program's path; where it is absent the test is skipped, but never in CI."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        if os.environ.get("ADALORAQAT_CI") == "1":
            pytest.fail(f"{name} is not installed: apt-get install {package}")
        pytest.skip(f"no {name}: apt-get install {package}")
    return found


def lungs(height: int = 96, width: int = 80) -> NDArray[np.bool_]:
    """Two ellipses, the one at the image's left the larger, with a hole."""
    rows, columns = np.mgrid[:height, :width]
    at_left = ((rows - 48) / 38) ** 2 + ((columns - 22) / 16) ** 2 < 1
    at_right = ((rows - 48) / 34) ** 2 + ((columns - 60) / 13) ** 2 < 1
    hole = (rows - 40) ** 2 + (columns - 20) ** 2 < 16
    return (at_left & ~hole) | at_right


def result_of(
    mask: NDArray[np.bool_], spacing: tuple[float, float] | None = None, **changes: Any
) -> Segmentation:
    height, width = mask.shape
    values: dict[str, Any] = {
        "mask": mask,
        "probability": mask.astype(np.float32),
        "box": Box(0, 0, width, height),
        "box_source": "whole film",
        "quality": None,
        "spacing_mm": spacing,
        "warnings": [],
        "notices": (),
        "milliseconds": 1.0,
    }
    return Segmentation(**values | changes)


def write_film(path: Path, inverted: bool = False, shape: tuple[int, int] = (96, 80), **changes: Any) -> Path:
    """Write a phantom-like DX film of noise; `changes` set header elements, None removes one."""
    pixels = np.random.default_rng(1).random(shape).astype(np.float32)
    write_dicom(path, pixels, f"film-{int(inverted)}", "patient-1", (0.4, 0.4), inverted)
    if changes:
        with quiet():
            dataset = pydicom.dcmread(path)
            for key, value in changes.items():
                if value is None:
                    dataset.pop(key, None)
                else:
                    setattr(dataset, key, value)
            dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
            dataset.save_as(path)
    return path
