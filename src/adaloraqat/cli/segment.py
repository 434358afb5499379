"""`adaloraqat segment`: masks for films and folders of films."""

import errno
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaloraqat.batch import FilmEntry, FilmStamp, Outcome, Settings
from adaloraqat.batch.results import Failure
from adaloraqat.bundle import DEFAULT_MODEL, Segmentation, Segmenter, load_bundle
from adaloraqat.bundle.engine import DEFAULT_ENGINE
from adaloraqat.bundle.segmenter import bundle_warnings
from adaloraqat.bundle.shipped import Choice, choose_model
from adaloraqat.cli.case import Propagate, do_case, failure
from adaloraqat.cli.console import INTERRUPTED, print_json, print_line, progress
from adaloraqat.cli.dicom import Objects, asked
from adaloraqat.cli.many import do_many, exit_code, name_failures, told_to_parent
from adaloraqat.cli.options import Engine, Point, Threads, Workers, named, point
from adaloraqat.cli.plan import Job, plan, shown
from adaloraqat.errors import FilmError, OutputError
from adaloraqat.radiograph import Box, read_film, read_mask, write_mask, write_overlay

if TYPE_CHECKING:
    from adaloraqat.dicom_out import Source

log = logging.getLogger("adaloraqat")

DEFAULT_OUT = Path("adaloraqat-masks")
FREE_BYTES = 1 << 20  # bytes on the disk: far more than the mask of a film takes


class Prompt(StrEnum):
    """What stands in for a box."""

    auto = "auto"
    whole = "whole"


def segment(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT", help="Films, or folders of films.", parser=named)
    ],
    model: Annotated[
        str | None,
        typer.Option(
            help="An installed model's name (`info` lists them), or a bundle's path.",
            show_default=DEFAULT_MODEL,
        ),
    ] = None,
    box: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(
            metavar="X0 Y0 X1 Y1",
            help="Box prompt in pixels of the film; without: the whole film, or a case's own boxes.",
        ),
    ] = None,
    points: Annotated[
        list[str] | None,
        typer.Option(
            "--point",
            metavar="X Y 0|1",
            help="Point prompt in pixels of the film: 1 on what is wanted, 0 off it; may be repeated.",
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|DIR",
            help="A mask to correct, on the film's grid, with points or a box; or the folder of such masks.",
            parser=named,
        ),
    ] = None,
    prompt: Annotated[
        Prompt,
        typer.Option(
            help="Without a box: auto (what the model asks for, the whole film or proposed boxes) or whole."
        ),
    ] = Prompt.auto,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for the results.", parser=named)
    ] = DEFAULT_OUT,
    overlay: Annotated[bool, typer.Option("--overlay", help="Also write pictures with the outline.")] = False,
    dicom: Annotated[
        str | None,
        typer.Option(metavar="seg,sr,pr", help="Also write DICOM: segmentation, report, presentation state."),
    ] = None,
    deidentify: Annotated[
        bool, typer.Option("--deidentify", help="De-identify the DICOM results, and a copy of the film.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    propagate: Annotated[
        Propagate, typer.Option(help="What a volume's slice hands on to the next: its box, or its mask.")
    ] = Propagate.box,
    engine: Engine = DEFAULT_ENGINE,
    threads: Threads = None,
    workers: Workers = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted call: do only what --out lacks.")
    ] = False,
) -> None:
    """Outline the lungs in films or folders of films.

    Writes <stem>_mask.png (0/255, on the film's own grid) into the output folder; subfolders are mirrored,
    linked ones too (each real folder once). A name without a film's suffix, as a UID, is a stem as it is.
    A challenge case (.npz with boxes, or with a volume) gives <stem>.npz with segs, one label a box.
    --dicom writes <stem>_seg.dcm, _sr.dcm, _pr.dcm beside the mask, of DICOM films; --deidentify adds
    <stem>_deidentified.dcm, the film to which they then refer.
    With --json, paths are relative to the folders that were given.
    --workers and --resume also keep results.jsonl, one line a film, and write results.csv at the end.
    """
    kinds = asked(dicom, deidentify)
    clicked = tuple(point(given) for given in points or ())
    if kinds and (workers is not None or resume):
        raise OutputError("--dicom does not go with --workers or --resume yet: leave one of them out.")
    objects = Objects(kinds) if kinds else None
    jobs, refusals = plan(inputs, out, overlay, kinds)
    entries = [FilmEntry(refusal.name, error=refusal.error) for refusal in refusals]
    for refusal in refusals:
        log.error("%s", refusal.error)
    chosen = choose_model(model) if jobs else Choice(model or DEFAULT_MODEL)
    for notice in chosen.notices:
        log.warning("%s", notice)
    if jobs and (workers is not None or resume):
        bundle = load_bundle(chosen.name)
        warnings = bundle_warnings(bundle)
        for warning in warnings:
            log.warning("%s", warning)
        given = _Given(Box(*box) if box else None, clicked, mask and mask.absolute())
        how = _How(given, prompt.value, overlay, propagate, quiet=True, alone=False)
        options = {
            "box": box,
            **({"points": clicked} if clicked else {}),
            **({"mask": mask.name} if mask else {}),
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
            jobs, refusals, out, settings, work_there, workers=workers or 1, resume=resume, document=told
        )
        raise typer.Exit(ended)
    segmenter = Segmenter.load(chosen.name, engine, threads) if jobs else None
    given = _Given(Box(*box) if box else None, clicked, mask)
    if segmenter is not None:
        given.check(segmenter)
    alone = len(jobs) == 1
    how = _How(given, prompt.value, overlay, propagate, as_json, alone, kinds, objects)
    work = _Work(segmenter, out, how)
    code = None
    try:
        for job in progress(jobs, "films"):
            entries.append(work.do(job))
            if work.obstacle:
                break
    except KeyboardInterrupt:
        log.error("Stopped by Ctrl-C: %d of %d films are done and stay.", work.done, len(jobs))
        code = INTERRUPTED
    if work.obstacle:
        left = jobs[len(entries) - len(refusals) :]
        entries += [FilmEntry(job.name, error=f"Not tried, because of {work.obstacle}") for job in left]
    failed = [str(entry.path) for entry in entries if entry.error]
    if as_json:
        name = segmenter.bundle.name if segmenter else Path(chosen.name).name
        outlines = segmenter.bundle.outlines if segmenter else None
        warnings = segmenter.warnings if segmenter else []
        print_json(_document(name, outlines, engine, warnings, chosen, entries))
    name_failures(failed, len(entries))
    raise typer.Exit(code if code is not None else exit_code(work.done, len(failed)))


