"""The films of a run: rows of the manifest, without what cannot be used, decoded once per image size."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adaloraqat.datasets.manifest import Entry, digest_of, fingerprint
from adaloraqat.datasets.names import person, some_of
from adaloraqat.errors import FilmError, ManifestError
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training.batches import draw_indices
from adaloraqat.training.films import FilmSet, load_films, unusable_films
from adaloraqat.training.recipe import Recipe

logger = logging.getLogger(__name__)


def choose_films(entries: Sequence[Entry], recipe: Recipe) -> tuple[list[Entry], list[Entry]]:
    """Return the training and validation entries that the recipe uses.

    Raises:
        ManifestError: a wanted source is absent, or a split is empty.
    """
    wanted = recipe.data.sources
    if wanted is not None:
        absent = set(wanted) - {entry.source for entry in entries}
        if absent:
            raise ManifestError(
                f"The manifest has no film from source {', '.join(sorted(absent))}; change data.sources in "
                "the recipe."
            )
        entries = [entry for entry in entries if entry.source in wanted]
    training = sorted((e for e in entries if e.split == "train"), key=lambda entry: entry.id)
    validation = sorted((e for e in entries if e.split == "val"), key=lambda entry: entry.id)
    if not training or not validation:
        raise ManifestError(
            "The manifest needs films with split train and with split val; make them with "
            "`adaloraqat data split MANIFEST --out MANIFEST`."
        )
    limit = recipe.data.limit
    if limit is not None and limit < len(training):
        drawn = draw_indices(len(training), limit, 0, [recipe.data.draw, 77])
        training = [training[index] for index in sorted(drawn)]
    return training, validation


def data_identity(training: Sequence[Entry], validation: Sequence[Entry]) -> dict[str, str]:
    """Return `fingerprint` (films and masks of both splits) and `division` (their splits and label files).

    Unusable films are known by the bytes they have: after they were repaired, it is another run.
    """
    lines = [
        f"{split}\t{entry.id}\t{digest_of(entry.path_labels) if entry.path_labels else ''}\n"
        for split, entries in (("train", training), ("val", validation))
        for entry in entries
    ]
    return {
        "fingerprint": fingerprint([*training, *validation], files_exist=False),
        "division": hashlib.sha256("".join(sorted(lines)).encode()).hexdigest(),
    }


def leak_between(training: Sequence[Entry], validation: Sequence[Entry]) -> str | None:
    """Return a sentence where validation films are of patients, or are files, that training sees as well."""
    patients = {person(entry.source, entry.patient_id) for entry in training}
    files = {entry.path_image for entry in training}
    seen = [
        entry.id
        for entry in validation
        if person(entry.source, entry.patient_id) in patients or entry.path_image in files
    ]
    if not seen:
        return None
    return (
        f"{len(seen)} of {len(validation)} validation films are of patients with training films: "
        f"{some_of(seen)}; their scores say little about new patients, so divide by patient with `adaloraqat "
        "data split MANIFEST --out MANIFEST --fresh`."
    )


class UsableFilms:
    """Loads sets of films without those that are missing, damaged or do not fit their masks.

    `left_out` {id: reason} collects these over all sets; of each set a warning names them once.
    """

    def __init__(self) -> None:
        self.left_out: dict[str, str] = {}

    def load(
        self, entries: Sequence[Entry], preprocessing: Preprocessing, cache: Path | None = None
    ) -> FilmSet:
        """Return the films of `entries` that can be used, as `load_films` does.

        Raises:
            FilmError: there are films, and none can be used.
            ManifestError: `entries` is empty.
        """
        try:
            return load_films(entries, preprocessing, cache)
        except FilmError:  # its sentence names the first alone
            return load_films(self.without(entries, unusable_films(entries)), preprocessing, cache)

    def without(self, entries: Sequence[Entry], unusable: Mapping[str, str]) -> list[Entry]:
        """Return the other entries, after a warning that names the `unusable` ones.

        Raises:
            FilmError: there are no others.
        """
        left = [entry for entry in entries if entry.id not in unusable]
        if unusable and not left:
            remedy = "repair them, or give another manifest with --data"
            raise FilmError(unusable_sentence(unusable, len(entries), remedy))
        if unusable:
            logger.warning("%s", unusable_sentence(unusable, len(entries), "they are skipped"))
        self.left_out.update(unusable)
        return left


def unusable_sentence(unusable: Mapping[str, str], total: int, consequence: str) -> str:
    """Return one sentence: how many of `total` films cannot be used, which, why the first, what follows."""
    reason = next(iter(unusable.values())).removesuffix(".")
    return f"{len(unusable)} of {total} films cannot be used: {some_of(unusable)} ({reason}); {consequence}."


class RunFilms:
    """Training and validation films, at the size that a stage asks for.

    Films that cannot be used are left out, with a warning, when films are asked for the first time.

    Attributes:
        leak: what `leak_between` says of the two splits.
    """

    def __init__(
        self, training: Sequence[Entry], validation: Sequence[Entry], cache: Path | None = None
    ) -> None:
        self._named = len(training) + len(validation)
        self.leak = leak_between(training, validation)
        self._usable, self._cache = UsableFilms(), cache
        self._training, self._validation = tuple(training), tuple(validation)
        self._loaded: dict[Preprocessing, tuple[FilmSet, FilmSet]] = {}
        self._for_teachers: dict[Preprocessing, FilmSet] = {}

    def summary(self) -> dict[str, Any]:
        """Return what result.json says of the films: how many each split had, and which were left out."""
        return {"train": len(self._training), "val": len(self._validation), "left_out": self._usable.left_out}

    def warnings(self) -> list[str]:
        """Return what a person should know about films that were not used, or that leak."""
        left_out = self._usable.left_out
        found = [unusable_sentence(left_out, self._named, "they were skipped")] if left_out else []
        return [*found, *filter(None, [self.leak])]

    def at(self, preprocessing: Preprocessing) -> tuple[FilmSet, FilmSet]:
        """Return training and validation films so preprocessed.

        Raises:
            FilmError: of one of the splits not one film can be used, or not one mask outlines anything.
        """
        if preprocessing not in self._loaded:
            training, validation = (
                self._usable.load(split, preprocessing, self._cache)
                for split in (self._training, self._validation)
            )
            self._training, self._validation = training.entries, validation.entries
            _refuse_empty(training, "training")
            _refuse_empty(validation, "validation")
            self._loaded = {preprocessing: (training, validation)}  # an earlier stage's size is done with
        return self._loaded[preprocessing]

    def for_teacher(self, preprocessing: Preprocessing) -> FilmSet:
        """Return the training films as a teacher sees them: the student's own where the two agree."""
        for known, (training, _) in self._loaded.items():
            if _same_picture(known, preprocessing):
                return training
        if preprocessing not in self._for_teachers:
            films = self._usable.load(self._training, preprocessing, self._cache)
            self._for_teachers = {preprocessing: films}
        return self._for_teachers[preprocessing]


def _refuse_empty(films: FilmSet, split: str) -> None:
    if not any(bool(films.targets[place, 2].any()) for place in range(len(films))):
        raise FilmError(
            f"All {len(films)} {split} masks are empty: give masks that are above 0 where the lungs are."
        )


def _same_picture(one: Preprocessing, other: Preprocessing) -> bool:
    """Whether two preprocessings resize a film to the same picture before they normalise it."""
    return replace(one, channels=other.channels, mean=other.mean, std=other.std) == other
