"""`adaloraqat data`: index, export, audit, split and draw data sets."""

import logging
from collections import Counter
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from adaloraqat.challenge.phantoms import MODALITIES, write_case_phantoms
from adaloraqat.cli.console import SOME_FAILED, progress
from adaloraqat.cli.options import one_of
from adaloraqat.datasets.audit.audit import Audit, audit, duplicate_pairs, named, stored_pairs, write_audit
from adaloraqat.datasets.audit.workers import available_cores
from adaloraqat.datasets.index import index_films
from adaloraqat.datasets.manifest import SPLITS, Entry, read_manifest, write_manifest
from adaloraqat.datasets.nnunet import write_nnunet
from adaloraqat.datasets.phantom import write_phantoms
from adaloraqat.datasets.sources import find_source
from adaloraqat.datasets.split import assign_splits
from adaloraqat.errors import ManifestError, OutputError
from adaloraqat.extras import extra_of, install

log = logging.getLogger(__name__)

data_app = typer.Typer(
    name="data",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Index, audit and split data sets; draw phantoms.",
)


class SourceName(StrEnum):
    """Data sets that `data index` reads (`datasets.sources.SOURCES`)."""

    jsrt = "jsrt"
    qata_cov19 = "qata_cov19"
    covid19_radiography = "covid19_radiography"
    covid_qu_ex = "covid_qu_ex"
    siim_acr = "siim_acr"
    montgomery = "montgomery"
    shenzhen = "shenzhen"
    montgomery_shenzhen = "montgomery_shenzhen"
    v7_covid19 = "v7_covid19"
    medsam_npz = "medsam_npz"
    nnunet = "nnunet"
    folder = "folder"
    modalities = "modalities"
    manifest = "manifest"


def _source(given: str) -> SourceName:
    """Return the source of a name; capitals and hyphens do not matter."""
    try:
        return SourceName(given.lower().replace("-", "_"))
    except ValueError as error:
        raise typer.BadParameter(f"{given!r} is not one of {one_of(SourceName)}.") from error


def _complete_source(incomplete: str) -> list[str]:
    return [name for name in SourceName if name.startswith(incomplete)]


class MaskKind(StrEnum):
    """Mask conventions (`datasets.manifest.MASK_KINDS`)."""

    lungs = "lungs"
    lung_field = "lung-field"
    whole_lung = "whole-lung"
    heart = "heart"
    clavicles = "clavicles"
    infection = "infection"
    pneumothorax = "pneumothorax"


class Site(StrEnum):
    """Sites that phantom films come from (`datasets.phantom.site.PHANTOM_SITES`)."""

    standard = "standard"
    bedside = "bedside"


@data_app.command("index")
def index(
    source: Annotated[
        SourceName,
        typer.Argument(
            metavar="SOURCE",
            help=f"Data set at PATH: {one_of(SourceName)}.",
            parser=_source,
            autocompletion=_complete_source,
        ),
    ],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Folder of the unpacked data set.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Manifest (CSV) to write.")],
    mask: Annotated[
        MaskKind | None,
        typer.Option(
            "--mask",
            metavar="KIND",
            help=f"Mask convention: {one_of(MaskKind)}.",
            show_default="the source's",
        ),
    ] = None,
    published_split: Annotated[
        bool, typer.Option("--published-split", help="Keep the split that the publisher made.")
    ] = False,
) -> None:
    """Write a manifest for a data set.

    SOURCE is a published data set, or one of your own as a folder, nnU-Net data set or manifest.
    """
    found = find_source(source)
    listing = found.listing(path, mask)
    for notice in listing.notices:
        log.warning("%s", notice)
    prepared = index_films(listing, out, progress=progress)
    keep = published_split or found.name == "manifest"
    write_manifest(out, prepared.entries if keep else [replace(e, split=None) for e in prepared.entries])
    for failure in prepared.failures:
        log.error("%s", failure)
    kinds = sorted({entry.outlines or "not stated" for entry in prepared.entries})
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
    """Layouts of other programs."""

    nnunet = "nnunet"


@data_app.command("export")
def export(
    layout: Annotated[Layout, typer.Argument(metavar="LAYOUT", help="nnunet: the raw format of nnU-Net v2.")],
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="Manifest (CSV), with its splits.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the data set, such as nnUNet_raw.")],
    name: Annotated[
        str, typer.Option("--name", help="Name of the data set; nnU-Net requires a three-digit number.")
    ] = "Dataset501_Films",
) -> None:
    """Write films, masks and splits for nnU-Net.

    Films in the test split go to imagesTs and labelsTs.
    """
    entries = read_manifest(manifest)
    write_nnunet(entries, out, name, progress=progress)
    typer.echo(str(out / name))


