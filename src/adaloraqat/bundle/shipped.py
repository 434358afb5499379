"""The models that ship inside the package: where they lie."""

from pathlib import Path

from adaloraqat.errors import BundleError
from adaloraqat.files import cache_root

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
DEFAULT_MODEL = "lung-field"
_BASE = "base"


def shipped_names() -> tuple[str, ...]:
    """Names of the bundles in this installation, sorted; the default model comes first."""
    found = sorted(path.parent.name for path in WEIGHTS.glob("*/bundle.json"))
    return tuple(sorted(found, key=lambda name: name != DEFAULT_MODEL))


def shipped_path(name: str) -> Path:
    """Folder of a shipped bundle.

    Raises:
        BundleError: no bundle of this name ships here.
    """
    if name not in shipped_names():
        shipped = ", ".join(shipped_names()) or "none in this installation"
        raise BundleError(f"No model called {name!r} ships with the package: choose one of {shipped}.")
    return WEIGHTS / name


def kept_bundle(name: str) -> Path | None:
    """Folder of the bundle of published weights that `adaloraqat weights get` wrote; None: there is none."""
    if name != Path(name).name or name.startswith("."):
        return None  # a path
    try:
        root = cache_root()
    except RuntimeError:
        return None
    folder = bundle_folder(root, name) if root is not None else None
    return folder if folder is not None and (folder / "bundle.json").is_file() else None


def bundle_folder(root: Path, name: str) -> Path:
    """Where in a cache the bundle of published weights belongs."""
    return root / "bundles" / name


def shipped_base() -> Path:
    """Folder of the floating-point base model for further fine-tuning (safetensors).

    Raises:
        BundleError: this installation carries no base.
    """
    folder = WEIGHTS / _BASE
    if not folder.is_dir():
        raise BundleError(
            "This installation carries no base model for fine-tuning: install a release of adaloraqat, "
            "or name the folder of a Segment Anything model in the recipe."
        )
    return folder
