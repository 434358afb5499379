"""The manifest: one CSV row per film, with its mask, its patient and its split.

Columns `path_image` and `path_mask` are required; `source`, `id`, `patient_id`, `split`, `spacing_mm`,
`path_labels`, `mask_kind` (what the mask outlines), `diagnosis`, `licence`, `view` and `modality` are known;
any other column is kept as it is. Relative paths are relative to the manifest's folder. A row read is an
`Entry`.
"""

import csv
import hashlib
import io
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import TypeVar

import numpy as np

from adaloraqat.errors import ManifestError
from adaloraqat.files import sha256, write_text

Item = TypeVar("Item")
SPLITS = ("train", "val", "test")

MASK_KINDS = {
    "lungs": "both lungs; whether the part behind the heart belongs to them is not documented",
    "lung-field": "the visible lung field, without the heart",
    "whole-lung": "the whole lung, with the part behind the heart",
    "heart": "the heart",
    "clavicles": "both collar bones",
    "infection": "lung opacities of an infection",
    "pneumothorax": "air between lung and chest wall",
}
"""What a mask can outline. A manifest may hold other words too; these are the ones the sources use."""

LUNG_KINDS = ("lungs", "lung-field", "whole-lung")
"""The conventions that answer to a request for lungs; they differ behind the heart, so each has a name."""

FINDING_KINDS = ("infection", "pneumothorax")
"""What a film may be free of: an empty mask of it says that it was looked for and is not there."""

REQUIRED = ("path_image", "path_mask")
COLUMNS = (
    "source", "id", "patient_id", "split", "path_image", "path_mask", "path_labels", "spacing_mm",
    "mask_kind", "diagnosis", "licence", "view", "modality",
)  # fmt: skip
# some lists use mask_kind for how a mask was made: that says nothing of what it outlines
_MANNERS = frozenset({"manual", "automatic", "semi-automatic", "human", "model"})
_SPLIT_NAMES = {name: name for name in SPLITS} | {"validation": "val", "valid": "val", "training": "train"}


@dataclass(frozen=True)
class Entry:
    """One film of a manifest.

    `split` is "train", "val", "test" or None (not assigned). `spacing_mm` is (row, column) in mm a pixel, or
    None where unknown. Paths are absolute. `id` is unique in its manifest; a patient is never divided between
    splits, so `patient_id` is the unit of every split.

    `outlines` says what the mask outlines: one of `MASK_KINDS`, another word, or None where nothing is said.
    `diagnosis`, `licence` and `view` ("PA", "AP", "lateral", ...) are as the source says, or None.
    `modality` is the kind of image ("CT", "ultrasound", ...), by which training may be balanced; None counts
    as the source. `others` are the columns of its manifest that mean nothing here, as (name, cell): they are
    kept when the manifest is written again.
    """

    id: str
    source: str
    patient_id: str
    split: str | None
    path_image: Path
    path_mask: Path
    path_labels: Path | None = None
    spacing_mm: tuple[float, float] | None = None
    outlines: str | None = None
    diagnosis: str | None = None
    licence: str | None = None
    view: str | None = None
    modality: str | None = None
    others: tuple[tuple[str, str], ...] = ()


def read_manifest(path: str | os.PathLike[str], files_exist: bool = True) -> list[Entry]:
    """Read a manifest and check that every file it names is there.

    `files_exist` false leaves that to the caller, who can name every missing film or continue without it.

    A missing `id` becomes the image's stem, a missing `patient_id` the id, a missing `source` "films". Row
    numbers in messages count as a spreadsheet does: the header is row 1.

    Raises:
        ManifestError: the file cannot be read, lacks a column, holds no film, names a file that is absent, or
            gives one id twice.

    """
    manifest = Path(path)
    rows = _rows(manifest)
    folder = manifest.parent.resolve()
    entries: list[Entry] = []
    seen: dict[str, int] = {}
    for number, row in rows:
        entry = _entry(row, folder, f"row {number} of {manifest.name}", files_exist)
        if entry.id in seen:
            raise ManifestError(
                f"The id {entry.id!r} is used in rows {seen[entry.id]} and {number} of {manifest.name}: "
                "give every film its own value in the id column."
            )
        seen[entry.id] = number
        entries.append(entry)
    if not entries:
        raise ManifestError(f"{manifest.name} has no film: add one row per film below the header.")
    return entries


