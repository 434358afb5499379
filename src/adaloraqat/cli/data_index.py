"""`adaloraqat data index`: write a manifest for films and masks as their publisher ships them."""

import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from adaloraqat.datasets.folder import index_folder
from adaloraqat.datasets.manifest import write_manifest

log = logging.getLogger(__name__)


class Source(StrEnum):
    """Kinds of data that `data index` understands."""

    folder = "folder"


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
