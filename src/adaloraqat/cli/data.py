"""`adaloraqat data`: index, export, audit, divide and draw data sets."""

import logging
from collections import Counter
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from adaloraqat.challenge.phantoms import MODALITIES, write_case_phantoms
from adaloraqat.cli.console import SOME_FAILED, progress
from adaloraqat.datasets.audit.audit import Audit, audit, duplicate_pairs, named, stored_pairs, write_audit
from adaloraqat.datasets.audit.workers import available_cores
from adaloraqat.datasets.index import index_films
from adaloraqat.datasets.manifest import MASK_KINDS, SPLITS, Entry, read_manifest, write_manifest
from adaloraqat.datasets.nnunet import write_nnunet
from adaloraqat.datasets.phantom import write_phantoms
from adaloraqat.datasets.sources import SOURCES, find_source
from adaloraqat.datasets.split import assign_splits
from adaloraqat.errors import ManifestError, OutputError

log = logging.getLogger(__name__)

data_app = typer.Typer(name="data", help="Make, index, audit and divide data sets.", no_args_is_help=True)


@data_app.command("index")
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
    prepared = index_films(listing, out, progress=progress)
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


class Layout(StrEnum):
    """Layouts that films can be written in."""

    nnunet = "nnunet"


@data_app.command("export")
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
    write_nnunet(entries, out, name, progress=progress)
    typer.echo(str(out / name))


_PAGE_PACKAGES = ("jinja2", "scipy", "matplotlib", "skimage")


@data_app.command("audit")
def audit_command(
    manifests: Annotated[list[Path], typer.Argument(help="Manifests; copies are looked for across them.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for audit.json, audit.csv and audit.html.")],
    strict: Annotated[
        bool, typer.Option("--strict", help="End with exit code 1 if anything is found.")
    ] = False,
) -> None:
    """Find copies, leaking splits, damaged files, wrong masks and films that are no frontal chest films."""
    films = [(manifest, read_manifest(manifest, files_exist=False)) for manifest in manifests]
    if out.exists() and not out.is_dir():  # said before all films are read, not after
        raise OutputError(f"{out.name} is a file: name a folder for the audit with --out.")
    result = audit(films, available_cores(), progress)
    written = write_audit(result, out)
    _say(result)
    page = _write_page(result, out / "audit.html")
    for path in [*written, *page]:
        typer.echo(str(path))
    if strict and result.findings:
        raise typer.Exit(SOME_FAILED)


def _say(result: Audit) -> None:
    """Tell on stderr what was found, as a table of kinds."""
    counts = result.document["counts"]
    rows = [("duplicates", kind, count) for kind, count in counts["duplicates"].items()]
    rows += [("split leaks", kind, count) for kind, count in counts["split_leaks"].items()]
    rows += [
        ("problems", kind, count) for kind, count in Counter(p.kind for p in result.problems).most_common()
    ]
    if counts["look_alikes"]:
        rows.append(("look-alikes", "(no proof)", counts["look_alikes"]))
    for what, kind, count in rows:
        log.info("%-12s %-22s %6d", what, kind, count)
    for leak in result.split_leaks[:5]:
        log.warning(
            "leak (%s): %s stand in %s", leak["kind"], ", ".join(leak["films"]), ", ".join(leak["splits"])
        )
    log.info(
        "%d films looked at (%d unreadable), %d findings, %.1f films a second",
        counts["films"],
        counts["unreadable"],
        result.findings,
        result.document["timing"]["images_per_second"],
    )


def _write_page(result: Audit, path: Path) -> list[Path]:
    try:
        from adaloraqat.report.audit_page import write_audit_page

        write_audit_page(path, result)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _PAGE_PACKAGES:
            raise
        log.warning("audit.html is left out: it needs %s, by pip install 'adaloraqat[evidence]'.", error.name)
        return []
    return [path]


@data_app.command("split")
def split(
    manifests: Annotated[
        list[Path], typer.Argument(help="The manifest to divide; several become one, divided together.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The manifest to write; may be the same file.")],
    seed: Annotated[int, typer.Option("--seed", help="Another seed gives another division.")] = 0,
    fractions: Annotated[
        str, typer.Option("--fractions", help="Shares of train, val and test.")
    ] = "0.8,0.1,0.1",
    external: Annotated[
        list[str] | None,
        typer.Option("--external", help="A source that stays whole, as test; may be given again."),
    ] = None,
    duplicates: Annotated[
        Path | None,
        typer.Option("--duplicates", help="The audit.json of these films; without it they are compared now."),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare/--no-duplicates", help="Keep copies of one film in one split.")
    ] = True,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Divide films that have a split again, too.")
    ] = False,
) -> None:
    """Divide a manifest's patients into train, val and test; films that have a split keep it.

    Copies of one film stay in one split: the films are compared first, which takes about as long as to read
    them. Several manifests are divided together into one, because published sources share films.
    """
    shares = _fractions(fractions)
    entries = _together(manifests, fresh)
    pairs = _pairs(manifests[0], entries, duplicates, compare)
    divided = assign_splits(entries, shares, seed, pairs, external or ())
    write_manifest(out, divided)
    for name in SPLITS:
        log.info("%s: %d films", name, sum(entry.split == name for entry in divided))
    typer.echo(str(out))


def _together(manifests: list[Path], fresh: bool) -> list[Entry]:
    """Return the films of all manifests; those that share an id get their manifest's name before it."""
    tasks = named([(manifest, read_manifest(manifest)) for manifest in manifests])
    kept = 0 if fresh else sum(entry.split is not None for _, entry in tasks)
    if kept:
        log.info(
            "%d of %d films have a split and keep it; --fresh divides them again, too.", kept, len(tasks)
        )
    return [replace(entry, id=name, split=None if fresh else entry.split) for name, entry in tasks]


def _pairs(manifest: Path, entries: list[Entry], stored: Path | None, compare: bool) -> list[tuple[str, str]]:
    if stored is not None:
        pairs, notice = stored_pairs(stored, manifest, entries)
        if notice:
            log.warning("%s", notice)
    elif compare:
        pairs, unreadable = duplicate_pairs(manifest, entries, available_cores(), progress)
        for sentence in unreadable:
            log.warning("%s", sentence)
        if unreadable:
            log.warning(
                "Films that cannot be read: %d; whether they have copies is unknown.", len(unreadable)
            )
    else:
        log.warning(
            "Copies of one film were not looked for (--no-duplicates): they may end in several splits."
        )
        return []
    log.info("Pairs of copies kept together: %d", len(pairs))
    return pairs


def _fractions(text: str) -> tuple[float, float, float]:
    try:
        train, val, test = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ManifestError(
            f"The fractions {text!r} are not three numbers separated by commas: give train, val and test, "
            "for example 0.8,0.1,0.1."
        ) from error
    return train, val, test


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
        write_case_phantoms(out, counts, seed, size, progress=progress)
    else:
        write_phantoms(out, count, seed, size, site, dicom, progress=progress)
    typer.echo(str(out / "manifest.csv"))


def _count(text: str, default: int) -> tuple[str, int]:
    """`CT=4` is four stacks, `CT` as many as --count says."""
    name, equals, number = text.partition("=")
    if equals and not number.isdigit():
        raise ManifestError(f"{text!r} names no modality with a count: write for example CT=4.")
    return name, int(number) if equals else default
