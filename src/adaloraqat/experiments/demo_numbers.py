"""The numbers that the demo's report tells: sizes, scores, ranks, products in integers."""

from pathlib import Path
from typing import Any

from adaloraqat.bundle import Segmenter
from adaloraqat.bundle.operators import matrix_products
from adaloraqat.bundle.timing import median_ratio
from adaloraqat.evaluate.rows import NO_BOX, TRUE_BOX
from adaloraqat.experiments.demo_folder import DemoFiles
from adaloraqat.lowrank import adapted_width, scaled_ranks
from adaloraqat.models.published import resolve
from adaloraqat.models.sam import count_parameters
from adaloraqat.report import style
from adaloraqat.training.kinds.adalora import AdaLoRAStage
from adaloraqat.training.recipe import Recipe
from adaloraqat.training.run import LoadedRun

BEFORE, AFTER, INT8, FP32 = "before", "after", "int8", "fp32"


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
