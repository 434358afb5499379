"""The films of a run: both splits, without what cannot be used, decoded once per image size."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adaloraqat.datasets.manifest import Entry
from adaloraqat.errors import FilmError
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training.films import FilmSet
from adaloraqat.training.structure import preprocessing_for
from adaloraqat.training.usable_films import UsableFilms, unusable_sentence


class RunFilms:
    """Training and validation films, at the size that a stage asks for.

    Films that cannot be used are left out, with a warning, when films are asked for the first time.
    """

    def __init__(
        self, training: Sequence[Entry], validation: Sequence[Entry], cache: Path | None = None
    ) -> None:
        self._named = len(training) + len(validation)
        self._usable, self._cache = UsableFilms(), cache
        self._training, self._validation = tuple(training), tuple(validation)
        self._loaded: dict[Preprocessing, tuple[FilmSet, FilmSet]] = {}
        self._for_teachers: dict[Preprocessing, FilmSet] = {}

    @property
    def left_out(self) -> dict[str, str]:
        """The films that cannot be used, {id: reason}; complete once films were asked for."""
        return self._usable.left_out

    def summary(self) -> dict[str, Any]:
        """Return what result.json says of the films: how many each split had, and which were left out."""
        return {"train": len(self._training), "val": len(self._validation), "left_out": self.left_out}

    def warnings(self) -> list[str]:
        """Return what a person should know about films that were not used."""
        if not self.left_out:
            return []
        return [unusable_sentence(self.left_out, self._named, "the run went on without them")]

    def at(self, measures: dict[str, Any]) -> tuple[Preprocessing, FilmSet, FilmSet]:
        """Return the preprocessing of an architecture, and training and validation films so preprocessed.

        Raises:
            FilmError: of one of the splits not one film can be used, or not one mask outlines anything.
        """
        preprocessing = preprocessing_for(measures)
        if preprocessing not in self._loaded:
            training, validation = (
                self._usable.load(split, preprocessing, self._cache)
                for split in (self._training, self._validation)
            )
            self._training, self._validation = training.entries, validation.entries
            _refuse_empty(training, "training")
            _refuse_empty(validation, "validation")
            self._loaded = {preprocessing: (training, validation)}  # an earlier stage's size is done with
        return preprocessing, *self._loaded[preprocessing]

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
            f"Not one of the {len(films)} {split} masks outlines anything: give masks that are above 0 where "
            "the lungs are."
        )


def _same_picture(one: Preprocessing, other: Preprocessing) -> bool:
    """Whether two preprocessings resize a film to the same picture before they normalise it."""
    return replace(one, channels=other.channels, mean=other.mean, std=other.std) == other
