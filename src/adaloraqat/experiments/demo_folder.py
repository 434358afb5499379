"""The demo's folder: what lies where in it, and that only a former demo is ever replaced."""

import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from adaloraqat.errors import OutputError
from adaloraqat.files import write_text

MARKER = ".adaloraqat-demo"
_NOTE = "Made by `adaloraqat demo`. As long as this file is here, the next demo replaces the whole folder.\n"


class DemoFiles(NamedTuple):
    """Where a demo leaves its results.

    Attributes:
        folder: holds all others.
        manifest: of the films.
        run: the training's run folder.
        bundle: the INT8 bundle.
        float_bundle: the adapted model before quantisation, as FP32 ONNX: what the sizes are compared with.
        evaluation: scores and masks of the comparison.
        segmented: masks and overlays of the test films.
        report: the page.
        numbers: all numbers of the page, as JSON.
        figure: the strip for a README.
    """

    folder: Path
    manifest: Path
    run: Path
    bundle: Path
    float_bundle: Path
    evaluation: Path
    segmented: Path
    report: Path
    numbers: Path
    figure: Path

    @classmethod
    def below(cls, folder: Path) -> "DemoFiles":
        """Return the places of a demo in `folder`."""
        places = (
            *("films/manifest.csv", "run", "bundle", "bundle-fp32", "evaluation", "segmented"),
            *("report.html", "demo.json", "figure.png"),
        )
        return cls(folder, *(folder / place for place in places))


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
                f"{folder.resolve().name} is not empty and is not an earlier demo, so it is left alone; "
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
            f"The earlier demo in {folder.name} cannot be removed ({error.strerror}); choose another --out."
        ) from error


def next_command(files: DemoFiles, film: Path) -> str:
    """Return what to type after a demo, for this folder and this installation, without absolute paths."""
    program = Path(sys.executable).parent / "adaloraqat"
    found = Path.cwd() in program.parents and shutil.which("adaloraqat") is None
    place = Path(files.folder.name) if files.folder.is_absolute() else files.folder
    name = program.relative_to(Path.cwd()) if found else "adaloraqat"
    image, bundle = (place / path.relative_to(files.folder) for path in (film, files.bundle))
    return f"{name} segment {image} --model {bundle} --overlay"
