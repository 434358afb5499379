"""What `segment` does with one film: prompts, mask, overlay, labels, DICOM objects; or why it refuses."""

import errno
import logging
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaloraqat.batch.film_entry import Failure, FilmEntry
from adaloraqat.batch.label_picture import write_labels
from adaloraqat.bundle import Bundle, Segmentation, Segmenter
from adaloraqat.bundle.prompts import Point, as_arguments
from adaloraqat.cli.case import Propagate, do_case, failure
from adaloraqat.cli.console import print_line
from adaloraqat.cli.dicom import Objects
from adaloraqat.cli.plan import Job, Wanted, shown
from adaloraqat.errors import AdaloraqatError, BundleError, FilmError, OutputError
from adaloraqat.radiograph import Box, read_film, read_mask, write_mask, write_overlay

if TYPE_CHECKING:
    from adaloraqat.dicom_out import Source

log = logging.getLogger("adaloraqat")

MIN_QUALITY = 0.85
"""Expected Dice below which a film is refused, unless the call says otherwise."""
REFUSED = ("not-a-chest", "lateral", "blank-film", "empty-mask")
"""Warnings that refuse a film."""

FREE_BYTES = 1 << 20  # bytes on the disk: far more than the mask of a film takes


@dataclass(frozen=True)
class Given:
    """The prompts that were given: a box and points (x, y, label) for all films, whether films have masks."""

    box: Box | None
    points: tuple[Point, ...] = ()
    mask: bool = False

    def check(self, segmenter: Segmenter) -> None:
        """Refuse a prompt where the model takes no such."""
        if self.box is not None:
            segmenter.check_box()
        if self.points or self.mask:
            segmenter.check_points()

    def prompts(self, job: Job, shape: tuple[int, int]) -> dict[str, Any]:
        """Return what `Segmenter.segment` takes for one film of (H, W) pixels."""
        given: dict[str, Any] = {"box": self.box, **as_arguments(self.points)}
        if job.mask is not None:
            given["mask"] = read_mask(job.mask, shape)
        return given

    def for_case(self) -> Box | None:
        """Return the box for a challenge case.

        Raises:
            FilmError: there are points or a mask.
        """
        if self.points or self.mask:
            raise FilmError("A challenge case takes boxes only: leave out --point and --mask.")
        return self.box


@dataclass(frozen=True)
class Strictness:
    """What is refused: the warnings of `REFUSED`, an expected Dice below `quality`; `keep` saves masks."""

    quality: float
    keep: bool

    def refusal(self, result: Segmentation) -> str | None:
        """Return why a film is refused, one sentence; None where it is not."""
        for warning in result.warnings:
            code, _, sentence = warning.partition(": ")
            if code in REFUSED:
                return f"Refused ({code}): {sentence}"
        if result.quality_error is not None and (result.quality or 0.0) < self.quality:
            return (
                f"Refused (low-quality): the expected Dice is {result.quality:.2f}, below {self.quality:g}; "
                "check the film."
            )
        return None


def strictness(strict: bool, min_quality: float | None, keep: bool) -> Strictness | None:
    """Return what `--strict` asks for, None without it.

    Raises:
        AdaloraqatError: `--min-quality` or `--keep` without `--strict`.
    """
    if not strict:
        if min_quality is not None or keep:
            raise AdaloraqatError("--min-quality and --keep belong to --strict: add it, or leave them out.")
        return None
    return Strictness(MIN_QUALITY if min_quality is None else min_quality, keep)


def check_measures(asked: bool, bundle: Bundle) -> None:
    """Refuse `--measures` where the model was not trained for structures.

    Raises:
        BundleError: it was not.
    """
    if asked and not bundle.has_structures:
        raise BundleError(
            f"The model {bundle.name!r} was not trained to tell right lung, left lung and heart apart: "
            "leave out --measures, or choose another model (see `adaloraqat info`)."
        )


@dataclass(frozen=True)
class How:
    """What was asked for; `alone`: there is one input, so its own progress may show."""

    given: Given
    prompt: str
    propagate: Propagate
    quiet: bool
    alone: bool
    wanted: Wanted
    objects: Objects | None = None
    check: Strictness | None = None


class Refused(FilmError):
    """A film whose `result` --strict refuses."""

    def __init__(self, sentence: str, result: Segmentation) -> None:
        super().__init__(sentence)
        self.result = result


class Traces:
    """What lay in the places of a film's files before its turn: of an earlier call, or its owner's own work.

    That is never removed, whatever becomes of the film: a mask corrected by hand has the same name.
    """

    def __init__(self, job: Job, out: Path, wanted: Wanted) -> None:
        self._before = {path: _file_number(path) for path in job.files(out, wanted)}

    def remove(self, files: Iterable[Path]) -> None:
        """Remove those of `files` that were written since."""
        for path in files:
            if _file_number(path) != self._before.get(path):
                with suppress(OSError):
                    path.unlink()

    def left(self, files: Iterable[Path] | None = None) -> str:
        """Return a sentence on those of `files`, by default of all, that lay there before; "" for none."""
        names = [
            path.name
            for path in (self._before if files is None else files)
            if (number := _file_number(path)) is not None and number == self._before.get(path)
        ]
        if not names:
            return ""
        was, it_is = ("was", "it is") if len(names) == 1 else ("were", "they are")
        return f" An earlier {', '.join(names)} {was} left in place: {it_is} not of this call."


def _file_number(path: Path) -> int | None:
    """Return by what the system knows a file from one that replaced it; None where there is none."""
    try:
        return path.stat().st_ino if path.is_file() else None
    except OSError:
        return None


