"""`adaloraqat export`: turn a run into a bundle that runs anywhere."""

import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from adaloraqat.cli.console import SOME_FAILED
from adaloraqat.errors import RecipeError

log = logging.getLogger("adaloraqat")

RUN, WEIGHTS, CHECKPOINT = "run", "weights", "checkpoint"
_PYTORCH = (".pth", ".pt")  # what a published checkpoint that is not there would have been


def export(
    run: Annotated[
        str,
        typer.Argument(
            help="A run folder written by train, base weights (a name such as lite-medsam, a folder or a "
            "file), or a checkpoint of AdaLoRA-QAT's public code (.pth).",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The bundle (folder) to write.", show_default=False)],
    precision: Annotated[
        str | None,
        typer.Option(
            help="fp32, paper, int8, qmedsam, reference, reference-weights or auto; default: what stage 2 "
            "trained, else int8; of base weights: fp32; of a checkpoint: reference."
        ),
    ] = None,
    max_drop: Annotated[
        float, typer.Option("--max-drop", help="--precision auto: validation Dice that INT8 may cost.")
    ] = 0.002,
    weight_range: Annotated[
        str | None,
        typer.Option(
            help="portable (7 bits, exact on every CPU) or full (needs VNNI); default: the policy's own."
        ),
    ] = None,
    to: Annotated[
        str, typer.Option(help="onnx, openvino (ONNX, and IR beside it), or huggingface (float weights).")
    ] = "onnx",
    data: Annotated[
        Path | None, typer.Option(help="Manifest to calibrate, choose the second pass and measure parity on.")
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="huggingface: store matrices in 16 bits.")] = False,
    stage: Annotated[str | None, typer.Option(help="Which finished stage; default: the last.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the bundle; default: the recipe's, or the file's.")
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(help="Run: what the bundle says of its licence; default: research use only."),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(help="Checkpoint: what adapters are multiplied by is alpha / target rank (32 / 32)."),
    ] = None,
    target_rank: Annotated[int | None, typer.Option(help="Checkpoint: see --alpha.")] = None,
    base: Annotated[
        str | None, typer.Option(help="Checkpoint of adapters alone: the weights that they belong to.")
    ] = None,
) -> None:
    """Write a finished stage of RUN, base weights or a checkpoint as a checked bundle or as float weights."""
    from adaloraqat.cli.options import set_up_torch

    if to not in ("onnx", "openvino", "huggingface"):
        raise RecipeError(f"There is no export format {to}; choose onnx, openvino or huggingface.")
    set_up_torch()
    from adaloraqat.export.bundle_writer import LICENCE
    from adaloraqat.export.export_checkpoint import Options, export_checkpoint, export_checkpoint_base
    from adaloraqat.export.export_run import DEFAULT_MAX_DROP, export_base, export_run
    from adaloraqat.export.export_weights import export_weights

    def report(line: str) -> None:
        log.info("%s", line)

    reading, path = Options(alpha, target_rank, base), Path(run)
    kind = _kind(run)
    if kind != RUN and (stage is not None or licence is not None or max_drop != DEFAULT_MAX_DROP):
        raise RecipeError("--stage, --max-drop and --licence are for runs: leave them out for weights.")
    if kind != CHECKPOINT and reading != Options():
        raise RecipeError(
            "--alpha, --target-rank and --base are for checkpoints of AdaLoRA-QAT: leave them out."
        )
    if to == "huggingface":
        if kind == WEIGHTS:
            raise RecipeError(f"{path.name} holds float weights already: use them as they are.")
        if kind == CHECKPOINT:
            export_checkpoint_base(path, out, reading, half, report)
        else:
            export_base(path, out, half)
        log.info("Done: %s holds float weights that transformers and a recipe's base.weights read.", out.name)
        return
    common: dict[str, Any] = {
        "precision": precision,
        "weight_range": weight_range,
        "manifest": data,
        "name": name,
        "openvino": to == "openvino",
        "report": report,
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
    from adaloraqat.models.published import is_name
    from adaloraqat.training.run import is_run

    path = Path(source)
    if is_name(source):
        return WEIGHTS
    if path.is_file():
        pickled = path.suffix in _PYTORCH or path.suffix == ".bin"
        return CHECKPOINT if pickled and is_adalora_qat_file(path) else WEIGHTS
    if path.is_dir() and not is_run(path) and (path / "config.json").is_file():
        return WEIGHTS
    return CHECKPOINT if path.suffix in _PYTORCH and not path.is_dir() else RUN
