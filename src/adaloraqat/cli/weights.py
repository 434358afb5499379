"""`adaloraqat weights`: published weights by name: which there are, fetching them, where they lie."""

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from adaloraqat.bundle.shipped import bundle_folder, is_model_name, kept_bundle, shipped_path
from adaloraqat.cli.console import print_json, print_line, tell
from adaloraqat.cli.models import installed, model_lines
from adaloraqat.cli.options import JsonFlag, set_up_torch
from adaloraqat.errors import CheckpointError
from adaloraqat.extras import install
from adaloraqat.files import cache_root
from adaloraqat.models import published
from adaloraqat.models.published import Kept, Published
from adaloraqat.models.published_fetch import get as fetch

log = logging.getLogger("adaloraqat")

weights_app = typer.Typer(
    name="weights",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="List installed models, and download published weights.",
)

_SMALL = ("lite_medsam", "mobile_sam")  # architectures whose graphs are written in seconds


def _complete_name(incomplete: str) -> list[str]:
    return [name for name in published.PUBLISHED_WEIGHTS if name.startswith(incomplete)]


_Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A name from `weights list`.", autocompletion=_complete_name),
]


@weights_app.command("list")
def list_weights(as_json: JsonFlag = False) -> None:
    """List installed models and published weights.

    Shows origin, licence, size, SHA-256 and preprocessing.
    """
    models = installed()
    entries = [facts(entry) for entry in published.PUBLISHED_WEIGHTS.values()]
    if as_json:
        folder = published.weights_folder()
        print_json({"folder": None if folder is None else str(folder), "weights": entries, **models})
        return
    for line in model_lines(models):
        print_line(line)
    for document in entries:
        for line in _lines(document):
            print_line(line)


@weights_app.command("get")
def get_weights(
    name: _Name,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="PATH", help="Take the weights from this file or folder instead of the network."
        ),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(
            help="Commit, branch or tag of the Hugging Face repository.", show_default="a fixed commit"
        ),
    ] = None,
    bundle: Annotated[
        bool, typer.Option(help="For a small model, also write the bundle that `segment --model NAME` uses.")
    ] = True,
    as_json: JsonFlag = False,
) -> None:
    """Download weights, check them and keep them.

    They are kept in the cache folder, which ADALORAQAT_CACHE sets.
    """
    entry = published.named(name)
    found = fetch(entry, source, revision, report=log.info)
    if bundle and entry.architecture in _SMALL:
        _write_bundle(entry)
    if entry.caution:
        log.info("%s: %s", entry.name, entry.caution)
    if as_json:
        print_json(on_disk(found))
        return
    for file, about in found.record["files"].items():
        print_line(f"{entry.name}: {file}, {about['bytes']:,} bytes, SHA-256 {about['sha256']}")
    print_line(f"To train from them, set base.weights: {entry.name} in a recipe.")


@weights_app.command("path")
def path_of_weights(name: _Name) -> None:
    """Print the path of weights on this computer."""
    if is_model_name(name):
        path: Path | None = shipped_path(name)
    else:
        path = published.resolve(name)
    if path is None:
        published.named(name)  # which says what there is to choose from
        raise CheckpointError(f"{name} has no files on this computer.")
    print_line(str(path))


def _write_bundle(entry: Published) -> None:
    """Write the bundle that `segment --model NAME` runs, unless it is there; only this needs PyTorch."""
    if kept_bundle(entry.name) is not None:
        return
    root = cache_root()
    if root is None:
        return
    if find_spec("torch") is None:
        log.info(
            "To segment with these weights, a bundle must be written once, which needs PyTorch: run %s and "
            "then this command again, or run `adaloraqat export %s --out FOLDER` on another computer and "
            "copy the folder.",
            install("train"),
            entry.name,
        )
        return
    set_up_torch()
    from adaloraqat.export.export_weights import export_weights

    export_weights(entry.name, bundle_folder(root, entry.name), report=tell)
    log.info("Next: adaloraqat segment FILM --model %s", entry.name)


def facts(entry: Published) -> dict[str, Any]:
    """Return what the table says about weights, and what of them lies on this computer (None: nothing)."""
    found = published.kept(entry)
    return {**entry.to_dict(), "kept": None if found is None else on_disk(found)}


def on_disk(found: Kept) -> dict[str, Any]:
    """Return the record of weights that are here, with their path."""
    return {"path": str(found.path), **found.record}


def _lines(document: dict[str, Any]) -> list[str]:
    """Return what people want to know of one entry of the list."""
    name = " = ".join([document["name"], *document["aliases"]])
    about = "" if document["bytes_exact"] else "about "
    stated = document["sha256_stated_by_others"]
    digest = document["sha256"] + (f" here; others state {stated}" if stated else "")
    view = document["preprocessing"]
    spread = "0..255" if view["grey_range"] == "fixed" else "the film's minimum to maximum"
    scaled = "" if set(view["std"]) == {1.0} else ", then ImageNet's mean and deviation"
    lines = [
        f"{name}: {'on this computer' if document['kept'] else 'not downloaded'}",
        f"  {document['file']}, {about}{document['bytes']:,} bytes, {document['licence']}",
        f"  from {published.PUBLISHED_WEIGHTS[document['name']].origin}",
        f"  SHA-256 {digest}",
        f"  {view['image_size']} px, {view['channels']} channels, {spread} to [0, 1]{scaled}",
        f"  {document['about']}",
    ]
    return [*lines, f"  {document['caution']}"] if document["caution"] else lines
