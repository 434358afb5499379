"""`adaloraqat push`: upload a bundle to the Hugging Face Hub, with a model card."""

import logging
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaloraqat.cli.console import print_json, print_line, tell
from adaloraqat.cli.options import JsonFlag, complete_model, set_up_torch

if TYPE_CHECKING:
    from adaloraqat.bundle import Bundle

log = logging.getLogger("adaloraqat")


def push(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A bundle folder, a model's name, or a run folder, which is exported as trained.",
            autocompletion=complete_model,
            show_default=False,
        ),
    ],
    repository: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="Repository on the Hub.", show_default=False)
    ],
    private: Annotated[
        bool, typer.Option("--private", help="Create a private repository, and refuse a public one.")
    ] = False,
    revision: Annotated[
        str | None,
        typer.Option(metavar="BRANCH", help="Branch; created if it does not exist.", show_default="main"),
    ] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder that `evaluate` wrote for this bundle; its scores go into the card.",
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Upload a bundle to the Hugging Face Hub, with a model card, in one commit.

    A repository that does not exist is created. Its README.md is replaced by the model card. The token comes
    from HF_TOKEN or `hf auth login`.

    To choose precision, licence or name of a run's bundle, run `adaloraqat export` first.
    """
    from adaloraqat.report.push import Push, read_scores

    target = Push(repository, revision, private)  # before PyTorch, which sets the client offline
    with tempfile.TemporaryDirectory(prefix="adaloraqat-push-") as work:
        bundle, names = _bundle(source, Path(work))
        scores = [] if evaluation is None else read_scores(evaluation, names)
        address = target.send(bundle, scores, report=tell)
    if as_json:
        print_json({"repository": repository, "revision": target.revision, "commit": address})
        return
    print_line(address)
    log.info('Next: adaloraqat.Segmenter.from_pretrained("%s")', repository)


def _bundle(source: str, work: Path) -> "tuple[Bundle, list[str]]":
    """Return the bundle, made of a run below `work`, and what an evaluation may call it."""
    from adaloraqat.bundle import load_bundle
    from adaloraqat.bundle.shipped import is_model_name

    folder = Path(os.path.abspath(source))  # so that `.` and `..` have a name too
    if is_model_name(source) or not (folder / "recipe.yaml").is_file():
        bundle = load_bundle(source)
        return bundle, [folder.name, bundle.name]
    set_up_torch()
    from adaloraqat.export.export_run import export_run

    bundle = export_run(folder, work / folder.name, report=tell)
    return bundle, [bundle.name]
