"""Where this tool keeps what it can make or fetch again: compiled models here, published weights elsewhere.

OpenVINO compiles for seconds, and reads what it compiled much faster.
"""

import os
import shutil
from pathlib import Path

KEPT_MODELS = 8
"""Compiled models that are kept; the one used longest ago goes first."""

_VARIABLE = "ADALORAQAT_CACHE"
_OFF = ("", "off", "0")


def cache_root() -> Path | None:
    """Return the folder of everything kept between processes; None where `ADALORAQAT_CACHE` is "off".

    That variable's folder where it is set, else the user's cache. Nothing is made.

    Raises:
        RuntimeError: the user has no home.
    """
    chosen = os.environ.get(_VARIABLE)
    if chosen is None:
        return _user_cache()
    return None if chosen.strip().lower() in _OFF else Path(chosen)


def openvino_cache(key: str) -> Path | None:
    """Return a writable folder for the compiled form of one model, made where it is missing; None: no cache.

    It lies in `ADALORAQAT_CACHE` where that is set ("off": no cache), else in the user's cache. OpenVINO
    itself notes its version, the CPU and the settings there. All of it may be deleted at any time.

    Args:
        key: the SHA-256 of the model's file, so that nothing stale is ever read.
    """
    try:
        root = cache_root()
        if root is None:
            return None
        models = root / "openvino"
        folder = models / key[:32]
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        _forget_oldest(models)
    except (OSError, RuntimeError):  # no home, or nowhere to write: a cache is only a convenience
        return None
    return folder if os.access(folder, os.W_OK) else None


def _user_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "adaloraqat"


def _forget_oldest(models: Path) -> None:
    by_use = sorted(models.iterdir(), key=lambda folder: folder.stat().st_mtime)
    for folder in by_use[:-KEPT_MODELS]:
        shutil.rmtree(folder, ignore_errors=True)
