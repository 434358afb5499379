"""`adaloraqat export`: turn a run into a bundle that runs anywhere."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from adaloraqat.cli.console import SOME_FAILED
from adaloraqat.errors import RecipeError

log = logging.getLogger("adaloraqat")


def export(
    run: Annotated[Path, typer.Argument(help="A run folder written by train.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="The bundle (folder) to write.", show_default=False)],
    precision: Annotated[
        str | None,
        typer.Option(help="fp32, paper, int8, qmedsam or auto; default: what stage 2 trained, else int8."),
    ] = None,
    max_drop: Annotated[
        float, typer.Option("--max-drop", help="--precision auto: validation Dice that INT8 may cost.")
    ] = 0.002,
    weight_range: Annotated[
        str | None, typer.Option(help="portable (7 bits, exact on every CPU) or full (needs VNNI).")
    ] = None,
    to: Annotated[
        str, typer.Option(help="onnx, openvino (ONNX, and IR beside it), or huggingface (float weights).")
    ] = "onnx",
    data: Annotated[
        Path | None, typer.Option(help="Manifest to calibrate, choose the second pass and measure parity on.")
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="huggingface: store matrices in 16 bits.")] = False,
    stage: Annotated[str | None, typer.Option(help="Which finished stage; default: the last.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the bundle; default: the recipe's.")] = None,
) -> None:
    """Write a finished stage of RUN as a checked bundle of ONNX files, or as float weights."""
    from adaloraqat.cli.options import set_up_torch

    if to not in ("onnx", "openvino", "huggingface"):
        raise RecipeError(f"There is no export format {to}; choose onnx, openvino or huggingface.")
    set_up_torch()
    from adaloraqat.export.export_run import export_base, export_run

    if to == "huggingface":
        export_base(run, out, half)
        log.info("Done: %s holds float weights that transformers and a recipe's base.weights read.", out.name)
        return
    bundle = export_run(
        run,
        out,
        precision=precision,
        weight_range=weight_range,
        manifest=data,
        name=name,
        stage=stage,
        openvino=to == "openvino",
        max_drop=max_drop,
        report=lambda line: log.info("%s", line),
    )
    log.info("Done. Next: adaloraqat segment FILM --model %s", out.name if out.is_absolute() else out)
    if bundle.training["films_left_out"]:
        raise typer.Exit(SOME_FAILED)
