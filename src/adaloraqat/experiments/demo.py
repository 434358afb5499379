"""The demo: the whole way from a shipped base to an INT8 bundle for a new site, measured at each step.

Films are drawn by the phantom generator, so that nothing needs to be downloaded and the new site has a look
and a mask convention of its own. Everything else is what `train`, `export`, `evaluate` and `segment` do.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from adaloraqat.bundle import Segmenter
from adaloraqat.bundle.timing import interleaved, median_ratio
from adaloraqat.datasets.manifest import Entry, read_manifest, select, write_manifest
from adaloraqat.datasets.phantom import write_phantoms
from adaloraqat.datasets.split import assign_splits
from adaloraqat.errors import RecipeError
from adaloraqat.evaluate.evaluation import evaluate
from adaloraqat.evaluate.machine import environment
from adaloraqat.evaluate.rows import NO_BOX, read_rows
from adaloraqat.experiments.demo_results import (
    AFTER,
    BEFORE,
    FP32,
    INT8,
    DemoFiles,
    claim,
    model_rows,
    next_command,
    products_sentence,
    prune_steps,
    scores_of,
    training_numbers,
)
from adaloraqat.export.bundle_writer import export_bundle
from adaloraqat.export.export_run import export_run
from adaloraqat.files import write_json
from adaloraqat.models.published import resolve
from adaloraqat.progress import Progress, Report, no_progress
from adaloraqat.quantize.calibration import in_precision
from adaloraqat.quantize.policy import POLICIES
from adaloraqat.radiograph import read_film, write_mask, write_overlay
from adaloraqat.renamed import renamed_arguments
from adaloraqat.report.figures import rank_map, training_figure
from adaloraqat.report.page import figure_address, film_panels, write_report
from adaloraqat.report.pictures import Look, ShownFilm, ShownModel, panels, shown_films, write_strip
from adaloraqat.training.kinds.adalora import AdaLoRAStage
from adaloraqat.training.kinds.quantize import QuantizeStage
from adaloraqat.training.recipe import Recipe
from adaloraqat.training.run import LoadedRun, load_run, load_start, run_segmenter
from adaloraqat.training.run_folder import RunFolder
from adaloraqat.training.train import train

logger = logging.getLogger(__name__)

_TURNS = 12
_PAGE, _STRIP = Look(420, 2.0, 2.6), Look(300, 2.0, 2.6)


LEAST_GAIN = 0.05
"""By how much training must raise the mean validation Dice (no box)."""

LARGEST_LOSS = 0.01
"""How much of it the integer model may lose against the trained one."""


@dataclass(frozen=True)
class DemoPlan:
    """How many films of how many pixels are drawn, and how they are shared out to train, val and test.

    With `data`, a manifest, its films are taken instead; those without a split get one by `fractions`.
    """

    films: int = 90
    size: int = 320
    fractions: tuple[float, float, float] = (6 / 9, 2 / 9, 1 / 9)
    site: str = "bedside"
    data: Path | None = None


@renamed_arguments(track="progress")
def run_demo(
    recipe: Recipe,
    out: Path,
    plan: DemoPlan | None = None,
    report: Report = logger.info,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Draw films, train, export, compare, segment, and write the report.

    Args:
        recipe: one `adalora` stage and then one `quantize` stage; its seed draws the films too.
        out: the folder; new or empty, or a former demo, which is replaced.
        plan: the films.
        report: receives one line of progress at a time.
        progress: shows how many items of a task are done.

    Returns:
        the content of demo.json; `verdict` is what `judge` says.

    Raises:
        OutputError: `out` holds something that no demo made, or cannot be written.
        RecipeError: the recipe lacks one of the two stages.
        ManifestError: `plan.data` cannot be read.
        AdaloraqatError: with one sentence for anything else that a user can fix.
    """
    plan = plan or DemoPlan()
    adalora, _ = _both_stages(recipe)
    clock, files = _Clock(report), DemoFiles.below(out)
    if recipe.base.weights is not None:
        resolve(recipe.base.weights)  # refuses before anything is removed or drawn
    given = None if plan.data is None else read_manifest(plan.data)
    claim(out)
    what = f"drawing {plan.films} films of the site “{plan.site}”" if given is None else "reading the films"
    with clock.step("films", what):
        entries = _films(files, plan, given, recipe.seed, progress)
    with clock.step("training", "training both stages"):
        result = train(recipe, files.manifest, files.run, report=report)
    with clock.step("export", "exporting the INT8 bundle and measuring its parity"):
        export_run(files.run, files.bundle, report=report)
        integer = Segmenter.load(files.bundle)
        second_pass = integer.bundle.prompt.second_pass
        adapted = load_run(files.run, adalora.name)
        segmenters = {
            BEFORE: run_segmenter(_base(recipe), second_pass),
            AFTER: run_segmenter(adapted, second_pass),
            INT8: integer,
        }
        floating = _export_float(adapted, files.float_bundle, second_pass)
    with clock.step("comparison", "comparing before, after and INT8 on the validation films"):
        validation = select(entries, "val")
        summary = evaluate(segmenters, validation, files.evaluation, progress)
        film = read_film(validation[0].path_image)
        timed = {**segmenters, FP32: floating}
        times = interleaved({name: partial(model.segment, film) for name, model in timed.items()}, _TURNS)
    with clock.step("segmentation", "segmenting the test films with the INT8 bundle"):
        _segment(integer, select(entries, "test"), files.segmented)
    with clock.step("report", "writing the report"):
        scores = {name: next(iter(groups.values())) for name, groups in summary["models"].items()}
        document = {
            "verdict": judge(scores[BEFORE], scores[AFTER], scores[INT8]),
            "films": {
                **{split: len(select(entries, split)) for split in ("train", "val", "test")},
                "size": plan.size if given is None else None,
                "site": plan.site if given is None else None,
            },
            "models": [
                {
                    **row,
                    **scores_of(scores[row["key"]]),
                    "milliseconds": median(times[row["key"]]),
                    "speedup": median_ratio(times, row["key"], AFTER),
                }
                for row in model_rows(recipe, files)
            ],
            "training": training_numbers(result, adalora, adapted),
            "parity": dict(integer.bundle.parity),
            "products": products_sentence(integer, times),
            "environment": environment(),
            "base": recipe.base.weights,
            "policy": integer.bundle.precision.policy,
            "seed": recipe.seed,
            "fingerprint": result["data_fingerprint"],
            "warnings": [*result["warnings"], *integer.warnings],
            "next_command": next_command(files, select(entries, "test")[0].path_image),
            "timing": clock.to_dict(),
        }
        write_json(files.numbers, document)
        rows = [row for row in read_rows(files.evaluation / "films.csv") if row.prompt == NO_BOX]
        models = [
            ShownModel(
                model["name"],
                [row for row in rows if row.model == model["key"]],
                files.evaluation,
                model["colour"],
            )
            for model in document["models"]
        ]
        shown = shown_films(models, validation)
        pictures = {
            "films": film_panels(shown, _PAGE),
            "curve": figure_address(training_figure(RunFolder(files.run).metrics(), prune_steps(adalora))),
            "ranks": figure_address(
                rank_map(document["training"]["ranks"], document["training"]["full_rank"])
            ),
        }
        write_report(files.report, document, pictures)
        _write_figure(files.figure, shown)
    return document


