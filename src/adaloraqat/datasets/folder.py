"""One's own films: a pair of folders, `images/` and `masks/`, or a manifest that is already there."""

from collections.abc import Callable
from pathlib import Path

from adaloraqat.datasets.listing import Listed, Listing, Shape, left_out
from adaloraqat.datasets.manifest import read_manifest
from adaloraqat.datasets.names import patient_in, view_in
from adaloraqat.errors import ManifestError
from adaloraqat.radiograph.formats import FILM_SUFFIXES

MASK_ENDINGS = ("", "_mask", "-mask", "_masks")


def list_folder(root: Path, kind: str | None) -> Listing:
    """Pair `ROOT/images/*` with `ROOT/masks/*` (and `ROOT/labels/*` where it exists) by file stem.

    A mask may also be called `<stem>_mask`. Films without a mask, and masks without a film, are left out with
    a notice. The source is called like the folder. What the masks outline is as the caller says. The patient
    is what a DICOM header or a well-known file name says, else the film.

    Raises:
        ManifestError: `images/` or `masks/` is missing, two files share a stem, or no film has a mask.

    """
    images = _by_stem(root / "images")
    masks = _by_stem(root / "masks")
    labels = _by_stem(root / "labels") if (root / "labels").is_dir() else {}
    listed, unmatched, used = [], [], set()
    for stem, image in images.items():
        mask_stem = next((stem + ending for ending in MASK_ENDINGS if stem + ending in masks), None)
        if mask_stem is None:
            unmatched.append(image.name)
            continue
        used.add(mask_stem)
        listed.append(
            Listed(
                id=stem,
                source=root.name,
                image=image,
                mask=masks[mask_stem],
                patient_id=patient_in(stem),
                path_labels=labels.get(stem),
                outlines=kind,
                view=view_in(stem),
            )
        )
    if not listed:
        raise ManifestError(
            f"No film in {root.name}/images has a mask in {root.name}/masks: "
            "give each mask the same file name as its film."
        )
    notices = left_out("film", unmatched, "without a mask of the same name")
    strays = [path.name for stem, path in masks.items() if stem not in used]
    notices += left_out("mask", strays, "without a film of the same name")
    return Listing(tuple(listed), tuple(notices))


def list_manifest(path: Path, kind: str | None) -> Listing:
    """List a manifest's films, to move it or to bring its masks onto their films' grids.

    Where `kind` is given, a row that says nothing of its mask takes it.

    Raises:
        ManifestError: the manifest cannot be read, or says that its masks outline something else.

    """
    entries = read_manifest(path)
    other = next((entry.outlines for entry in entries if kind and entry.outlines not in (None, kind)), None)
    if other:
        raise ManifestError(f"{path.name} says that its masks outline {other}, not {kind}.")
    films = [
        Listed(
            id=entry.id,
            source=entry.source,
            image=entry.path_image,
            mask=entry.path_mask,
            patient_id=entry.patient_id,
            split=entry.split,
            path_labels=entry.path_labels,
            spacing_of=_constant(entry.spacing_mm),
            outlines=entry.outlines or kind,
            diagnosis=entry.diagnosis,
            licence=entry.licence,
            view=entry.view,
            modality=entry.modality,
            others=entry.others,
        )
        for entry in entries
    ]
    return Listing(tuple(films))


def _constant(spacing: tuple[float, float] | None) -> Callable[[Shape], tuple[float, float] | None]:
    return lambda _: spacing


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise ManifestError(
            f"There is no folder {folder.name}/ in {folder.parent.name}: "
            "put films into images/ and masks of the same names into masks/."
        )
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in FILM_SUFFIXES or not path.is_file():
            continue
        if path.stem in found:
            raise ManifestError(
                f"{folder.name}/ holds both {found[path.stem].name} and {path.name}: keep one file per name."
            )
        found[path.stem] = path
    return found
