"""`adaloraqat data phantom`: draw phantom films."""

from pathlib import Path
from typing import Annotated

import typer

from adaloraqat.challenge.phantoms import MODALITIES, write_case_phantoms
from adaloraqat.cli.console import progress
from adaloraqat.datasets.phantom import write_phantoms
from adaloraqat.errors import ManifestError


def phantom(
    count: Annotated[int, typer.Option("--count", min=1, help="How many films to draw.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for images/, masks/, labels/ and manifest.csv.")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed draws the same films.")] = 0,
    size: Annotated[int, typer.Option("--size", help="Width and height of a film in pixels.")] = 256,
    site: Annotated[
        str, typer.Option("--site", help="Look and mask convention: standard or bedside.")
    ] = "standard",
    dicom: Annotated[bool, typer.Option("--dicom", help="Write DICOM films, some of them inverted.")] = False,
    modality: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=COUNT]",
            help=f"Write challenge cases (.npz) of {', '.join(MODALITIES)} instead; may be repeated.",
        ),
    ] = None,
) -> None:
    """Draw phantom chest films with masks of lungs and heart, and their manifest."""
    if modality:
        if dicom or site != "standard":
            raise ManifestError("--modality draws cases of its own: leave --site and --dicom out.")
        counts = dict(_count(text, count) for text in modality)
        write_case_phantoms(out, counts, seed, size, track=lambda cases: progress(cases, "cases"))
        typer.echo(str(out / "manifest.csv"))
        return
    write_phantoms(out, count, seed, size, site, dicom, track=lambda films: progress(films, "films"))
    typer.echo(str(out / "manifest.csv"))


def _count(text: str, default: int) -> tuple[str, int]:
    """`CT=4` is four stacks, `CT` as many as --count says."""
    name, equals, number = text.partition("=")
    if equals and not number.isdigit():
        raise ManifestError(f"{text!r} names no modality with a count: write for example CT=4.")
    return name, int(number) if equals else default
