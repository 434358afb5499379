"""Adapt Segment Anything to chest X-rays, compress it to a true INT8 model, and run it anywhere.

Importing this package, and segmenting with it, never imports PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from adaloraqat.renamed import find_renamed_modules

__version__ = "0.1.0"

if TYPE_CHECKING:
    from adaloraqat.bundle import Segmentation, Segmenter
    from adaloraqat.errors import (
        AdaloraqatError,
        BundleError,
        CheckpointError,
        FilmError,
        ManifestError,
        OutputError,
        RecipeError,
    )

_ROOMS = {
    "Segmentation": "bundle",
    "Segmenter": "bundle",
    "AdaloraqatError": "errors",
    "BundleError": "errors",
    "CheckpointError": "errors",
    "FilmError": "errors",
    "ManifestError": "errors",
    "OutputError": "errors",
    "RecipeError": "errors",
}

__all__ = [
    "AdaloraqatError",
    "BundleError",
    "CheckpointError",
    "FilmError",
    "ManifestError",
    "OutputError",
    "RecipeError",
    "Segmentation",
    "Segmenter",
    "__version__",
]


find_renamed_modules()


def __getattr__(name: str) -> Any:
    """Load a name on first use, so that `import adaloraqat` stays instant."""
    if name in _ROOMS:
        return getattr(import_module(f"adaloraqat.{_ROOMS[name]}"), name)
    raise AttributeError(f"module 'adaloraqat' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
