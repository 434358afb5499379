"""The demo: the whole way from a shipped base to an INT8 bundle for a new site, measured at each step.

Films are drawn by the phantom generator, so that nothing needs to be downloaded and the new site has a look
and a mask convention of its own. Everything else is what `train`, `export`, `evaluate` and `segment` do.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from adaloraqat.bundle import Segmenter
from adaloraqat.bundle.operators import matrix_products
from adaloraqat.bundle.shipped import shipped_base
from adaloraqat.bundle.timing import interleaved, median_ratio
from adaloraqat.datasets.manifest import Entry, assign_splits, select, write_manifest
from adaloraqat.datasets.phantom import write_phantoms
from adaloraqat.errors import RecipeError
from adaloraqat.export.bundle_writer import export_bundle
from adaloraqat.export.export_run import export_run
from adaloraqat.export.precision import in_precision
from adaloraqat.files import write_json
from adaloraqat.lowrank import adapted_width, scaled_ranks
from adaloraqat.models.sam import architecture_of, count_parameters
from adaloraqat.quantize import POLICIES
from adaloraqat.radiograph import read_film, write_mask, write_overlay
from adaloraqat.report import colours
from adaloraqat.report.demo_folder import claim
from adaloraqat.report.demo_pictures import ShownModel, film_panels, write_figure
from adaloraqat.report.environment import environment
from adaloraqat.report.evaluation import NO_BOX, TRUE_BOX, evaluate
from adaloraqat.report.figures import rank_map, training_curve
from adaloraqat.report.next_command import next_command
from adaloraqat.report.page import svg_address, write_report
from adaloraqat.report.verdict import Verdict, judge
from adaloraqat.training.kinds.adalora import AdaLoRAStage
from adaloraqat.training.kinds.quantize import QuantizeStage
from adaloraqat.training.recipe import Recipe
from adaloraqat.training.run import SHIPPED_BASE, LoadedRun, load_run, load_start
from adaloraqat.training.run_folder import RunFolder
from adaloraqat.training.structure import Structure, preprocessing_for
from adaloraqat.training.torch_engine import run_segmenter
from adaloraqat.training.train import train

logger = logging.getLogger(__name__)
Track = Callable[[Sequence[Any], str], Iterable[Any]]

BEFORE, AFTER, INT8, FP32 = "before", "after", "int8", "fp32"
_TURNS = 12


@dataclass(frozen=True)
class DemoPlan:
    """How many films of how many pixels are drawn, and how they are shared out to train, val and test."""

    films: int = 90
    size: int = 320
    fractions: tuple[float, float, float] = (6 / 9, 2 / 9, 1 / 9)
    site: str = "bedside"


@dataclass(frozen=True)
class DemoFiles:
    """Where a demo leaves its results, below its folder."""

    folder: Path

    @property
    def manifest(self) -> Path:
        """The films' manifest."""
        return self.folder / "films" / "manifest.csv"

    @property
    def run(self) -> Path:
        """The training's run folder."""
        return self.folder / "run"

    @property
    def bundle(self) -> Path:
        """The INT8 bundle."""
        return self.folder / "bundle"

    @property
    def float_bundle(self) -> Path:
        """The adapted model before quantisation, as FP32 ONNX: what the sizes are compared with."""
        return self.folder / "bundle-fp32"

    @property
    def evaluation(self) -> Path:
        """Scores and masks of the comparison."""
        return self.folder / "evaluation"

    @property
    def segmented(self) -> Path:
        """Masks and overlays of the test films."""
        return self.folder / "segmented"

    @property
    def report(self) -> Path:
        """The page."""
        return self.folder / "report.html"

    @property
    def numbers(self) -> Path:
        """All numbers of the page, as JSON."""
        return self.folder / "demo.json"

    @property
    def figure(self) -> Path:
        """The strip for a README."""
        return self.folder / "figure.png"


@dataclass(frozen=True)
class DemoOutcome:
    """What a demo found; `document` is the content of demo.json."""

    files: DemoFiles
    verdict: Verdict
    document: dict[str, Any]


