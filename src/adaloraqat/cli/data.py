"""`adaloraqat data`: make, index and divide data sets."""

import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from adaloraqat.cli.console import progress
from adaloraqat.datasets.folder import index_folder
from adaloraqat.datasets.manifest import SPLITS, assign_splits, read_manifest, write_manifest
from adaloraqat.datasets.phantom import write_phantoms
from adaloraqat.errors import ManifestError

log = logging.getLogger(__name__)

data_app = typer.Typer(name="data", help="Make, index and divide data sets.", no_args_is_help=True)


class Source(StrEnum):
    """Kinds of data that `data index` understands."""

    folder = "folder"


@data_app.command("phantom")
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


@data_app.command("split")
def split(
    manifest: Annotated[Path, typer.Argument(help="The manifest to divide.")],
    out: Annotated[Path, typer.Option("--out", help="The manifest to write; may be the same file.")],
    seed: Annotated[int, typer.Option("--seed", help="Another seed gives another division.")] = 0,
    fractions: Annotated[
        str, typer.Option("--fractions", help="Shares of train, val and test.")
    ] = "0.7,0.15,0.15",
) -> None:
    """Divide a manifest's patients into train, val and test; films that have a split keep it."""
    entries = assign_splits(read_manifest(manifest), _fractions(fractions), seed)
    write_manifest(out, entries)
    for name in SPLITS:
        log.info("%s: %d films", name, sum(entry.split == name for entry in entries))
    typer.echo(str(out))


@data_app.command("index")
def index(
    source: Annotated[
        Source, typer.Argument(help="What lies at PATH: folder = images/ and masks/ of equal names.")
    ],
    path: Annotated[Path, typer.Argument(help="The folder to index.")],
    out: Annotated[Path, typer.Option("--out", help="The manifest to write.")],
) -> None:
    """Write a manifest for films and masks that lie in folders."""
    found = index_folder(path, source=path.resolve().name or source.value)
    for notice in found.notices:
        log.warning("%s", notice)
    write_manifest(out, found.entries)
    log.info("%d films indexed, %d files left out", len(found.entries), len(found.notices))
    typer.echo(str(out))


def _fractions(text: str) -> tuple[float, float, float]:
    try:
        train, val, test = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ManifestError(
            f"The fractions {text!r} are not three numbers separated by commas: give train, val and test, "
            "for example 0.7,0.15,0.15."
        ) from error
    return train, val, test
