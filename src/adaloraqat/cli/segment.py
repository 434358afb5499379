"""`adaloraqat segment`: masks for films and folders of films."""

import logging
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaloraqat.batch.film_entry import FilmEntry
from adaloraqat.batch.lock import without_batch
from adaloraqat.bundle import DEFAULT_MODEL, Segmenter, load_bundle
from adaloraqat.bundle.prompts import point_of
from adaloraqat.bundle.segmenter import bundle_warnings
from adaloraqat.bundle.shipped import Choice, choose_model
from adaloraqat.cli.case import Propagate
from adaloraqat.cli.console import INTERRUPTED, exit_code, name_failures, print_json, progress
from adaloraqat.cli.dicom import Objects, asked
from adaloraqat.cli.options import (
    Engine,
    EngineName,
    JsonFlag,
    Threads,
    Workers,
    complete_model,
    named,
)
from adaloraqat.cli.plan import Job, Wanted, plan
from adaloraqat.cli.segment_film import MIN_QUALITY, Given, How, Work, check_measures, strictness
from adaloraqat.errors import OutputError
from adaloraqat.radiograph import Box

if TYPE_CHECKING:
    from adaloraqat.batch import Outcome

log = logging.getLogger("adaloraqat")

DEFAULT_OUT = Path("adaloraqat-masks")


class Prompt(StrEnum):
    """What to use where no box is given."""

    auto = "auto"
    whole = "whole"