def judge(before: Mapping[str, Any], after: Mapping[str, Any], int8: Mapping[str, Any]) -> dict[str, Any]:
    """Judge whether a demo may call itself a success, by three models' numbers of one source.

    A film on which a model failed counts as Dice 0 in its mean already, and is a failure of its own.

    Returns:
        `passed`, `gain` (after − before) and `change` (INT8 − after) in mean Dice without a box, the limits
        of both, and `failures`, a sentence each.
    """
    first, trained, integer = (model[NO_BOX]["dice_mean"] for model in (before, after, int8))
    gain, change = trained - first, integer - trained
    failures = []
    if not gain >= LEAST_GAIN:  # so written, NaN fails too
        failures.append(
            f"Training changed the validation Dice by {gain:+.4f} but at least +{LEAST_GAIN:.2f} is "
            "required: train longer, or raise the learning rates in the recipe."
        )
    if not change >= -LARGEST_LOSS:
        failures.append(
            f"INT8 changed the validation Dice by {change:+.4f} but at most -{LARGEST_LOSS:.2f} is allowed: "
            "train stage 2 longer, or calibrate on more films."
        )
    failed = sum(model[prompt]["failed"] for model in (before, after, int8) for prompt in model)
    if failed:
        failures.append(f"{failed} results failed and count as Dice 0: see films.csv for the reasons.")
    return {
        "passed": not failures,
        "gain": gain,
        "change": change,
        "least_gain": LEAST_GAIN,
        "largest_loss": LARGEST_LOSS,
        "failures": failures,
    }


