"""Which films are scored; one that is missing or damaged stays among them, with the worst scores."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from adaloraqat.datasets.manifest import Entry, evenly_spread, read_manifest, select
from adaloraqat.errors import AdaloraqatError, ManifestError
from adaloraqat.measure.film_scores import FilmScores, worst_scores
from adaloraqat.measure.surface import Spacing, diagonal
from adaloraqat.radiograph import read_header
from adaloraqat.radiograph.film import possible_spacing

ALL_SPLITS = "all"
NOMINAL_SHAPE = (1024, 1024)
"""SAM's grid: the worst distance where not one film could be read."""

_Grid = tuple[tuple[int, int], Spacing | None]


def choose_scored(manifest: Path, split: str, sources: Collection[str] | None = None) -> list[Entry]:
    """Return the films of a split ("all": of every one) and of some sources (None: of all).

    Raises:
        ManifestError: the manifest is unusable, no film is chosen, or none of those chosen exists.
    """
    entries = read_manifest(manifest, files_exist=False)
    in_split = entries if split == ALL_SPLITS else select(entries, split)
    chosen = [entry for entry in in_split if sources is None or entry.source in sources]
    if not chosen:
        raise ManifestError(
            f"The manifest has no film in split {split} from source {', '.join(sources or ())}: correct the "
            "split or the source."
        )
    if not any(entry.path_image.is_file() for entry in chosen):
        read_manifest(manifest)  # not a single film: the manifest is wrong, which this says
    return chosen


def spread(entries: Sequence[Entry], count: int) -> list[Entry]:
    """Return at most `count` films, evenly spaced over the list ordered by source and id."""
    return evenly_spread(sorted(entries, key=lambda entry: (entry.source, entry.id)), count)


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
        grids = own or _grids(self._entries) or [(NOMINAL_SHAPE, None)]
        return max(grids, key=lambda grid: diagonal(grid[0], grid[1] or (1.0, 1.0)))


def scored_spacing(entry: Entry, shape: tuple[int, int], own: Spacing | None) -> Spacing | None:
    """Return a film's spacing for its scores: the manifest's where a chest film can have it, else its `own`.

    Of another modality, which the manifest names, the manifest's counts as it is.
    """
    given = entry.spacing_mm if entry.modality else possible_spacing(entry.spacing_mm, shape)
    return given or own


def _grids(entries: Iterable[Entry]) -> list[_Grid]:
    """Return shape and spacing of the films whose headers can be read."""
    grids = []
    for entry in entries:
        try:
            header = read_header(entry.path_image)
        except AdaloraqatError:
            continue
        grids.append((header.shape, scored_spacing(entry, header.shape, header.spacing_mm)))
    return grids