def segment(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT", help="Films, or folders of films.", parser=named)
    ],
    model: Annotated[
        str | None,
        typer.Option(
            help="Name of an installed model (see `info`), or path of a bundle.",
            show_default=DEFAULT_MODEL,
            autocompletion=complete_model,
        ),
    ] = None,
    box: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(
            metavar="X0 Y0 X1 Y1",
            help="Box around the lungs, in pixels of the film.",
            show_default="see --prompt; a challenge case has its own boxes",
        ),
    ] = None,
    points: Annotated[
        list[str] | None,
        typer.Option(
            "--point",
            metavar="X Y 0|1",
            help="Point in pixels of the film; 1: inside the target, 0: outside (repeatable).",
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|DIR",
            help="Earlier mask (of the film's size) to correct with points or a box, or a folder of masks.",
            parser=named,
        ),
    ] = None,
    prompt: Annotated[
        Prompt,
        typer.Option(help="Without --box: let the model choose (auto), or prompt with the whole film."),
    ] = Prompt.auto,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the results.", parser=named)
    ] = DEFAULT_OUT,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also save each film with the outline drawn on it.")
    ] = False,
    dicom: Annotated[
        str | None,
        typer.Option(
            metavar="seg,sr,pr", help="Also write DICOM: segmentation, structured report, presentation state."
        ),
    ] = None,
    deidentify: Annotated[
        bool, typer.Option("--deidentify", help="De-identify the DICOM results and a copy of the film.")
    ] = False,
    measures: Annotated[
        bool,
        typer.Option(
            "--measures",
            help="Also write label pictures (right lung, left lung, heart) and measures.csv: areas, "
            "cardiothoracic ratio.",
        ),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Refuse films that are blank, lateral or not of a chest, and masks of low expected quality.",
        ),
    ] = False,
    min_quality: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="With --strict: lowest expected Dice.", show_default=f"{MIN_QUALITY}"
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="With --strict: save the masks of refused films anyway.")
    ] = False,
    as_json: JsonFlag = False,
    propagate: Annotated[
        Propagate, typer.Option(help="How to follow an object through a volume: by its box or its mask.")
    ] = Propagate.box,
    engine: Engine = EngineName.onnxruntime,
    threads: Threads = None,
    workers: Workers = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue: skip films that have a result in --out.")
    ] = False,
) -> None:
    """Outline the lungs in chest X-rays.

    For each film, writes <name>_mask.png (0 and 255, same size as the film) to the output folder. Subfolders
    of the input, including linked ones, are searched and mirrored.

    A challenge case (.npz with boxes or a volume) gives <name>.npz with an array segs, one label per box.

    With --dicom, each DICOM film also gives <name>_seg.dcm, <name>_sr.dcm and <name>_pr.dcm. With
    --deidentify, these refer to <name>_deidentified.dcm, a de-identified copy of the film.

    With --strict, a refused film has no mask (unless --keep is given) and counts as failed: exit code 1.

    Where a film has no result now, files of an earlier call stay, and the message says so. Only --resume
    removes files: those that results.jsonl names, of films that were replaced since.

    With --workers or --resume, results.jsonl gets one line per film as it is done, and results.csv is
    written at the end.
    """
    kinds = asked(dicom, deidentify)
    check = strictness(strict, min_quality, keep)
    clicked = tuple(point_of(given, "--point") for given in points or ())
    if deidentify and (workers is not None or resume):
        raise OutputError(
            "--deidentify uses a key that is never kept, so that a resumed batch would give a patient two "
            "names: leave out --workers and --resume."
        )
    objects = Objects(kinds) if kinds else None  # says at once what is not installed
    wanted = Wanted(overlay, kinds, measures)
    jobs, refusals = plan(inputs, out, wanted, mask)
    entries = [FilmEntry(refusal.name, error=refusal.error) for refusal in refusals]
    for refusal in refusals:
        log.error("%s", refusal.error)
    chosen = choose_model(model) if jobs else Choice(model or DEFAULT_MODEL)
    for notice in chosen.notices:
        log.warning("%s", notice)
    given = Given(Box(*box) if box else None, clicked, mask is not None)
    if jobs and (workers is not None or resume):
        from adaloraqat.batch import Settings  # what one film does not wait for
        from adaloraqat.cli.many import do_many

        bundle = load_bundle(chosen.name)
        warnings = bundle_warnings(bundle)
        for warning in warnings:
            log.warning("%s", warning)
        how = How(given, prompt.value, propagate, True, False, wanted, None, check)
        check_measures(measures, bundle)
        options = {
            "box": box,
            **({"points": clicked} if clicked else {}),
            **({"mask": os.path.realpath(mask)} if mask else {}),
            **({"dicom": list(kinds)} if kinds else {}),
            **({"measures": True} if measures else {}),
            **({"strict": [check.quality, check.keep]} if check else {}),
            "prompt": prompt.value,
            "overlay": overlay,
            "propagate": propagate.value,
            "engine": engine,
        }
        each = threads or (1 if (workers or 1) > 1 else None)
        work_there = partial(_worker, bundle.folder.absolute(), engine, each, out.absolute(), how)
        settings = Settings.of(bundle, options)
        told = partial(_document, bundle.name, bundle.outlines, engine, warnings, chosen) if as_json else None
        ended = do_many(
            jobs,
            refusals,
            out,
            settings,
            work_there,
            workers=workers or 1,
            resume=resume,
            document=told,
            wanted=wanted,
        )
        raise typer.Exit(ended)
    segmenter = Segmenter.load(chosen.name, engine, threads) if jobs else None
    if segmenter is not None:
        given.check(segmenter)
        check_measures(measures, segmenter.bundle)
    how = How(given, prompt.value, propagate, as_json, len(jobs) == 1, wanted, objects, check)
    work = Work(segmenter, out, how)
    code = None
    try:
        with without_batch(out) if jobs else nullcontext():
            for job in progress(jobs, "films"):
                entries.append(work.do(job))
                if work.obstacle:
                    break
    except KeyboardInterrupt:
        log.error("Stopped by Ctrl-C. The results of %d of %d films are kept.", work.done, len(jobs))
        code = INTERRUPTED
    if work.obstacle:
        left = jobs[len(entries) - len(refusals) :]
        entries += [FilmEntry(job.name, error=f"Not tried, because of {work.obstacle}") for job in left]
    failed = [str(entry.path) for entry in entries if entry.error]
    answered = sum(entry.answered for entry in entries)
    if measures and answered:
        from adaloraqat.batch.csv_files import MEASURES_CSV, write_measures_csv

        write_measures_csv(out / MEASURES_CSV, entries)
    if as_json:
        name = segmenter.bundle.name if segmenter else Path(chosen.name).name
        outlines = segmenter.bundle.outlines if segmenter else None
        warnings = segmenter.warnings if segmenter else []
        print_json(_document(name, outlines, engine, warnings, chosen, entries))
    name_failures(failed, len(entries))
    raise typer.Exit(code if code is not None else exit_code(answered, len(failed)))


def _worker(
    folder: Path, engine: str, threads: int | None, out: Path, how: How
) -> "Callable[[Job], Outcome]":
    """Load the model in a process of a batch; return what does a film there. The paths are absolute."""
    from adaloraqat.batch.run import Outcome, stamp_of
    from adaloraqat.cli.many import told_to_parent

    segmenter = Segmenter.load(folder, engine, threads)
    how.given.check(segmenter)
    if how.wanted.kinds:
        how = replace(how, objects=Objects(how.wanted.kinds))

    def do(job: Job) -> Outcome:
        stamp = stamp_of(job)
        with told_to_parent() as told:
            entry = work.do(job)
        return Outcome(stamp, entry, work.failure, tuple(told), work.obstacle)

    with told_to_parent():  # the parent has warned of the model already
        work = Work(segmenter, out, how)
    return do


def _document(
    model: str,
    outlines: str | None,
    engine: str,
    warnings: list[str],
    chosen: Choice,
    entries: list[FilmEntry],
) -> dict[str, Any]:
    return {
        "model": model,
        "outlines": outlines,
        "engine": engine,
        "warnings": warnings,
        "notices": list(chosen.notices),
        "results": [entry.to_dict() for entry in entries],
    }
