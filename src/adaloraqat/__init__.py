"""Adapt Segment Anything to chest X-rays, compress it to a true INT8 model, and run it anywhere.

Importing this package, and segmenting with it, never imports PyTorch.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Segmentation", "Segmenter", "__version__"]

if TYPE_CHECKING:
    from adaloraqat.bundle import Segmentation, Segmenter


def __getattr__(name: str) -> Any:
    """Load the Segmenter on first use, so that `import adaloraqat` stays instant."""
    if name in ("Segmentation", "Segmenter"):
        from adaloraqat import bundle

        return getattr(bundle, name)
    raise AttributeError(f"module 'adaloraqat' has no attribute {name!r}")