def write_manifest(path: str | os.PathLike[str], entries: Iterable[Entry]) -> None:
    """Write `entries` as a manifest, whole or not at all; paths become relative to it where possible.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.

    """
    folder = Path(path).parent.resolve()
    entries = list(entries)
    others = list(dict.fromkeys(name for entry in entries for name, _ in entry.others))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*COLUMNS, *others))
    for entry in entries:
        labels = _relative(entry.path_labels, folder) if entry.path_labels else ""
        cells = dict(entry.others)
        writer.writerow(
            (
                entry.source,
                entry.id,
                entry.patient_id,
                entry.split or "",
                _relative(entry.path_image, folder),
                _relative(entry.path_mask, folder),
                labels,
                _spacing_text(entry.spacing_mm),
                entry.outlines or "",
                entry.diagnosis or "",
                entry.licence or "",
                entry.view or "",
                entry.modality or "",
                *(cells.get(name, "") for name in others),
            )
        )
    write_text(path, text.getvalue())


def fingerprint(entries: Iterable[Entry], files_exist: bool = True) -> str:
    """Return the SHA-256 over ids, image bytes and mask bytes, as 64 hexadecimal digits.

    It says which data a model saw: it does not depend on the order of the rows nor on where the files lie.
    `files_exist` false: in place of a file that is not there or cannot be opened stands nothing.

    Raises:
        ManifestError: an image or mask cannot be read any more.

    """
    lines = []
    for entry in entries:
        try:
            digest = sha256 if files_exist else digest_of
            image, mask = digest(entry.path_image), digest(entry.path_mask)
            lines.append(f"{entry.id}\t{image}\t{mask}\n")
        except OSError as error:
            raise ManifestError(
                f"The image or mask of film {entry.id!r} can no longer be read: restore it, or remove its "
                "row."
            ) from error
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def select(entries: Sequence[Entry], split: str) -> list[Entry]:
    """Return the entries of one split, in their order.

    Raises:
        ManifestError: no entry belongs to `split`.

    """
    chosen = [entry for entry in entries if entry.split == split]
    if not chosen:
        raise ManifestError(
            f"The manifest has no film in the split {split!r}: run `adaloraqat data split` on it first, "
            "or name another split."
        )
    return chosen


