"""`adaloraqat data split`: divide a manifest into train, val and test."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from adaloraqat.cli.console import progress
from adaloraqat.datasets.audit.audit import duplicate_pairs
from adaloraqat.datasets.audit.naming import named
from adaloraqat.datasets.audit.stored import stored_pairs
from adaloraqat.datasets.audit.workers import available_cores
from adaloraqat.datasets.manifest import SPLITS, Entry, assign_splits, read_manifest, write_manifest
from adaloraqat.errors import ManifestError

log = logging.getLogger(__name__)


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
