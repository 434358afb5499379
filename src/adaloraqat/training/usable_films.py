"""Work goes on without the films that cannot be used, and says which and why."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from adaloraqat.datasets.manifest import Entry
from adaloraqat.datasets.names import some_of
from adaloraqat.errors import FilmError
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training.films import FilmSet, load_films, unusable_films

logger = logging.getLogger(__name__)


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
            remedy = "mend them, or give --data with others"
            raise FilmError(unusable_sentence(unusable, len(entries), remedy))
        if unusable:
            logger.warning("%s", unusable_sentence(unusable, len(entries), "the work goes on without them"))
        self.left_out.update(unusable)
        return left


def unusable_sentence(unusable: Mapping[str, str], total: int, consequence: str) -> str:
    """Return one sentence: how many of `total` films cannot be used, which, why the first, what follows."""
    reason = next(iter(unusable.values())).removesuffix(".")
    return f"{len(unusable)} of {total} films cannot be used: {some_of(unusable)} ({reason}); {consequence}."
