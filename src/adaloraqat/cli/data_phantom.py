"""`adaloraqat data phantom`: draw phantom films."""

from pathlib import Path
from typing import Annotated

import typer

from adaloraqat.cli.console import progress
from adaloraqat.datasets.phantom import write_phantoms


def phantom(
    count: Annotated[int, typer.Option("--count", min=1, help="How many films to draw.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for images/, masks/, labels/ and manifest.csv.")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed draws the same films.")] = 0,
    size: Annotated[int, typer.Option("--size", help="Width and height of a film in pixels.")] = 256,
    site: Annotated[
        str, typer.Option("--site", help="Look and mask convention: standard or bedside.")
    ] = "standard",
    dicom: Annotated[bool, typer.Option("--dicom", help="Write DICOM films, some of them inverted.")] = False,
) -> None:
    """Draw phantom chest films with masks of lungs and heart, and their manifest."""
    write_phantoms(out, count, seed, size, site, dicom, track=lambda films: progress(films, "films"))
    typer.echo(str(out / "manifest.csv"))
