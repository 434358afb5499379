"""On what a result was made: this program, its libraries, the processor."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import adaloraqat
from adaloraqat.bundle.cpu import cpu_name, has_vnni

PACKAGES = ("torch", "transformers", "peft", "onnx", "onnxruntime", "numpy", "scipy", "pillow")


def environment() -> dict[str, Any]:
    """Return versions, processor, its VNNI (None: unknown), and how many cores this process may use."""
    return {
        "adaloraqat": adaloraqat.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "cpu": cpu_name(),
        "vnni": has_vnni(),
        "cores": _cores(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
