"""The machine that a result was made on: its programs and processor, and how fast models run on it."""

import platform
from collections.abc import Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import adaloraqat
from adaloraqat.bundle import Segmenter
from adaloraqat.bundle.cpu import cpu_name, has_vnni
from adaloraqat.bundle.timing import interleaved
from adaloraqat.datasets.audit.workers import available_cores
from adaloraqat.radiograph import Film

PACKAGES = ("torch", "transformers", "peft", "onnx", "onnxruntime", "numpy", "scipy", "pillow")
TIMED_SHAPE = (512, 512)
"""(H, W) of the phantom film that models are timed on, px."""


def environment() -> dict[str, Any]:
    """Return versions, processor, its VNNI (None: unknown), and how many cores this process may use."""
    return {
        "adaloraqat": adaloraqat.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "cpu": cpu_name(),
        "vnni": has_vnni(),
        "cores": available_cores(),
        "versions": {name: package_version(name) for name in PACKAGES},
    }


def package_version(package: str) -> str | None:
    """Return a package's version, None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def segmenter_times(segmenters: Mapping[str, Segmenter], turns: int) -> dict[str, list[float]]:
    """Time models from the pixels of one phantom film to its mask (no box), in turns.

    Returns:
        milliseconds of every turn by name, as `timing.interleaved` gives them.
    """
    from adaloraqat.datasets.phantom import draw_phantom  # imported late: `info` only asks for versions

    film = Film.from_array(draw_phantom(seed=0, size=TIMED_SHAPE[0]).pixels)
    runs = {name: partial(segmenter.segment, film) for name, segmenter in segmenters.items()}
    return interleaved(runs, turns)