def evenly_spread(items: Sequence[Item], count: int) -> list[Item]:
    """Return at most `count` of `items`, evenly spaced, the first and the last among them, in their order."""
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[place] for place in places]


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, or nothing of one that is not there or cannot be opened."""
    try:
        return sha256(path)
    except OSError:
        return ""


def _rows(manifest: Path) -> list[tuple[int, dict[str, str]]]:
    """Read the CSV into (row number, {column: cell without surrounding space})."""
    try:
        text = manifest.read_text(encoding="utf-8-sig")  # spreadsheets put a byte-order mark first
    except FileNotFoundError as error:
        raise ManifestError(f"There is no manifest {manifest.name}: check the path given for it.") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{manifest.name} is not UTF-8 text: save it as a CSV file in UTF-8.") from error
    except OSError as error:
        raise ManifestError(
            f"{manifest.name} cannot be read ({error.strerror}): give a CSV file that you are allowed to "
            "read."
        ) from error
    try:
        # strict mode finds unbalanced quotes, which would otherwise swallow rows in silence
        table = list(csv.reader(io.StringIO(text), strict=True))
    except csv.Error as error:
        raise ManifestError(
            f"{manifest.name} is not a CSV file ({error}): save it as comma-separated text."
        ) from error
    header = [name.strip() for name in table[0]] if table else []
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise ManifestError(
            f"{manifest.name} lacks the column {' and the column '.join(missing)}: "
            "its first row must be a comma-separated header with path_image and path_mask."
        )
    if len(set(header)) < len(header):
        raise ManifestError(f"The header of {manifest.name} names a column twice: keep one of them.")
    rows = []
    for number, cells in enumerate(table[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(header):
            raise ManifestError(
                f"Row {number} of {manifest.name} has {len(cells)} cells but the header has {len(header)}: "
                "put quotes around a cell that contains a comma."
            )
        padded = [*cells, *[""] * (len(header) - len(cells))]
        rows.append((number, {name: cell.strip() for name, cell in zip(header, padded, strict=True)}))
    return rows


def _entry(row: dict[str, str], folder: Path, place: str, files_exist: bool) -> Entry:
    image = _file(row["path_image"], "image", folder, place, files_exist)
    mask = _file(row["path_mask"], "mask", folder, place, files_exist)
    labels = (
        _file(row["path_labels"], "label file", folder, place, files_exist)
        if row.get("path_labels")
        else None
    )
    name = row.get("id") or image.stem
    return Entry(
        id=name,
        source=row.get("source") or "films",
        patient_id=row.get("patient_id") or name,
        split=_split(row.get("split", ""), place),
        path_image=image,
        path_mask=mask,
        path_labels=labels,
        spacing_mm=_spacing(row.get("spacing_mm", ""), place),
        outlines=_outlines(row.get("mask_kind", "")),
        diagnosis=row.get("diagnosis") or None,
        licence=row.get("licence") or None,
        view=row.get("view") or None,
        modality=row.get("modality") or None,
        others=tuple((name, cell) for name, cell in row.items() if name and name not in COLUMNS),
    )


def _file(cell: str, role: str, folder: Path, place: str, must_exist: bool) -> Path:
    if not cell:
        raise ManifestError(f"The {role} is missing in {place}: fill in its path, or remove the row.")
    try:
        path = folder / cell
        if "\\" in cell and not path.exists():
            path = folder / cell.replace("\\", "/")  # written on Windows
        # the folder is made real but not the file itself: a linked file keeps the name it has here
        path = path.parent.resolve() / path.name
        present = path.is_file() or not must_exist
    except (OSError, ValueError):
        present = False
    if not present:
        raise ManifestError(
            f"The {role} {PureWindowsPath(cell).name!r} named in {place} does not exist: "
            "correct its path (relative to the manifest), or remove the row."
        )
    return path


def _split(cell: str, place: str) -> str | None:
    if not cell:
        return None
    name = _SPLIT_NAMES.get(cell.lower())
    if name is None:
        raise ManifestError(
            f"The split {cell!r} in {place} is not known: use train, val or test, or leave it empty."
        )
    return name


def _outlines(cell: str) -> str | None:
    return None if cell.lower() in _MANNERS else cell or None


def _spacing(cell: str, place: str) -> tuple[float, float] | None:
    """Parse one number, or row and column separated by a space, in mm a pixel."""
    if not cell:
        return None
    try:
        numbers = [float(part) for part in cell.split()]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not all(math.isfinite(n) and n > 0 for n in numbers):
        raise ManifestError(
            f"The spacing_mm {cell!r} in {place} is not a distance: give mm per pixel as one number, or as "
            "row and column separated by a space."
        )
    return numbers[0], numbers[-1]


def _spacing_text(spacing: tuple[float, float] | None) -> str:
    if spacing is None:
        return ""
    row, column = spacing
    return repr(float(row)) if row == column else f"{float(row)!r} {float(column)!r}"


def _relative(path: Path, folder: Path) -> str:
    real = path.parent.resolve() / path.name
    try:
        return Path(os.path.relpath(real, folder)).as_posix()
    except ValueError:  # another drive on Windows
        return str(real)


def split_for_export(manifest: Path | None) -> tuple[list[Entry], list[Entry]]:
    """Return the films of a manifest that calibrate, and those that validate; test films do neither.

    Of films without a split every second one calibrates where the manifest knows no splits.

    Raises:
        ManifestError: it cannot be read.
    """
    entries = read_manifest(manifest, files_exist=False) if manifest is not None else []
    of = {
        split: sorted((entry for entry in entries if entry.split == split), key=lambda entry: entry.id)
        for split in ("train", "val", None)
    }
    free = of[None]
    if of["train"] or of["val"]:
        return of["train"] or free, of["val"] or (free if of["train"] else [])
    return free[::2], free[1::2]
