"""Which films a call means, and where each result goes: settled, or refused, before work starts."""

import logging
import os
import sys
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from adaloraqat.batch import label_picture
from adaloraqat.cli import dicom
from adaloraqat.errors import FilmError, OutputError
from adaloraqat.radiograph import find_films
from adaloraqat.radiograph.folder import film_stem
from adaloraqat.radiograph.formats import ONE_FILM_SUFFIXES

log = logging.getLogger("adaloraqat")


@dataclass(frozen=True)
class Job:
    """One film to segment.

    Attributes:
        source: the file.
        name: how output speaks of it: as given, or relative to the folder it was found in; never absolute.
        target: path of its outputs in the output folder, without suffix: `sub/film` for `sub/film_mask.png`.
        is_case: a challenge case, many objects or a volume, whose masks are one .npz file.
        mask: an earlier mask that is to be corrected.
    """

    source: Path
    name: str
    target: Path
    is_case: bool
    mask: Path | None = None

    def absolute(self) -> "Job":
        """Return the job for a process that may stand elsewhere."""
        return replace(self, source=self.source.absolute(), mask=self.mask and self.mask.absolute())

    def outputs(self, out: Path, overlay: bool) -> list[Path]:
        """Files that the job writes below `out`: the mask, and with `overlay` the overlay."""
        ends = (".npz" if self.is_case else "_mask.png", "_overlay.png")
        return [out / self.target.with_name(self.target.name + end) for end in ends[: 1 + overlay]]

    def labels(self, out: Path) -> Path:
        """The label picture that the job writes below `out` with `--measures`."""
        return out / self.target.with_name(self.target.name + "_labels.png")

    def objects(self, out: Path, kinds: Sequence[str]) -> dict[str, Path]:
        """DICOM objects that the job writes below `out`, by kind."""
        return dicom.paths(out / self.target, kinds)

    def files(self, out: Path, wanted: "Wanted") -> list[Path]:
        """All files that the job writes below `out`, the mask first."""
        labels = [self.labels(out)] if wanted.measures and not self.is_case else []
        return [*self.outputs(out, wanted.overlay), *labels, *self.objects(out, wanted.kinds).values()]


@dataclass(frozen=True)
class Wanted:
    """What a call asks for beside masks: overlays, DICOM objects of these kinds, label pictures."""

    overlay: bool = False
    kinds: tuple[str, ...] = ()
    measures: bool = False


@dataclass(frozen=True)
class Refusal:
    """An input that gives no film: its name, and why, in one sentence."""

    name: str
    error: str


def plan(
    inputs: Sequence[Path], out: Path, wanted: Wanted, mask: Path | None = None
) -> tuple[list[Job], list[Refusal]]:
    """List the films of all inputs with their outputs, and the inputs that cannot be used.

    Folders are searched with their subfolders, which the outputs mirror. A film named twice is done once.
    Films that differ in their suffix alone keep it in the names of their outputs. What a folder holds beside
    films is counted by kind in one message. `mask` is the earlier mask that all films have, or the folder in
    which each has its own. A film of which a result would overwrite what is not known for a result of this
    program is refused, alone.

    Raises:
        OutputError: two films would write the same file, or a result would overwrite an input.
    """
    jobs: dict[tuple[Path, Path], Job] = {}
    refusals: list[Refusal] = []
    others: Counter[str] = Counter()
    for given in inputs:
        try:
            for job in _jobs(given, refusals, others):
                jobs.setdefault((Path(os.path.realpath(job.source)), job.target), job)
        except FilmError as error:
            refusals.append(Refusal(_name(given), str(error)))
    if others:
        counted = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
        log.info("Skipped, because they are not films: %s.", counted)
    distinct = _apart(list(jobs.values()), out)
    if mask is not None:
        each = mask.is_dir()
        distinct = [replace(job, mask=job.outputs(mask, False)[0] if each else mask) for job in distinct]
    _check_collisions(distinct, out, wanted)
    mine = []
    for job in distinct:
        foreign = _foreign(job, out, wanted) if wanted.measures or wanted.kinds else None
        if foreign is None:
            mine.append(job)
        else:
            sentence = (
                f"The result of {job.name} would overwrite {foreign.name}, which is not known for a result "
                "of this program: rename it, or choose another --out."
            )
            refusals.append(Refusal(job.name, sentence))
    return mine, refusals


