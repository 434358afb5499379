"""What a demo leaves: a folder, in which only a former demo is ever replaced, and the numbers it reports."""

import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

from adaloraqat.bundle import Segmenter
from adaloraqat.bundle.operators import matrix_products
from adaloraqat.bundle.timing import median_ratio
from adaloraqat.errors import OutputError
from adaloraqat.evaluate.rows import NO_BOX, TRUE_BOX
from adaloraqat.files import write_text
from adaloraqat.lowrank import adapted_width, scaled_ranks
from adaloraqat.models.published import resolve
from adaloraqat.models.sam import count_parameters
from adaloraqat.report import style
from adaloraqat.training.kinds.adalora import AdaLoRAStage
from adaloraqat.training.recipe import Recipe
from adaloraqat.training.run import LoadedRun

MARKER = ".adaloraqat-demo"
BEFORE, AFTER, INT8, FP32 = "before", "after", "int8", "fp32"
_NOTE = "Made by `adaloraqat demo`. As long as this file is here, the next demo replaces the whole folder.\n"


class DemoFiles(NamedTuple):
    """Where a demo leaves its results.

    Attributes:
        folder: holds all others.
        manifest: of the films.
        run: the training's run folder.
        bundle: the INT8 bundle.
        float_bundle: the adapted model before quantisation, as FP32 ONNX: what the sizes are compared with.
        evaluation: scores and masks of the comparison.
        segmented: masks and overlays of the test films.
        report: the page.
        numbers: all numbers of the page, as JSON.
        figure: the strip for a README.
    """

    folder: Path
    manifest: Path
    run: Path
    bundle: Path
    float_bundle: Path
    evaluation: Path
    segmented: Path
    report: Path
    numbers: Path
    figure: Path

    @classmethod
    def below(cls, folder: Path) -> "DemoFiles":
        """Return the places of a demo in `folder`."""
        places = (
            *("films/manifest.csv", "run", "bundle", "bundle-fp32", "evaluation", "segmented"),
            *("report.html", "demo.json", "figure.png"),
        )
        return cls(folder, *(folder / place for place in places))


def claim(folder: Path) -> None:
    """Make `folder` an empty demo folder; the whole content of a former demo is removed.

    Raises:
        OutputError: it is a file or a link, holds anything that no demo made, or cannot be written.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise OutputError(f"{folder.name} is not a plain folder; choose another --out.")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / MARKER).is_file():
            raise OutputError(
                f"{folder.resolve().name} is not empty and is not an earlier demo, so it is left alone; "
                "choose another --out."
            )
        _empty(folder)
    write_text(folder / MARKER, _NOTE)


def _empty(folder: Path) -> None:
    """Remove everything; the marker goes last, so that an interrupted removal can be repeated."""
    try:
        for path in sorted(folder.iterdir(), key=lambda path: path.name == MARKER):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    except OSError as error:
        raise OutputError(
            f"The earlier demo in {folder.name} cannot be removed ({error.strerror}); choose another --out."
        ) from error


def next_command(files: DemoFiles, film: Path) -> str:
    """Return what to type after a demo, for this folder and this installation, without absolute paths."""
    program = Path(sys.executable).parent / "adaloraqat"
    found = Path.cwd() in program.parents and shutil.which("adaloraqat") is None
    place = Path(files.folder.name) if files.folder.is_absolute() else files.folder
    name = program.relative_to(Path.cwd()) if found else "adaloraqat"
    image, bundle = (place / path.relative_to(files.folder) for path in (film, files.bundle))
    return f"{name} segment {image} --model {bundle} --overlay"


# ---- numbers ------------------------------------------------------------------------------------------


def model_rows(recipe: Recipe, files: DemoFiles) -> list[dict[str, Any]]:
    """Return, for each model of the report: key, name, what it is, colour, and the bytes of its files."""
    return [
        {
            "key": BEFORE,
            "name": "Before",
            "what": f"{recipe.base.weights or 'random weights'}, in PyTorch, FP32",
            "colour": style.BEFORE,
            **_size(_base_file(recipe), "one .safetensors file"),
        },
        {
            "key": AFTER,
            "name": "After stage 1",
            "what": "base + adapters + decoder, in PyTorch, FP32",
            "colour": style.AFTER,
            **_size(files.float_bundle, "as FP32 ONNX"),
        },
        {
            "key": INT8,
            "name": "INT8",
            "what": "the exported bundle, in ONNX Runtime",
            "colour": style.INT8,
            **_size(files.bundle, "as INT8 ONNX"),
        },
    ]


def _base_file(recipe: Recipe) -> Path | None:
    weights = recipe.base.weights
    if weights is None:
        return None
    return resolve(weights) or Path(weights)


def _size(path: Path | None, words: str) -> dict[str, Any]:
    """Return the bytes of a model's weight files, as the file system gives them; None without a file."""
    if path is None:
        return {"bytes": None, "file": "random weights"}
    found = [path] if path.is_file() else [*path.glob("*.onnx"), *path.glob("*.safetensors")]
    return {"bytes": sum(file.stat().st_size for file in found), "file": words}


def scores_of(scores: dict[str, Any]) -> dict[str, Any]:
    """Return what the report says of one model's scores, out of its summary by prompt."""
    no_box = scores[NO_BOX]
    return {
        "dice_no_box": no_box["dice_mean"],
        "dice_true_box": scores[TRUE_BOX]["dice_mean"],
        "worst": no_box["dice_worst"],
        "worst_id": no_box["worst_id"],
        "failed": sum(numbers["failed"] for numbers in scores.values()),
        "empty": sum(numbers["empty"] for numbers in scores.values()),
    }


def training_numbers(result: dict[str, Any], adalora: AdaLoRAStage, adapted: LoadedRun) -> dict[str, Any]:
    """Return what training changed: ranks, components, parameters, the largest update."""
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


def prune_steps(adalora: AdaLoRAStage) -> list[int]:
    """Return the steps after which ranks are pruned, where they are known without the number of films."""
    steps = adalora.schedule.steps_per_epoch
    if adalora.prune_unit == "step":
        return list(adalora.prune_at)
    return [point * steps for point in adalora.prune_at] if steps else []


def products_sentence(integer: Segmenter, times: dict[str, list[float]]) -> str:
    """Return a sentence on what the runtime really executes, and what INT8 alone gives in it."""
    counted = [part.to_dict() for part in matrix_products(integer.bundle).values()]
    whole, floating = (sum(part[kind] for part in counted) for kind in ("integer", "float"))
    ratio = median_ratio(times, INT8, FP32)
    return (
        f"In ONNX Runtime's own optimised graph {whole} of {whole + floating} matrix products run in "
        f"integers. Within that runtime, INT8 is {ratio:.2f}× as fast as the same model in FP32."
    )