def run_demo(
    recipe: Recipe,
    out: Path,
    plan: DemoPlan | None = None,
    report: Callable[[str], None] = logger.info,
    track: Track = lambda items, what: items,
) -> DemoOutcome:
    """Draw films, train, export, compare, segment, and write the report.

    Args:
        recipe: one `adalora` stage and then one `quantize` stage; its seed draws the films too.
        out: the folder; new or empty, or a former demo, which is replaced.
        plan: the films.
        report: receives one line of progress at a time.
        track: wraps a list of items, named by a plural noun, to show progress.

    Raises:
        OutputError: `out` holds something that no demo made, or cannot be written.
        RecipeError: the recipe lacks one of the two stages.
        AdaloraqatError: with one sentence for anything else that a user can mend.
    """
    plan = plan or DemoPlan()
    adalora, _ = _both_stages(recipe)
    clock, files = _Clock(report), DemoFiles(out)
    if recipe.base.weights == SHIPPED_BASE and not Path(SHIPPED_BASE).exists():
        shipped_base()  # refuses before anything is removed or drawn
    claim(out)
    with clock.step("films", f"drawing {plan.films} films of the site “{plan.site}”"):
        entries = _draw(files, plan, recipe.seed, track)
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
        summary = evaluate(segmenters, validation, files.evaluation, lambda films: track(films, "films"))
        times = _latencies({**segmenters, FP32: floating}, validation[0])
    with clock.step("segmentation", "segmenting the test films with the INT8 bundle"):
        _segment(integer, select(entries, "test"), files.segmented)
    with clock.step("report", "writing the report"):
        scores = {name: next(iter(groups.values())) for name, groups in summary["models"].items()}
        verdict = judge(scores[BEFORE], scores[AFTER], scores[INT8])
        document = {
            "verdict": verdict.to_dict(),
            "films": _films(entries, plan),
            "models": [
                {**row, **_scores(scores[row["key"]]), **_speed(times, row["key"])}
                for row in _rows(recipe, files)
            ],
            "training": _training(result, adalora, adapted),
            "parity": dict(integer.bundle.parity),
            "products": _products(integer, times),
            "environment": environment(),
            "seed": recipe.seed,
            "fingerprint": result["data_fingerprint"],
            "warnings": [*result["warnings"], *integer.warnings],
            "next_command": next_command(out, select(entries, "test")[0].path_image),
            "timing": clock.to_dict(),
        }
        write_json(files.numbers, document)
        shown = [ShownModel(row["key"], row["name"], row["colour"]) for row in document["models"]]
        pictures = {
            "films": film_panels(files.evaluation, validation, shown),
            "curve": svg_address(training_curve(RunFolder(files.run).metrics(), _prunes(adalora))),
            "ranks": svg_address(rank_map(document["training"]["ranks"], document["training"]["full_rank"])),
        }
        write_report(files.report, document, pictures)
        write_figure(files.figure, files.evaluation, validation, shown)
    return DemoOutcome(files, verdict, document)


# ---- steps ---------------------------------------------------------------------------------------------


@dataclass
class _Clock:
    """Announces steps and keeps how long each took, in seconds."""

    report: Callable[[str], None]
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


def _draw(files: DemoFiles, plan: DemoPlan, seed: int, track: Track) -> list[Entry]:
    entries = write_phantoms(
        files.manifest.parent,
        plan.films,
        seed,
        plan.size,
        plan.site,
        track=lambda films: track(films, "films"),
    )
    # the generator shares its films out as for a data set; the demo wants more of them for validation
    entries = assign_splits([replace(entry, split=None) for entry in entries], plan.fractions, seed)
    write_manifest(files.manifest, entries)
    return entries


def _base(recipe: Recipe) -> LoadedRun:
    model = load_start(recipe.base, recipe.seed)[0].eval()
    architecture = architecture_of(model)
    return LoadedRun(
        model, Structure(architecture), preprocessing_for(architecture), recipe, "base", {}, fingerprint=""
    )


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


def _latencies(segmenters: dict[str, Segmenter], entry: Entry) -> dict[str, list[float]]:
    film = read_film(entry.path_image)
    return interleaved({name: partial(s.segment, film) for name, s in segmenters.items()}, _TURNS)


def _segment(segmenter: Segmenter, entries: Sequence[Entry], out: Path) -> None:
    for entry in entries:
        film = read_film(entry.path_image)
        result = segmenter.segment(film)
        write_mask(out / f"{entry.path_image.stem}_mask.png", result.mask)
        write_overlay(out / f"{entry.path_image.stem}_overlay.png", film, result.mask)