def shown(folder: Path, path: Path) -> str:
    """How output speaks of `path` inside `folder`: with the folder, unless that was given absolute."""
    return (path if folder.is_absolute() else folder / path).as_posix()


def _jobs(given: Path, refusals: list[Refusal], others: Counter[str]) -> list[Job]:
    """List the films of one input; folders that cannot be opened are refused, other files counted."""

    def refuse(folder: Path, sentence: str) -> None:
        inside = folder.relative_to(given)
        refusals.append(Refusal(inside.as_posix() if inside.name else _name(given), sentence))

    films = find_films(given, refuse, lambda path, kind: others.update((kind,)))
    if films == [given]:
        return [Job(given, _name(given), Path(film_stem(given.name)), _is_case(given))]
    inside = [film.relative_to(given) for film in films]
    return [
        Job(given / path, path.as_posix(), path.with_name(film_stem(path.name)), _is_case(given / path))
        for path in inside
    ]


def _is_case(path: Path) -> bool:
    """See `challenge.is_case`; its room is imported by the first file that may be one."""
    if path.suffix.lower() in ONE_FILM_SUFFIXES:
        return False
    from adaloraqat import challenge

    return challenge.is_case(path)


def _name(given: Path) -> str:
    if given.is_absolute() or ".." in given.parts:
        return given.name or Path(os.path.realpath(given)).name
    return given.as_posix()


def _apart(jobs: list[Job], out: Path) -> list[Job]:
    """Return the jobs; those that would write the same file take whole names, as `film.dcm_mask.png`."""
    while True:
        sharing: dict[str, list[int]] = {}
        for place, job in enumerate(jobs):
            output = job.outputs(out, overlay=False)[0]
            sharing.setdefault(_on_disk(output), []).append(place)
        changed = False
        for place in (place for places in sharing.values() if len(places) > 1 for place in places):
            whole = jobs[place].target.with_name(jobs[place].source.name)
            changed |= whole != jobs[place].target
            jobs[place] = replace(jobs[place], target=whole)
        if not changed:
            return jobs


def _on_disk(path: Path) -> str:
    """Return what is alike for paths that may be one file; `normcase` does not know that macOS folds case."""
    key = os.path.normcase(os.path.realpath(path))
    return unicodedata.normalize("NFC", key).casefold() if sys.platform == "darwin" else key


def _check_collisions(jobs: Sequence[Job], out: Path, wanted: Wanted) -> None:
    inputs = {os.path.realpath(job.source): f"the input {job.name}" for job in jobs}
    for job in jobs:
        if job.mask is not None:
            inputs.setdefault(
                os.path.realpath(job.mask), f"the mask {job.mask.name}, which is to be corrected"
            )
    writers: dict[str, Job] = {}
    for job in jobs:
        for output in job.files(out, wanted):
            key = os.path.normcase(os.path.realpath(output))
            if key in writers:
                raise OutputError(
                    f"{writers[key].name} and {job.name} would both write {output.name}: rename one, "
                    f"or segment them separately, with different --out."
                )
            if key in inputs:
                raise OutputError(
                    f"The result of {job.name} would overwrite {inputs[key]}: choose another --out."
                )
            writers[key] = job


def _foreign(job: Job, out: Path, wanted: Wanted) -> Path | None:
    """Return a label picture or a DICOM object in a result's place that is not known for ours.

    People keep such files, too, by the same names, and beside their films. Where a mask lies beside one, in a
    folder for results, it is a result; beside the film the mask may be its owner's as well.
    """
    mask, labels = job.outputs(out, overlay=False)[0], job.labels(out)
    is_alone = not mask.exists()
    is_beside = os.path.realpath(mask.parent) == os.path.realpath(job.source.parent)
    others = list(job.objects(out, wanted.kinds).values()) if is_alone and is_beside else []
    if labels in job.files(out, wanted) and (is_alone or is_beside) and not label_picture.is_ours(labels):
        others.append(labels)
    return next((path for path in others if path.exists()), None)
