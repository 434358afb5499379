"""Turn what a source lists into entries of a manifest, and write the masks that no file holds as such.

Why masks are written: training, evaluation, the audit and other tools must see one and the same mask, on the
film's own grid. A mask that comes as run lengths, polygons or halves, or at another size than its film, is
therefore made once, here, and laid beside the manifest in `<manifest>_masks/`; where the publisher's file is
already such a mask, the manifest points at it and nothing is copied. The publisher's files are never changed.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adaloraqat.datasets.listing import Listed, Listing, MaskSource, Shape
from adaloraqat.datasets.manifest import Entry
from adaloraqat.datasets.mask_sources import Joined, labels_to_grid
from adaloraqat.datasets.names import plain_name
from adaloraqat.errors import FilmError, ManifestError
from adaloraqat.progress import Progress, no_progress
from adaloraqat.radiograph import read_header, read_labels, write_mask, write_png
from adaloraqat.radiograph.film import check_size
from adaloraqat.radiograph.formats import PICTURE_SUFFIXES, picture_size
from adaloraqat.renamed import renamed_arguments


@dataclass(frozen=True)
class Indexed:
    """The entries, in the listing's order, and one sentence for each film that could not be used."""

    entries: tuple[Entry, ...]
    failures: tuple[str, ...]


@renamed_arguments(track="progress")
def index_films(
    listing: Listing, manifest: str | os.PathLike[str], progress: Progress = no_progress
) -> Indexed:
    """Make the entries of `listing` for a manifest that will be written at `manifest`.

    Of each film only the header is read, so its pixels may still be damaged: `data audit` reads them. What
    must be made is written as PNG, each whole or not at all: masks to `<manifest stem>_masks/`, labels to
    `<manifest stem>_labels/`, films that are slices of volumes to `<manifest stem>_films/`. A film whose
    header, mask or labels cannot be read is left out, with a sentence; it never ends the run. `progress`
    shows how many are done.

    Raises:
        ManifestError: no film at all could be used.
        OutputError: a mask cannot be written.

    """
    made = MadeFiles(Path(manifest).resolve())
    entries: list[Entry] = []
    failures = list(listing.failures)
    seen: set[str] = set()
    for film in progress(listing.films, "films"):
        try:
            if film.id in seen:
                raise FilmError(f"The film {film.id} is there twice: keep one file for each name.")
            seen.add(film.id)
            entries.append(_entry(film, made))
        except FilmError as error:
            failures.append(str(error))
    if not entries:
        first = f" The first reason: {failures[0]}" if failures else ""
        raise ManifestError(f"No film with a mask could be indexed.{first}")
    return Indexed(tuple(entries), tuple(failures))


@dataclass(frozen=True)
class MadeFiles:
    """The folders beside a manifest for what `index_films` writes."""

    manifest: Path

    def file(self, kind: str, identity: str) -> Path:
        """Return the PNG of `kind` ("masks", "labels", "films") for a film's id."""
        name = plain_name(identity, keep="_.-() ")
        return self.manifest.parent / f"{self.manifest.stem}_{kind}" / f"{name}.png"


def _entry(film: Listed, made: MadeFiles) -> Entry:
    image = film.image if isinstance(film.image, Path) else _written_film(film, made)
    header = read_header(image)
    check_size(image.name, *header.shape)
    mask, labels = _mask(film, header.shape, made)
    return Entry(
        id=film.id,
        source=film.source,
        patient_id=film.patient_id or header.patient or film.id,
        split=film.split,
        path_image=image,
        path_mask=mask,
        path_labels=labels,
        spacing_mm=header.spacing_mm or (film.spacing_of(header.shape) if film.spacing_of else None),
        outlines=film.outlines,
        diagnosis=film.diagnosis,
        licence=film.licence,
        view=film.view or header.view,
        modality=film.modality,
        others=film.others,
    )


def _mask(film: Listed, shape: Shape, made: MadeFiles) -> tuple[Path, Path | None]:
    """Return the files of the mask and of the labels, None where there are none, on the grid `shape`."""
    source: MaskSource
    if isinstance(film.mask, Path):
        if film.mask.suffix.lower() in PICTURE_SUFFIXES and picture_size(film.mask) == shape:
            return film.mask, _labels(film, shape, made)
        source = Joined([film.mask])
    else:
        source = film.mask
    drawn = source.draw(shape)
    labels = _labels(film, shape, made) if drawn.labels is None else _written_labels(film, drawn.labels, made)
    path = made.file("masks", film.id)
    write_mask(path, drawn.mask)
    return path, labels


def _labels(film: Listed, shape: Shape, made: MadeFiles) -> Path | None:
    """Return the source's own label file, or where that has another size than the film, one that is made."""
    source = film.path_labels
    if source is None or picture_size(source) == shape:
        return source
    return _written_labels(film, labels_to_grid(read_labels(source), shape, source.name), made)


def _written_labels(film: Listed, labels: NDArray[np.uint8], made: MadeFiles) -> Path:
    path = made.file("labels", film.id)
    write_png(path, labels)
    return path


def _written_film(film: Listed, made: MadeFiles) -> Path:
    assert not isinstance(film.image, Path)
    path = made.file("films", film.id)
    write_png(path, np.asarray(film.image(), dtype=np.uint8))
    return path