# ---- numbers -------------------------------------------------------------------------------------------


def _rows(recipe: Recipe, files: DemoFiles) -> list[dict[str, Any]]:
    return [
        {
            "key": BEFORE,
            "name": "Before",
            "what": "the base that ships, in PyTorch, FP32",
            "colour": colours.BEFORE,
            **_size(_base_file(recipe), "one .safetensors file"),
        },
        {
            "key": AFTER,
            "name": "After stage 1",
            "what": "base + adapters + decoder, in PyTorch, FP32",
            "colour": colours.AFTER,
            **_size(files.float_bundle, "as FP32 ONNX"),
        },
        {
            "key": INT8,
            "name": "INT8",
            "what": "the exported bundle, in ONNX Runtime",
            "colour": colours.INT8,
            **_size(files.bundle, "as INT8 ONNX"),
        },
    ]


def _base_file(recipe: Recipe) -> Path | None:
    weights = recipe.base.weights
    if weights is None:
        return None
    return shipped_base() if weights == SHIPPED_BASE and not Path(weights).exists() else Path(weights)


def _size(path: Path | None, words: str) -> dict[str, Any]:
    """Return the bytes of a model's weight files, as the file system gives them; None without a file."""
    if path is None:
        return {"bytes": None, "file": "random weights"}
    found = [path] if path.is_file() else [*path.glob("*.onnx"), *path.glob("*.safetensors")]
    return {"bytes": sum(file.stat().st_size for file in found), "file": words}


def _scores(scores: dict[str, Any]) -> dict[str, Any]:
    no_box = scores[NO_BOX]
    return {
        "dice_no_box": no_box["dice_mean"],
        "dice_true_box": scores[TRUE_BOX]["dice_mean"],
        "worst": no_box["dice_worst"],
        "worst_id": no_box["worst_id"],
        "failed": sum(numbers["failed"] for numbers in scores.values()),
        "empty": sum(numbers["empty"] for numbers in scores.values()),
    }


def _speed(times: dict[str, list[float]], name: str) -> dict[str, float]:
    return {"milliseconds": median(times[name]), "speedup": median_ratio(times, name, AFTER)}


def _films(entries: Sequence[Entry], plan: DemoPlan) -> dict[str, Any]:
    counts = {split: sum(entry.split == split for entry in entries) for split in ("train", "val", "test")}
    return {**counts, "size": plan.size, "site": plan.site}


def _training(result: dict[str, Any], adalora: AdaLoRAStage, adapted: LoadedRun) -> dict[str, Any]:
    width = adapted_width(adapted.model)
    full, _ = scaled_ranks(adalora.r_max, adalora.r_target, width)
    entry = next(stage for stage in result["stages"] if stage["name"] == adalora.name)
    ranks: dict[str, int] = entry["ranks"]
    updates = entry["relative_update"]
    return {
        "stages": result["stages"],
        "ranks": ranks,
        "full_rank": full,
        "components_before": full * len(ranks),
        "components_after": sum(ranks.values()),
        "trainable": entry["trainable_parameters"],
        "parameters": count_parameters(adapted.model)["total"],
        "largest_update": max(updates.values()),
    }


def _prunes(adalora: AdaLoRAStage) -> list[int]:
    """Return the steps after which ranks are pruned, where they can be told without the number of films."""
    steps = adalora.schedule.steps_per_epoch
    if adalora.prune_unit == "step":
        return list(adalora.prune_at)
    return [point * steps for point in adalora.prune_at] if steps else []


def _products(integer: Segmenter, times: dict[str, list[float]]) -> str:
    """Return a sentence on what the runtime really executes, and what INT8 alone gives in it."""
    counted = [part.to_dict() for part in matrix_products(integer.bundle).values()]
    whole, floating = (sum(part[kind] for part in counted) for kind in ("integer", "float"))
    ratio = median_ratio(times, INT8, FP32)
    return (
        f"In ONNX Runtime's own optimised graph {whole} of {whole + floating} matrix products run in "
        f"integers. Within that runtime, INT8 is {ratio:.2f}× as fast as the same model in FP32."
    )