# ---- steps ---------------------------------------------------------------------------------------------


@dataclass
class _Clock:
    """Announces steps and keeps how long each took, in seconds."""

    report: Report
    steps: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)
    count: int = 6

    @contextmanager
    def step(self, name: str, words: str) -> Any:
        self.report(f"[{len(self.steps) + 1}/{self.count}] {words}")
        begun = time.perf_counter()
        yield
        self.steps[name] = time.perf_counter() - begun

    def to_dict(self) -> dict[str, Any]:
        seconds = time.perf_counter() - self.started
        minutes = f"{seconds / 60:.1f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"
        return {"seconds": seconds, "minutes": minutes, "steps": dict(self.steps)}


def _both_stages(recipe: Recipe) -> tuple[AdaLoRAStage, QuantizeStage]:
    adalora, quantize = recipe.stages_of(AdaLoRAStage), recipe.stages_of(QuantizeStage)
    if not adalora or not quantize:
        raise RecipeError(
            "The demo needs an adalora stage and a quantize stage; start from recipes/demo.yaml."
        )
    return adalora[0], quantize[0]


def _films(
    files: DemoFiles, plan: DemoPlan, given: list[Entry] | None, seed: int, progress: Progress
) -> list[Entry]:
    entries = given
    if entries is None:
        drawn = write_phantoms(
            files.manifest.parent, plan.films, seed, plan.size, plan.site, progress=progress
        )
        # the generator shares its films out as for a data set; the demo wants more of them for validation
        entries = [replace(entry, split=None) for entry in drawn]
    entries = assign_splits(entries, plan.fractions, seed)
    write_manifest(files.manifest, entries)
    return entries


def _base(recipe: Recipe) -> LoadedRun:
    model, structure = load_start(recipe.base, recipe.seed)
    preprocessing = structure.preprocessing_at()
    return LoadedRun(model.eval(), structure, preprocessing, recipe, "base", {}, fingerprint="")


def _export_float(adapted: LoadedRun, folder: Path, second_pass: bool) -> Segmenter:
    policy = POLICIES["fp32"]
    model, _ = in_precision(adapted.model, policy, trained=None)
    export_bundle(
        model,
        folder,
        policy=policy,
        preprocessing=adapted.preprocessing,
        name="demo-fp32",
        outlines=adapted.recipe.outlines,
        second_pass=second_pass,
    )
    return Segmenter.load(folder)


def _segment(segmenter: Segmenter, entries: Sequence[Entry], out: Path) -> None:
    for entry in entries:
        film = read_film(entry.path_image)
        result = segmenter.segment(film)
        write_mask(out / f"{entry.path_image.stem}_mask.png", result.mask)
        write_overlay(out / f"{entry.path_image.stem}_overlay.png", film, result.mask)


def _write_figure(path: Path, shown: Sequence[ShownFilm]) -> None:
    """Write the strip for a README: the median film with its true outline, and each model's."""
    film = next((film for film in shown if film.place == "median"), shown[0])
    _, (_, _, truth), *models = panels(film, _STRIP)
    strip = [("Phantom film", "yellow: true outline", truth)]
    write_strip(path, [*strip, *((name, f"Dice {dice:.3f}", picture) for name, dice, picture in models)])
