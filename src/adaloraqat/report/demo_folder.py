"""The demo's folder: made anew each time, but only ever where a demo was before, or nothing."""

import shutil
from pathlib import Path

from adaloraqat.errors import OutputError
from adaloraqat.files import write_text

MARKER = ".adaloraqat-demo"
_NOTE = "Made by `adaloraqat demo`. While this file is here, the next demo replaces this whole folder.\n"


def claim(folder: Path) -> None:
    """Make `folder` an empty demo folder; the whole content of a former demo is removed.

    Raises:
        OutputError: it is a file or a link, holds anything that no demo made, or cannot be written.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise OutputError(f"{folder.name} is not a plain folder; choose another --out.")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / MARKER).is_file():
            raise OutputError(
                f"{folder.resolve().name} is not empty and is no former demo, so it is left alone; "
                "choose another --out."
            )
        _empty(folder)
    write_text(folder / MARKER, _NOTE)


def _empty(folder: Path) -> None:
    """Remove everything; the marker goes last, so that an interrupted removal can be repeated."""
    try:
        for path in sorted(folder.iterdir(), key=lambda path: path.name == MARKER):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    except OSError as error:
        raise OutputError(
            f"The former demo in {folder.name} cannot be removed ({error.strerror}); choose another --out."
        ) from error
