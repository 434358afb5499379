"""A pair of folders, `images/` and `masks/`, as manifest entries."""

import os
from dataclasses import dataclass
from pathlib import Path

from adaloraqat.datasets.entry import Entry
from adaloraqat.errors import ManifestError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm", ".dicom", ".npz"})
MASK_ENDINGS = ("", "_mask", "-mask", "_masks")


@dataclass(frozen=True)
class FolderIndex:
    """The films found in a folder pair, and one sentence for each thing that was left out."""

    entries: tuple[Entry, ...]
    notices: tuple[str, ...]


def index_folder(path: str | os.PathLike[str], source: str = "folder") -> FolderIndex:
    """Pair `PATH/images/*` with `PATH/masks/*` (and `PATH/labels/*` where it exists) by file stem.

    A mask may also be called `<stem>_mask`. Films without a mask, and masks without a film, are left out with
    a notice. No split is assigned; the patient is the film until the manifest says otherwise.

    Raises:
        ManifestError: `images/` or `masks/` is missing, two files share a stem, or no film has a mask.

    """
    root = Path(path).resolve()
    images = _by_stem(root / "images")
    masks = _by_stem(root / "masks")
    labels = _by_stem(root / "labels") if (root / "labels").is_dir() else {}
    entries, unmatched, used = [], [], set()
    for stem, image in images.items():
        mask_stem = next((stem + ending for ending in MASK_ENDINGS if stem + ending in masks), None)
        if mask_stem is None:
            unmatched.append(image.name)
            continue
        used.add(mask_stem)
        entries.append(Entry(stem, source, stem, None, image, masks[mask_stem], labels.get(stem)))
    if not entries:
        raise ManifestError(
            f"No film in {root.name}/images has a mask in {root.name}/masks: "
            "give each mask the same file name as its film."
        )
    notices = [f"{name} is left out: it has no mask of the same name." for name in unmatched]
    notices += [
        f"{masks[stem].name} is left out: it has no film of the same name."
        for stem in masks
        if stem not in used
    ]
    return FolderIndex(tuple(entries), tuple(notices))


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise ManifestError(
            f"There is no folder {folder.name}/ in {folder.parent.name}: "
            "put films into images/ and masks of the same names into masks/."
        )
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in IMAGE_SUFFIXES or not path.is_file():
            continue
        if path.stem in found:
            raise ManifestError(
                f"{folder.name}/ holds both {found[path.stem].name} and {path.name}: "
                "keep one file for each name."
            )
        found[path.stem] = path
    return found
