"""`adaloraqat report`: a table recipe in, the finished table and its page out; resumable at every row."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adaloraqat.bundle import Segmenter
from adaloraqat.bundle.timing import median_ratio
from adaloraqat.datasets.manifest import Entry, fingerprint
from adaloraqat.files import check_folder, write_json, write_text
from adaloraqat.report.chosen_films import choose_scored
from adaloraqat.report.environment import environment
from adaloraqat.report.evaluation import Each
from adaloraqat.report.predictions import Predictions
from adaloraqat.report.speed import segmenter_times
from adaloraqat.report.tables.build import build_table
from adaloraqat.report.tables.formats import to_csv, to_markdown
from adaloraqat.report.tables.latex import to_latex
from adaloraqat.report.tables.recipe import TableRecipe
from adaloraqat.report.tables.rows import Method, Report, make_method

TIMED_TURNS = 15


def make_table(
    table: TableRecipe,
    manifest: Path,
    runs: Path,
    out: Path,
    command: str,
    report: Report,
    each: Each = lambda entries: entries,
) -> tuple[dict[str, Any], list[Method], list[Entry]]:
    """Make every row, then write table.json, table.csv, table.md and table.tex to `out`.

    Args:
        table: what stands in the table.
        manifest: the films; training, validation and test splits.
        runs: folder of run folders, reused and added to.
        out: folder for the table and the scores.
        command: what a reader types to make the table again.
        report: receives one line of progress at a time.
        each: wraps the films to show progress.

    Returns:
        the content of table.json, the methods and the films scored.

    Raises:
        AdaloraqatError: with one sentence for anything that a user can mend.
    """
    entries = choose_scored(manifest, table.split, table.sources)
    check_folder(out)
    for row in table.rows:
        if row.predictions is not None:
            Predictions(row.predictions, entries)  # told now, not after hours of training other rows
    methods = [make_method(row, table, entries, manifest, runs, out, report, each) for row in table.rows]
    speeds = _speeds(table, methods) if "speed" in table.columns else {}
    document = build_table(table, methods, speeds) | {
        "command": command,
        "data": {"films": len(entries), "fingerprint": fingerprint(entries, files_exist=False)},
        "environment": environment(),
    }
    write_json(out / "table.json", document)
    write_text(out / "table.csv", to_csv(document))
    write_text(out / "table.md", to_markdown(document, command))
    write_text(out / "table.tex", to_latex(document))
    return document, methods, entries


def _speeds(table: TableRecipe, methods: Sequence[Method]) -> dict[str, float]:
    """Time every bundle in turns on one film; return how many times as fast as the reference each is."""
    bundles = {method.row.name: method.bundle for method in methods if method.bundle is not None}
    if table.reference not in bundles:
        return {}
    segmenters = {name: Segmenter.load(str(bundle.folder)) for name, bundle in bundles.items()}
    times = segmenter_times(segmenters, TIMED_TURNS)
    return {name: median_ratio(times, name, table.reference) for name in times}
