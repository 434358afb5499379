"""Files appear whole or not at all: atomic writing, and hashing."""

import errno
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from adaloraqat.errors import OutputError

_CACHE_VARIABLE = "ADALORAQAT_CACHE"
_CACHE_OFF = ("", "off", "0")


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`; move it onto `path` only when the block ends without an error.

    The temporary name keeps the suffix, because writers choose a format by it. On any exception, Ctrl-C
    included, the temporary file is removed and `path` is left as it was.

    Raises:
        OutputError: the folder cannot be made or written, or the disk is full.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # the beginning of the name alone, so that every name fits that is not too long itself
        prefix, suffix = f".{target.stem[:20]}.", f".tmp{target.suffix}"
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=target.parent)
    except OSError as error:
        raise OutputError(_sentence(target, error)) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _flush(temporary)
        os.chmod(temporary, 0o666 & ~umask())  # mkstemp makes private files; results are ordinary ones
        os.replace(temporary, target)
    except OSError as error:
        raise OutputError(_sentence(target, error)) from error
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], document: Any) -> None:
    """Write `document` as indented JSON, atomically. NaN is refused: JSON has none."""
    write_text(path, json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def check_folder(path: str | os.PathLike[str]) -> None:
    """Refuse a file where a folder of results is to be, before there are results.

    Raises:
        OutputError: `path`, or what it lies in, is a file or cannot be a folder.
    """
    for place in (Path(path), *Path(path).parents):
        try:
            if stat.S_ISDIR(place.stat().st_mode):
                return
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise OutputError(_sentence(place, error)) from error
        raise OutputError(f"{place.name} is a file, not a folder: choose another output folder.")


def cache_root() -> Path | None:
    """Return the folder of all that is kept between processes; None where `ADALORAQAT_CACHE` is "off".

    That variable's folder where it is set, else the user's cache. Nothing is made. Compiled models lie there,
    and published weights.

    Raises:
        RuntimeError: the user has no home.
    """
    chosen = os.environ.get(_CACHE_VARIABLE)
    if chosen is not None:
        return None if chosen.strip().lower() in _CACHE_OFF else Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "adaloraqat"


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _flush(path: Path) -> None:
    with open(path, "rb+") as stream:
        os.fsync(stream.fileno())


def umask() -> int:
    """Return this process's file mode creation mask."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sentence(target: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"No space is left to write {target.name}: free some disk space, or choose another output folder."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{target.name} cannot be written: no permission for its folder; choose another output folder."
    if error.errno == errno.ENAMETOOLONG:
        return f"{target.name[:40]}… cannot be written: its name is too long; give its film a shorter one."
    return f"{target.name} cannot be written: {error.strerror or error}; choose another output folder."