class Work:
    """Does one film after the other, and counts those that have their mask.

    `obstacle` is the film and the sentence after which nothing further can be written; `failure` is what kept
    the last film from its result.
    """

    def __init__(self, segmenter: Segmenter | None, out: Path, how: How) -> None:
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
        outputs = job.outputs(self._out, self._how.wanted.overlay)
        self._traces = Traces(job, self._out, self._how.wanted)
        self.failure = None
        try:
            objects = self._how.objects
            source = objects.source(job.source) if objects else None  # refused before there is a mask
            entry, unwritten = self._case(job, outputs) if job.is_case else self._film(job, outputs, source)
        except Refused as refused:
            self.failure = "film"
            entry = replace(FilmEntry.of(refused.result), measures=None)
            return self._failed(replace(entry, path=job.name), job, str(refused))
        except FilmError as error:
            self.failure = "film"
            return self._failed(FilmEntry(job.name), job, str(error))
        except OutputError as error:
            self.failure = "output"
            return self._failed(FilmEntry(job.name), job, self._judged(job, error))
        except MemoryError:
            self.failure = "memory"
            sentence = "Not enough memory for this film: use a smaller copy of it."
            return self._failed(FilmEntry(job.name), job, sentence)
        self.done += 1
        log.debug("%s: %s ms, box: %s", job.name, entry.milliseconds, entry.box_source)
        for warning in entry.warnings:
            log.warning("%s: %s", job.name, warning)
        if unwritten:
            entry = self._without(entry, job, "overlay", unwritten, outputs[1:])
            outputs = outputs[:1]
        names = [shown(self._out, path.relative_to(self._out)) for path in outputs]
        labels = [entry.labels] if entry.labels else []
        for name in () if self._how.quiet else (*names, *labels, *(entry.dicom or {}).values()):
            print_line(name)
        return replace(entry, path=job.name, mask=names[0], overlay=names[1] if names[1:] else None)

    def _film(
        self, job: Job, outputs: list[Path], source: "Source | None"
    ) -> tuple[FilmEntry, OutputError | None]:
        assert self._segmenter is not None
        film = read_film(job.source)
        given = self._how.given.prompts(job, film.shape)
        result = self._segmenter.segment(film, prompt=self._how.prompt, **given)
        check = self._how.check
        refused = check.refusal(result) if check else None
        if refused and check and not check.keep:
            raise Refused(refused, result)
        write_mask(outputs[0], result.mask)
        entry = FilmEntry.of(result) if source is None else self._with_objects(job, source, result)
        if self._how.wanted.measures and result.structures is not None:
            path = job.labels(self._out)
            unwritten = failure(partial(write_labels, path, result.structures.labels))
            if unwritten:
                entry = self._without(entry, job, "label picture", unwritten, [path])
            else:
                entry = replace(entry, labels=shown(self._out, path.relative_to(self._out)))
        if refused:
            self.failure = self.failure or "film"  # what could not be written is tried again by a batch
            entry = self._also(entry, job, f"{refused} Its mask was kept.")
        if not self._how.wanted.overlay:
            return entry, None
        return entry, failure(partial(write_overlay, outputs[1], film, result.mask, result.box))

    def _with_objects(self, job: Job, source: "Source", result: Segmentation) -> FilmEntry:
        """Write the DICOM objects of a film; return its entry with their names, or with what is wrong."""
        assert self._segmenter is not None
        assert self._how.objects is not None
        paths = job.objects(self._out, self._how.wanted.kinds)
        try:
            self._how.objects.write(paths, source, result, self._segmenter.bundle)
        except (FilmError, OutputError) as error:
            self._traces.remove(paths.values())  # those that were written: they are one result
            return self._without(FilmEntry.of(result), job, "DICOM results", error, paths.values())
        names = {kind: shown(self._out, path.relative_to(self._out)) for kind, path in paths.items()}
        return replace(FilmEntry.of(result), dicom=names)

    def _case(self, job: Job, outputs: list[Path]) -> tuple[FilmEntry, OutputError | None]:
        assert self._segmenter is not None
        how = self._how
        box = how.given.for_case()
        return do_case(self._segmenter, job.source, outputs, box, how.propagate.value, how.alone)

    def _without(
        self,
        entry: FilmEntry,
        job: Job,
        what: str,
        error: FilmError | OutputError,
        files: Iterable[Path],
    ) -> FilmEntry:
        """Return the entry of a film that has its mask, but not `what`, which are `files`."""
        self.failure = "output" if isinstance(error, OutputError) else "film"
        reason = self._judged(job, error) if isinstance(error, OutputError) else str(error)
        sentence = f"The mask was written, but not the {what}: {reason}{self._traces.left(files)}"
        return self._also(entry, job, sentence)

    def _judged(self, job: Job, error: OutputError) -> str:
        """Return the error's sentence, after a look whether it will be so for the next film too."""
        if _ends_all(error, self._out):
            self.obstacle = f"{job.name}: {error}"
        return str(error)

    def _failed(self, entry: FilmEntry, job: Job, sentence: str) -> FilmEntry:
        """Return the entry of a film that has no result, and let no earlier one pass for it unsaid."""
        return self._also(entry, job, sentence + self._traces.left())

    def _also(self, entry: FilmEntry, job: Job, sentence: str) -> FilmEntry:
        """Say what else is wrong with a film, and return its entry with that after what it says already."""
        told = self._told(job, sentence)
        return replace(entry, error=f"{entry.error} {told}" if entry.error else told)

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
