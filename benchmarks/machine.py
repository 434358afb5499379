"""The computer that a number was measured on."""

import os
import platform
from importlib.metadata import version

from adaloraqat.bundle.cpu import cpu_name, has_vnni


def machine() -> dict[str, str]:
    return {
        "processor": cpu_name(),
        "cores": str(os.cpu_count()),
        "vnni": str(has_vnni()),
        "python": platform.python_version(),
        "torch": version("torch"),
        "onnxruntime": version("onnxruntime"),
    }
