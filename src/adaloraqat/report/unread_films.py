"""Films that no model could see, since they are missing or damaged: they score the worst of every measure."""

from collections.abc import Iterable, Sequence

from adaloraqat.datasets.manifest import Entry
from adaloraqat.errors import AdaloraqatError
from adaloraqat.measure.film_scores import FilmScores, worst_scores
from adaloraqat.measure.surface import Spacing, diagonal
from adaloraqat.radiograph import read_header

NOMINAL_SHAPE = (1024, 1024)
"""SAM's grid: the worst distance where not one film could be read."""

_Grid = tuple[tuple[int, int], Spacing | None]


class UnreadFilms:
    """Gives the worst scores of films whose size nobody knows: the largest film of the source stands in.

    Headers are read only once there is such a film.
    """

    def __init__(self, entries: Sequence[Entry], tolerances: Sequence[float]) -> None:
        """Keep in mind all films that are scored, and the tolerances of the NSD."""
        self._entries, self._tolerances = entries, tolerances
        self._largest: dict[str, _Grid] = {}

    def worst(self, entry: Entry, sides: Sequence[str] = ()) -> FilmScores:
        """Return the worst of every measure for one film; `sides` as `worst_scores` has them."""
        if entry.source not in self._largest:
            self._largest[entry.source] = self._find(entry.source)
        shape, spacing = self._largest[entry.source]
        return worst_scores(shape, spacing, self._tolerances, sides)

    def _find(self, source: str) -> _Grid:
        own = _grids(entry for entry in self._entries if entry.source == source)
        grids = own or _grids(self._entries)
        if not grids:
            return NOMINAL_SHAPE, None
        return max(grids, key=lambda grid: diagonal(grid[0], grid[1] or (1.0, 1.0)))


def _grids(entries: Iterable[Entry]) -> list[_Grid]:
    """Return shape and spacing of the films whose headers can be read."""
    grids = []
    for entry in entries:
        try:
            header = read_header(entry.path_image)
        except AdaloraqatError:
            continue
        grids.append((header.shape, entry.spacing_mm or header.spacing_mm))
    return grids