@data_app.command("audit")
def audit_command(
    manifests: Annotated[
        list[Path], typer.Argument(metavar="MANIFEST", help="Manifests (CSV), compared with each other.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for audit.json, .csv and .html.")],
    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 1 if anything is found.")] = False,
) -> None:
    """Find copies, leaks, damaged files and wrong masks.

    Also finds images that are not frontal chest films. The findings are listed on a page with thumbnails.
    """
    films = [(manifest, read_manifest(manifest, files_exist=False)) for manifest in manifests]
    if out.exists() and not out.is_dir():  # said before all films are read, not after
        raise OutputError(f"{out.name} is a file: give a folder for the audit with --out.")
    result = audit(films, available_cores(), progress)
    written = write_audit(result, out)
    _say(result)
    page = _write_page(result, out / "audit.html")
    for path in [*written, *page]:
        typer.echo(str(path))
    if strict and result.findings:
        raise typer.Exit(SOME_FAILED)


def _say(result: Audit) -> None:
    """Report on stderr what was found, as a table of kinds."""
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
            "leak (%s): %s are in %s", leak["kind"], ", ".join(leak["films"]), ", ".join(leak["splits"])
        )
    log.info(
        "%d films audited (%d unreadable), %d findings, %.1f films per second",
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
        if extra_of(error.name) != "evidence":
            raise
        log.warning("audit.html is left out: it needs %s; run %s.", error.name, install("evidence"))
        return []
    return [path]


@data_app.command("split")
def split(
    manifests: Annotated[
        list[Path],
        typer.Argument(metavar="MANIFEST", help="Manifest (CSV) to split; several are joined first."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Manifest to write; may be the same file.")],
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random split.")] = 0,
    fractions: Annotated[
        str,
        typer.Option(
            "--fractions", metavar="TRAIN,VAL,TEST", help="Fractions of patients in train, val and test."
        ),
    ] = "0.8,0.1,0.1",
    external: Annotated[
        list[str] | None,
        typer.Option(
            "--external", metavar="SOURCE", help="Keep this source entirely as test set (repeatable)."
        ),
    ] = None,
    duplicates: Annotated[
        Path | None,
        typer.Option(
            "--duplicates",
            metavar="FILE",
            help="audit.json of these films.",
            show_default="compare the films now",
        ),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare/--no-duplicates", help="Keep copies of a film in one split.")
    ] = True,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Ignore existing splits and assign all films again.")
    ] = False,
) -> None:
    """Split patients into train, val and test.

    Films that already have a split keep it.

    The films are compared first, so that copies of a film end up in the same split; this takes about as long
    as reading them. Join sources that may share films by giving several manifests.
    """
    shares = _fractions(fractions)
    entries = _together(manifests, fresh)
    # before all films are compared, not after:
    assign_splits(entries, shares, seed, (), external or ())
    if out.is_dir():
        raise OutputError(f"{out.name} is a folder: give a file for the manifest with --out.")
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
            "%d of %d films keep the split they have; use --fresh to assign all again.", kept, len(tasks)
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
                "Films that cannot be read, so that their copies cannot be found: %d", len(unreadable)
            )
    else:
        log.warning("With --no-duplicates, copies of a film may end up in different splits.")
        return []
    log.info("Pairs of copies kept together: %d", len(pairs))
    return pairs


def _fractions(text: str) -> tuple[float, float, float]:
    try:
        train, val, test = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ManifestError(
            f"--fractions {text} is not three numbers separated by commas: give train, val and test, such as "
            "0.8,0.1,0.1."
        ) from error
    return train, val, test


@data_app.command("phantom")
def phantom(
    count: Annotated[int, typer.Option("--count", min=1, metavar="N", help="Number of films.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for films, masks and manifest.csv.")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed; the same seed draws the same films.")] = 0,
    size: Annotated[int, typer.Option("--size", metavar="PIXELS", help="Width and height of a film.")] = 256,
    site: Annotated[Site, typer.Option("--site", help="Appearance and mask convention.")] = Site.standard,
    dicom: Annotated[bool, typer.Option("--dicom", help="Write DICOM, some films inverted.")] = False,
    modality: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=COUNT]",
            help=f"Draw challenge cases (.npz) instead: {', '.join(MODALITIES)} (repeatable).",
        ),
    ] = None,
) -> None:
    """Draw synthetic chest films with masks.

    The masks show lungs and heart; a manifest is written as well.
    """
    if modality:
        if dicom or site != Site.standard:
            raise ManifestError("--modality cannot be combined with --site or --dicom: leave them out.")
        counts = dict(_count(text, count) for text in modality)
        write_case_phantoms(out, counts, seed, size, progress=progress)
    else:
        write_phantoms(out, count, seed, size, site, dicom, progress=progress)
    typer.echo(str(out / "manifest.csv"))


def _count(text: str, default: int) -> tuple[str, int]:
    """`CT=4` is four stacks, `CT` as many as --count says."""
    name, equals, number = text.partition("=")
    if equals and not number.isdigit():
        raise ManifestError(f"--modality {text} is not NAME or NAME=COUNT: write for example CT=4.")
    return name, int(number) if equals else default