def _worker(
    folder: Path, engine: str, threads: int | None, out: Path, how: "_How"
) -> Callable[[Job], Outcome]:
    """Load the model in a process of a batch; return what does a film there. The paths are absolute."""
    segmenter = Segmenter.load(folder, engine, threads)
    how.given.check(segmenter)

    def do(job: Job) -> Outcome:
        stamp = FilmStamp.of(job.name, job.source)
        with told_to_parent() as told:
            entry = work.do(job)
        return Outcome(stamp, entry, work.failure, tuple(told), work.obstacle)

    with told_to_parent():  # the parent has warned of the model already
        work = _Work(segmenter, out, how)
    return do


@dataclass(frozen=True)
class _Given:
    """The prompts that were given, the same for all films: a box, points (x, y, label), where masks lie."""

    box: Box | None
    points: tuple[Point, ...] = ()
    mask: Path | None = None

    def check(self, segmenter: Segmenter) -> None:
        """Refuse a prompt where the model takes no such."""
        if self.box is not None:
            segmenter.check_box()
        if self.points or self.mask:
            segmenter.check_points()

    def prompts(self, job: Job, shape: tuple[int, int]) -> dict[str, Any]:
        """Return what `Segmenter.segment` takes for one film of (H, W) pixels."""
        given: dict[str, Any] = {"box": self.box}
        if self.points:
            given |= {"points": [point[:2] for point in self.points], "labels": [p[2] for p in self.points]}
        if self.mask:
            path = job.outputs(self.mask, overlay=False)[0] if self.mask.is_dir() else self.mask
            given["mask"] = read_mask(path, shape)
        return given

    def for_case(self) -> Box | None:
        """Return the box for a challenge case.

        Raises:
            FilmError: there are points or a mask.
        """
        if self.points or self.mask:
            raise FilmError("A challenge case takes boxes alone: leave --point and --mask out.")
        return self.box


@dataclass(frozen=True)
class _How:
    """What was asked for; `alone`: there is one input, so its own progress may show; `kinds`: of DICOM."""

    given: _Given
    prompt: str
    overlay: bool
    propagate: Propagate
    quiet: bool
    alone: bool
    kinds: tuple[str, ...] = ()
    objects: Objects | None = None


