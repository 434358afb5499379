"""Films of many patients as DICOM, and what an archive has of them."""

from pathlib import Path

import numpy as np

from adaloraqat.datasets.phantom.write import write_dicom


def write_films(folder: Path, count: int, shape: tuple[int, int] = (96, 80)) -> list[Path]:
    """Different films, each of a study and a patient of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        pixels = np.random.default_rng(number).random(shape).astype(np.float32)
        paths.append(folder / f"{number:03}.dcm")
        write_dicom(paths[-1], pixels, f"{folder.name}-{number}", f"{folder.name}-{number:03}", (0.4, 0.4))
    return paths
