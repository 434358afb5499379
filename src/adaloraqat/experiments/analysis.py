"""`adaloraqat analyse`: what quantisation does to a run's numbers, and which layers can bear it."""

import copy
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from adaloraqat.datasets.manifest import evenly_spread, fingerprint, read_manifest
from adaloraqat.evaluate.machine import environment
from adaloraqat.export.sensitivity import Films, propose
from adaloraqat.files import write_json, write_text
from adaloraqat.progress import Report
from adaloraqat.quantize.calibration import in_precision
from adaloraqat.quantize.error_analysis import activation_errors, weight_errors
from adaloraqat.quantize.policy import policy_named
from adaloraqat.report.quantisation import (
    quantisation_figure,
    sensitivity_csv,
    sensitivity_figure,
    sensitivity_markdown,
)
from adaloraqat.report.style import save_figure
from adaloraqat.training.batches import calibration_batches
from adaloraqat.training.run import LoadedRun
from adaloraqat.training.run_films import UsableFilms, choose_films

WEIGHT_RANGES = ("portable", "full")
_CALIBRATION_FILMS = 32
_ERROR_FILMS = 8


def analyse(
    run: LoadedRun,
    manifest: Path,
    out: Path,
    policies: Sequence[str],
    max_drop: float,
    report: Report,
    ranked: int | None = None,
) -> dict[str, Any]:
    """Write the quantisation-error figures and the sensitivity of a run to `out`.

    Figures `errors-<policy>-<weight range>-weights` and `-activations` and `sensitivity` (SVG, PDF, PNG), and
    analysis.json with every number in them, and the groups as sensitivity.csv and .md. Ranges are calibrated
    on training films, scores are of the validation split; nothing looks at test films. Films that cannot be
    used are left out with a warning.

    Args:
        run: a float or fake-quantised stage.
        manifest: with splits train and val.
        out: folder.
        policies: of "int8", "paper", "qmedsam": whose errors are drawn, each with both weight ranges.
        max_drop: the validation Dice that the proposed policy may cost.
        report: receives one line of progress at a time.
        ranked: how many validation films rank the groups; all if not given. The proposed policy is measured
            on all.

    Raises:
        AdaloraqatError: with one sentence for anything that a user can fix.
    """
    training, validation = choose_films(read_manifest(manifest, files_exist=False), run.recipe)
    usable = UsableFilms()
    calibration = usable.load(evenly_spread(training, _CALIBRATION_FILMS), run.preprocessing)
    films = Films(calibration, usable.load(validation, run.preprocessing), run.preprocessing, ranked=ranked)
    document: dict[str, Any] = {"stage": run.stage, "errors": {}}
    for policy in policies:
        for weight_range in WEIGHT_RANGES:
            report(f"errors of {policy}, {weight_range} weight range")
            key = f"{policy}-{weight_range}"
            document["errors"][key] = _errors(run, policy, weight_range, films, out)
    proposal = propose(copy.deepcopy(run.model), policy_named("int8"), films, max_drop, report)
    save_figure(sensitivity_figure(proposal), out, "sensitivity")
    document |= {
        "sensitivity": {
            "policy": "int8",
            "max_drop": max_drop,
            **{key: value for key, value in asdict(proposal).items() if key != "policy"},
            "rules": proposal.policy.to_dict()["rules"],
        },
        "films": {
            "calibration": len(calibration),
            "validation": len(films.validation),
            "ranking": len(films.ranking().validation),
            "left_out": usable.left_out,
        },
        "fingerprint": fingerprint([*training, *validation], files_exist=False),
        "environment": environment(),
    }
    write_json(out / "analysis.json", document)
    write_text(out / "sensitivity.csv", sensitivity_csv(document["sensitivity"]))
    write_text(out / "sensitivity.md", sensitivity_markdown(document))
    return document


def _errors(run: LoadedRun, policy: str, weight_range: str, films: Films, out: Path) -> dict[str, Any]:
    chosen = policy_named(policy, weight_range)  # type: ignore[arg-type]
    batches = calibration_batches(films.calibration, films.preprocessing, films.count, films.seed)
    model, _ = in_precision(run.model, chosen, run.policy, batches)
    few = calibration_batches(films.calibration, films.preprocessing, _ERROR_FILMS, films.seed)
    layers = {"weights": weight_errors(model), "activations": activation_errors(model, few)}
    numbers: dict[str, Any] = {}
    for what, errors in layers.items():
        figure, summary = quantisation_figure(errors, what)
        save_figure(figure, out, f"errors-{policy}-{weight_range}-{what}")
        numbers[what] = asdict(summary) | {
            "layers": {layer.name: {"step": layer.step, "decibels": layer.decibels} for layer in errors}
        }
    return numbers
