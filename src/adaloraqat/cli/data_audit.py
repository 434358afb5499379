"""`adaloraqat data audit`: look at the films of manifests before they are trusted."""

import logging
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from adaloraqat.cli.console import progress
from adaloraqat.cli.exit_codes import SOME_FAILED
from adaloraqat.datasets.audit.audit import Audit, audit, write_audit
from adaloraqat.datasets.audit.workers import available_cores
from adaloraqat.datasets.manifest import read_manifest
from adaloraqat.errors import OutputError

log = logging.getLogger(__name__)

_PAGE_PACKAGES = ("jinja2", "scipy", "matplotlib", "skimage")


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
