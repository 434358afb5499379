"""JSRT with the SCR outlines: 247 standing PA films, lung fields, heart and clavicles.

Films (https://db.jsrt.or.jp/eng.php; Shiraishi et al., AJR 174:71, 2000): `All247images/JPCLN001.IMG` ...
`154` with a nodule, `JPCNN001.IMG` ... `093` without, raw 12-bit (see `radiograph.formats.jsrt`); or copies
of the same stems as PNG, JPEG, TIFF or BMP in any folder, for example `images/JPCLN001.png`.

Masks (https://www.isi.uu.nl/Research/Databases/SCR/data.php; van Ginneken et al., Med Image Anal 10:19,
2006): `scratch/fold1/masks/{left lung,right lung,heart,left clavicle,right clavicle}/JPCLN001.gif`, 1024 x
1024, odd film numbers in fold1 and even ones in fold2. The lung field there is where radiation passed the
lung but not mediastinum, heart, aorta or what lies below the diaphragm. By the radiological convention the
right lung is at the image's left. Folder names of the SCR archive: public loaders, for example
`preprocess_JSRT.py` of imlab-uiip/lung-segmentation-2d and the JSRT-SCR loaders that name
`scratch/fold1/masks`. A joint `masks/JPCLN001.png` beside `images/` is taken too.
"""

import re
from collections import defaultdict
from pathlib import Path

from adaloraqat.datasets.listing import Listed, Listing, Shape, files_below, left_out
from adaloraqat.datasets.mask_sources import Joined
from adaloraqat.errors import ManifestError
from adaloraqat.radiograph import HEART, LEFT_LUNG, RIGHT_LUNG
from adaloraqat.radiograph.formats import PICTURE_SUFFIXES
from adaloraqat.radiograph.formats.jsrt import SIDE, SPACING_MM

LICENCE = (
    "JSRT films: free for research with citation; SCR outlines: research and education, not to be passed on"
)
_STEM = re.compile(r"JPC(LN|NN)\d{3}", re.IGNORECASE)
_DIAGNOSES = {"LN": "lung nodule", "NN": "no nodule"}
_STRUCTURES = {
    "lung-field": ("right lung", "left lung"),
    "heart": ("heart",),
    "clavicles": ("right clavicle", "left clavicle"),
}
_NAMES = {name for names in _STRUCTURES.values() for name in names}
_LABELS = {RIGHT_LUNG: "right lung", LEFT_LUNG: "left lung", HEART: "heart"}


def list_jsrt(root: Path, kind: str) -> Listing:
    """List the films below `root` that have every mask of `kind`: lung-field, heart or clavicles.

    Raises:
        ManifestError: no film, or no mask, of these names is there.

    """
    films: dict[str, Path] = {}
    masks: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in files_below(root, {".img", ".gif", *PICTURE_SUFFIXES}):
        if not _STEM.fullmatch(path.stem):
            continue
        stem, folder = path.stem.upper(), path.parent.name.lower().replace("_", " ")
        if folder in _NAMES or folder == "masks":
            masks[stem].setdefault(folder, path)
        elif path.suffix.lower() != ".gif" and folder != "labels":
            _keep(films, stem, path)
    if not films:
        raise ManifestError(
            f"{root.name} holds no JSRT film: give the folder with JPCLN001.IMG (or .png) and the SCR masks."
        )
    listed = [_listed(stem, films[stem], masks[stem], kind) for stem in sorted(films)]
    complete = [film for film in listed if film is not None]
    if not complete:
        raise ManifestError(
            f"No JSRT film in {root.name} has its {' and '.join(_STRUCTURES[kind])} mask: "
            "put the folders fold1 and fold2 of the SCR archive beside the films."
        )
    have = {film.id for film in complete}
    notices = left_out("film", films.keys() - have, "without a mask")
    notices += left_out("mask", masks.keys() - films.keys(), "without a film")
    return Listing(tuple(complete), tuple(notices))


def _keep(films: dict[str, Path], stem: str, path: Path) -> None:
    """Take the raw film before any copy of it: it alone has all 12 bits."""
    if stem not in films or path.suffix.lower() == ".img":
        films[stem] = path


def _listed(stem: str, image: Path, masks: dict[str, Path], kind: str) -> Listed | None:
    parts = _STRUCTURES[kind]
    mask: Joined | Path
    if all(part in masks for part in parts):
        labelled = {label: [masks[name]] for label, name in _LABELS.items() if name in masks}
        mask = Joined([masks[part] for part in parts], labelled if kind == "lung-field" else {})
    elif kind == "lung-field" and "masks" in masks:
        mask = masks["masks"]
    else:
        return None
    return Listed(
        id=stem,
        source="jsrt",
        image=image,
        mask=mask,
        patient_id=stem,
        spacing_of=_spacing,
        outlines=kind,
        diagnosis=_DIAGNOSES[stem[3:5]],
        licence=LICENCE,
        view="PA",
    )


def _spacing(shape: Shape) -> tuple[float, float] | None:
    """Return mm a pixel of a copy at another size; a copy that is not square was cut, so nothing is known."""
    height, width = shape
    return (SPACING_MM * SIDE / height, SPACING_MM * SIDE / width) if height == width else None
