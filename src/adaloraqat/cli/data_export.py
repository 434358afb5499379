"""`adaloraqat data export`: write a manifest's films in another tool's layout."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from adaloraqat.cli.console import progress
from adaloraqat.datasets.manifest import read_manifest
from adaloraqat.datasets.nnunet import write_nnunet


class Layout(StrEnum):
    """Layouts that films can be written in."""

    nnunet = "nnunet"


def export(
    layout: Annotated[Layout, typer.Argument(help="nnunet: the raw format of nnU-Net version 2.")],
    manifest: Annotated[Path, typer.Argument(help="The films; their splits are kept.")],
    out: Annotated[Path, typer.Option("--out", help="The folder for the data set, such as nnUNet_raw.")],
    name: Annotated[
        str, typer.Option("--name", help="Name of the data set; nnU-Net wants a three-digit number.")
    ] = "Dataset501_Films",
) -> None:
    """Write films, masks and splits as nnU-Net reads them; test films go to imagesTs and labelsTs."""
    entries = read_manifest(manifest)
    write_nnunet(entries, out, name, track=lambda films: progress(films, "films"))
    typer.echo(str(out / name))