class _Work:
    """Does one film after the other, and counts those that have their mask.

    `obstacle` is the film and the sentence after which nothing further can be written; `failure` is what kept
    the last film from its result.
    """

    def __init__(self, segmenter: Segmenter | None, out: Path, how: _How) -> None:
        self._segmenter = segmenter
        self._out = out
        self._how = how
        self.done = 0
        self.obstacle: str | None = None
        self.failure: Failure | None = None
        for warning in segmenter.warnings if segmenter else ():
            log.warning("%s", warning)

    def do(self, job: Job) -> FilmEntry:
        """Segment one film and write its files; a film that cannot be used gives an entry with an error.

        So does one without the overlay that was asked for, though its mask is there.
        """
        outputs = job.outputs(self._out, self._how.overlay)
        self.failure = None
        try:
            objects = self._how.objects
            source = objects.source(job.source) if objects else None  # refused before there is a mask
            entry, unwritten = self._case(job, outputs) if job.is_case else self._film(job, outputs, source)
        except FilmError as error:
            self.failure = "film"
            return FilmEntry(job.name, error=self._told(job, str(error)))
        except OutputError as error:
            self.failure = "output"
            return FilmEntry(job.name, error=self._told(job, self._judged(job, error)))
        except MemoryError:
            self.failure = "memory"
            sentence = "There is not enough memory for this film: use a smaller copy of it."
            return FilmEntry(job.name, error=self._told(job, sentence))
        self.done += 1
        for warning in entry.warnings:
            log.warning("%s: %s", job.name, warning)
        if unwritten:
            self.failure = "output"
            sentence = f"The mask is written, the overlay is not: {self._judged(job, unwritten)}"
            entry = replace(entry, error=self._told(job, sentence))
            outputs = outputs[:1]
        names = [shown(self._out, path.relative_to(self._out)) for path in outputs]
        for name in () if self._how.quiet else (*names, *(entry.dicom or {}).values()):
            print_line(name)
        return replace(entry, path=job.name, mask=names[0], overlay=names[1] if names[1:] else None)

    def _film(
        self, job: Job, outputs: list[Path], source: "Source | None"
    ) -> tuple[FilmEntry, OutputError | None]:
        assert self._segmenter is not None
        film = read_film(job.source)
        given = self._how.given.prompts(job, film.shape)
        result = self._segmenter.segment(film, prompt=self._how.prompt, **given)
        write_mask(outputs[0], result.mask)
        entry = FilmEntry.of(result) if source is None else self._with_objects(job, source, result)
        if not self._how.overlay:
            return entry, None
        return entry, failure(partial(write_overlay, outputs[1], film, result.mask, result.box))

    def _with_objects(self, job: Job, source: "Source", result: Segmentation) -> FilmEntry:
        """Write the DICOM objects of a film; return its entry with their names, or with what is wrong."""
        assert self._segmenter is not None
        assert self._how.objects is not None
        paths = job.objects(self._out, self._how.kinds)
        try:
            self._how.objects.write(paths, source, result, self._segmenter.bundle)
        except (FilmError, OutputError) as error:
            reason = self._judged(job, error) if isinstance(error, OutputError) else str(error)
            sentence = f"The mask is written, the DICOM results are not: {reason}"
            return replace(FilmEntry.of(result), error=self._told(job, sentence))
        names = {kind: shown(self._out, path.relative_to(self._out)) for kind, path in paths.items()}
        return replace(FilmEntry.of(result), dicom=names)

    def _case(self, job: Job, outputs: list[Path]) -> tuple[FilmEntry, OutputError | None]:
        assert self._segmenter is not None
        how = self._how
        box = how.given.for_case()
        return do_case(self._segmenter, job.source, outputs, box, how.propagate.value, how.alone)

    def _judged(self, job: Job, error: OutputError) -> str:
        """Return the error's sentence, after a look whether it will be so for the next film too."""
        if _ends_all(error, self._out):
            self.obstacle = f"{job.name}: {error}"
        return str(error)

    def _told(self, job: Job, sentence: str) -> str:
        """Say what is wrong with a film, led by its name unless the sentence names it itself."""
        log.error("%s", sentence if job.source.name in sentence else f"{job.name}: {sentence}")
        return sentence


def _ends_all(error: OutputError, out: Path) -> bool:
    """Whether nothing more can be written to `out`: one name may only be too long, or taken by a folder."""
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno in (errno.EDQUOT, errno.EFBIG, errno.EROFS):
        return True
    return (
        not (out.is_dir() and os.access(out, os.W_OK | os.X_OK)) or shutil.disk_usage(out).free < FREE_BYTES
    )


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
