"""`adaloraqat data index`: write a manifest for films and masks as their publisher ships them."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from adaloraqat.cli.console import progress
from adaloraqat.cli.exit_codes import SOME_FAILED
from adaloraqat.datasets.entry import MASK_KINDS
from adaloraqat.datasets.manifest import write_manifest
from adaloraqat.datasets.prepare import prepare
from adaloraqat.datasets.sources import SOURCES, find_source

log = logging.getLogger(__name__)


def index(
    source: Annotated[str, typer.Argument(help=f"What lies at PATH: {', '.join(SOURCES)}.")],
    path: Annotated[Path, typer.Argument(help="The folder that the archive unpacked to.")],
    out: Annotated[Path, typer.Option("--out", help="The manifest to write.")],
    mask: Annotated[
        str | None, typer.Option("--mask", help=f"What the masks shall outline: {', '.join(MASK_KINDS)}.")
    ] = None,
    published_split: Annotated[
        bool, typer.Option("--published-split", help="Keep the publisher's own train, val and test.")
    ] = False,
) -> None:
    """Write a manifest for a published data set or your own films, each mask on its film's grid."""
    found = find_source(source)
    listing = found.listing(path, mask)
    for notice in listing.notices:
        log.warning("%s", notice)
    prepared = prepare(listing, out, track=lambda films: progress(films, "films"))
    keep = published_split or found.name == "manifest"
    write_manifest(out, prepared.entries if keep else [replace(e, split=None) for e in prepared.entries])
    for failure in prepared.failures:
        log.error("%s", failure)
    kinds = sorted({entry.outlines or "not said" for entry in prepared.entries})
    log.info(
        "%d films indexed (masks: %s), %d failed",
        len(prepared.entries),
        ", ".join(kinds),
        len(prepared.failures),
    )
    typer.echo(str(out))
    if prepared.failures:
        raise typer.Exit(SOME_FAILED)
