"""`adaloraqat export`: turn a run into a bundle that runs anywhere."""

import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from adaloraqat.cli.console import SOME_FAILED, tell
from adaloraqat.cli.options import Precision, one_of, set_up_torch
from adaloraqat.errors import RecipeError

log = logging.getLogger("adaloraqat")

RUN, WEIGHTS, CHECKPOINT = "run", "weights", "checkpoint"


class Format(StrEnum):
    """What `export --to` writes."""

    onnx = "onnx"
    openvino = "openvino"
    huggingface = "huggingface"


class WeightRange(StrEnum):
    """Ranges of INT8 weights (`bundle.format.WEIGHT_RANGES`)."""

    portable = "portable"
    full = "full"


_PYTORCH = (".pth", ".pt")  # what a published checkpoint that is not there would have been


def export(
    run: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A run folder, base weights (a name such as lite-medsam, a folder or a file), a bundle in "
            "floating point or w8 (lung-field), or a checkpoint of AdaLoRA-QAT's public code (.pth).",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the bundle.", show_default=False)],
    precision: Annotated[
        Precision | None,
        typer.Option(
            metavar="POLICY",
            help=f"{one_of(Precision)}; auto keeps in float the layers that INT8 harms most.",
            show_default="run: as trained, else int8; checkpoint: reference; otherwise fp32",
        ),
    ] = None,
    max_drop: Annotated[
        float, typer.Option("--max-drop", help="With --precision auto: validation Dice that INT8 may cost.")
    ] = 0.002,
    weight_range: Annotated[
        WeightRange | None,
        typer.Option(
            help="Portable weights (7 bits) are exact on every CPU, full ones (8 bits) need VNNI.",
            show_default="the policy's",
        ),
    ] = None,
    to: Annotated[
        Format,
        typer.Option(help="ONNX; ONNX and OpenVINO IR; or float weights that transformers reads."),
    ] = Format.onnx,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Manifest (CSV) with films to calibrate and validate on.", show_default="a run's own"
        ),
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="With --to huggingface: store matrices in 16 bits.")
    ] = False,
    stage: Annotated[
        str | None, typer.Option(help="Stage to export.", show_default="the last finished")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the bundle.", show_default="the recipe's or the file's")
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(help="Run only: licence to state in the bundle; default: research use only."),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(help="Checkpoint only: adapters are scaled by alpha / target rank.", show_default="32"),
    ] = None,
    target_rank: Annotated[
        int | None, typer.Option(help="Checkpoint only: see --alpha.", show_default="32")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="For a checkpoint that holds adapters only: the weights they belong to."),
    ] = None,
) -> None:
    """Turn a trained model into a bundle that runs anywhere, and check that it answers as the model does."""
    set_up_torch()
    from adaloraqat.export.bundle_writer import LICENCE
    from adaloraqat.export.export_checkpoint import Options, export_checkpoint, export_checkpoint_base
    from adaloraqat.export.export_run import DEFAULT_MAX_DROP, export_base, export_run
    from adaloraqat.export.export_weights import export_weights

    reading, path = Options(alpha, target_rank, base), Path(run)
    kind = _kind(run)
    if kind != RUN and (stage is not None or licence is not None or max_drop != DEFAULT_MAX_DROP):
        raise RecipeError("--stage, --max-drop and --licence are for runs only: leave them out.")
    if kind != CHECKPOINT and reading != Options():
        raise RecipeError(
            "--alpha, --target-rank and --base are for AdaLoRA-QAT checkpoints only: leave them out."
        )
    if to == "huggingface":
        if kind == WEIGHTS:
            raise RecipeError(f"{path.name} can be trained on as it is: give it as base.weights of a recipe.")
        if kind == CHECKPOINT:
            how = export_checkpoint_base(path, out, reading, half, tell)
        else:
            how = export_base(path, out, half)
        log.info("Done: %s holds float weights, for base.weights of a recipe; %s.", out.name, how)
        return
    common: dict[str, Any] = {
        "precision": precision,
        "weight_range": weight_range,
        "manifest": data,
        "name": name,
        "openvino": to == "openvino",
        "report": tell,
    }
    if kind == CHECKPOINT:
        bundle = export_checkpoint(path, out, reading, **common)
    elif kind == WEIGHTS:
        bundle = export_weights(run, out, **common)
    else:
        bundle = export_run(path, out, stage=stage, max_drop=max_drop, licence=licence or LICENCE, **common)
    log.info("Done. Next: adaloraqat segment FILM --model %s", out.name if out.is_absolute() else out)
    if bundle.training["films_left_out"]:
        raise typer.Exit(SOME_FAILED)


def _kind(source: str) -> str:
    """Return what there is to export: names go before paths, and a run before other folders."""
    from adaloraqat.models.adalora_qat_checkpoint import is_adalora_qat_file
    from adaloraqat.models.published import is_bundle, is_name
    from adaloraqat.training.run import is_run

    path = Path(source)
    if is_name(source) or is_bundle(source):
        return WEIGHTS
    if path.is_file():
        pickled = path.suffix in _PYTORCH or path.suffix == ".bin"
        return CHECKPOINT if pickled and is_adalora_qat_file(path) else WEIGHTS
    if path.is_dir() and not is_run(path) and (path / "config.json").is_file():
        return WEIGHTS
    return CHECKPOINT if path.suffix in _PYTORCH and not path.is_dir() else RUN
