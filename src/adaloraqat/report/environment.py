"""On what a result was made: this program, its libraries, the processor."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import adaloraqat
from adaloraqat.bundle.cpu import cpu_name, has_vnni
from adaloraqat.datasets.audit.workers import available_cores

PACKAGES = ("torch", "transformers", "peft", "onnx", "onnxruntime", "numpy", "scipy", "pillow")


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
