"""What a person types after the demo."""

import shutil
import sys
from pathlib import Path


def next_command(out: Path, film: Path) -> str:
    """Return what to type next, for this folder and this installation, without absolute paths."""
    program = Path(sys.executable).parent / "adaloraqat"
    found = Path.cwd() in program.parents and shutil.which("adaloraqat") is None
    place = out if not out.is_absolute() else Path(out.name)
    name = program.relative_to(Path.cwd()) if found else "adaloraqat"
    return f"{name} segment {place / film.relative_to(out)} --model {place / 'bundle'} --overlay"
