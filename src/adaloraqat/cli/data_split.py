"""`adaloraqat data split`: divide a manifest into train, val and test."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from adaloraqat.datasets.manifest import SPLITS, assign_splits, read_manifest, write_manifest
from adaloraqat.errors import ManifestError

log = logging.getLogger(__name__)


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


def _fractions(text: str) -> tuple[float, float, float]:
    try:
        train, val, test = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ManifestError(
            f"The fractions {text!r} are not three numbers separated by commas: give train, val and test, "
            "for example 0.7,0.15,0.15."
        ) from error
    return train, val, test
