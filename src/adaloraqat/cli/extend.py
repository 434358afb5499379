"""`adaloraqat extend`: give a bundle structures (right lung, left lung, heart) and a calibrated quality."""

import logging
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from adaloraqat.cli.console import print_line, progress
from adaloraqat.cli.options import complete_model

log = logging.getLogger("adaloraqat")


class Part(StrEnum):
    """What can be added to a bundle."""

    structures = "structures"
    quality = "quality"


def extend(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Name of an installed model, or path of a bundle.",
            autocompletion=complete_model,
            show_default=False,
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="Manifest (CSV) with training and validation films; structures need the column path_labels.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the bundle.", show_default=False)],
    source: Annotated[
        list[str] | None, typer.Option(help="Use films of this source only (repeatable).")
    ] = None,
    sides_from: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help="Films of this source, outlined by another convention than the model's, teach on which side "
            "the heart lies, and nothing else (repeatable).",
            show_default=False,
        ),
    ] = None,
    only: Annotated[Part | None, typer.Option(help="Add only this.", show_default="both")] = None,
    structures_from: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Copy the structures of this bundle, which must have the same encoder; none are trained.",
            show_default=False,
        ),
    ] = None,
    views: Annotated[
        int, typer.Option(min=1, help="Views of each training film: as it is, mirrored, then varied.")
    ] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training films.")] = 20,
    corrupted: Annotated[
        int, typer.Option(min=0, help="Corrupted copies of each validation film that quality is fitted to.")
    ] = 2,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="all")] = None,
) -> None:
    """Add right lung, left lung and heart, and a calibrated quality, to a bundle.

    The masks stay the same. A small head is trained on the bundle's own embeddings of the training films, and
    the expected Dice is fitted to its masks of the validation films, clean and corrupted. Needs the extra
    train.
    """
    from adaloraqat.bundle import Segmenter, load_bundle
    from adaloraqat.datasets.manifest import read_manifest
    from adaloraqat.errors import ManifestError
    from adaloraqat.evaluate.calibration import calibrate_quality, check_count
    from adaloraqat.export.bundle_writer import refuse_early
    from adaloraqat.export.extend_bundle import extend_bundle, with_structures_of
    from adaloraqat.training.structure_head import (
        HeadSettings,
        embed_films,
        join,
        train_structures,
        validate_head,
    )

    told = read_manifest(data)
    alone = sides_from or []
    known = {entry.source for entry in told}
    for name in alone:
        if name not in known:
            raise ManifestError(
                f"The manifest has no film of the source {name!r}, which --sides-from names: give one of "
                f"{', '.join(sorted(known))}."
            )
    other = [entry for entry in told if entry.source in alone]
    entries = [
        entry for entry in told if entry.source not in alone and (source is None or entry.source in source)
    ]
    validation = [entry for entry in entries if entry.split == "val"]
    # before minutes of training, not after:
    refuse_early(out, openvino=False)
    if only is not Part.structures:
        check_count(validation)
    elif structures_from is None and not validation:
        raise ManifestError(
            "The manifest has no validation film, by which structures are judged; check its split and source "
            "columns."
        )
    segmenter = Segmenter.load(model, threads=threads)
    bundle = segmenter.bundle
    if structures_from is not None:
        bundle = with_structures_of(bundle, load_bundle(structures_from), out)
        segmenter = Segmenter.load(bundle.folder, threads=threads)
    elif only is not Part.quality:
        settings = HeadSettings(views=views, epochs=epochs, seed=seed)
        training = [entry for entry in entries if entry.split == "train"]
        teaching, limiting = ([entry for entry in other if entry.split == at] for at in ("train", "val"))
        head, facts = train_structures(segmenter, training, settings, progress, log.info, teaching)
        films = embed_films(segmenter, validation, settings, 2, head.scale, progress)
        if limiting:
            films = join(films, embed_films(segmenter, limiting, settings, 2, head.scale, progress, True))
        facts |= validate_head(head, films)
        grid = (films.embedding.shape[1], films.embedding.shape[2])
        bundle = extend_bundle(bundle, out, {"structures": facts}, head, grid)
        segmenter = Segmenter.load(bundle.folder, threads=threads)
        scores = facts["validation_dice"].items()
        log.info("Structures: %s", ", ".join(f"{name} {dice:.3f}" for name, dice in scores))
    if only is not Part.structures:
        quality, facts = calibrate_quality(segmenter, validation, corrupted, seed, progress)
        extend_bundle(bundle, out, {"quality": {**asdict(quality), "fitted_to": facts}})
        log.info("Quality: fitted to %d masks of %d validation films.", facts["views"], facts["films"])
    print_line(out.as_posix())
