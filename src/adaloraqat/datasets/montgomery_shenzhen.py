"""The tuberculosis films of the U.S. National Library of Medicine: Montgomery (138) and Shenzhen (662).

Montgomery: `MontgomerySet/CXR_png/MCUCXR_0001_0.png`, `ManualMask/{leftMask,rightMask}/` of the same names,
`ClinicalReadings/MCUCXR_0001_0.txt`; 4020 x 4892 or 4892 x 4020 px at 0.0875 mm (NLM-MontgomeryCXRSet-ReadMe,
loader `montgomery.py` of torch-em). The part of the lung behind the heart is excluded.

Shenzhen: `ChinaSet_AllFiles/CXR_png/CHNCXR_0001_0.png`, `ClinicalReadings/`; masks of 566 films by Stirenko
et al. (arXiv 1803.01199, doi:10.17632/8gf9vpkhgy.2): `mask/CHNCXR_0001_0_mask.png`. The masks outline the
visible lung field; in a few the left lung includes the part behind the heart.

In file names, `_0` is normal and `_1` is tuberculosis. Also the joint edition of both (Kaggle,
nikhilpandey360/chest-xray-masks-and-labels): `CXR_png/` with joint masks `masks/MCUCXR_0001_0.png` and
`masks/CHNCXR_0001_0_mask.png`. Jaeger et al., Quant Imaging Med Surg 4:475, 2014.
"""

import re
from pathlib import Path

from adaloraqat.datasets.listing import Listed, Listing, Shape, files_below, left_out
from adaloraqat.datasets.mask_sources import Joined
from adaloraqat.errors import ManifestError
from adaloraqat.radiograph import LEFT_LUNG, RIGHT_LUNG
from adaloraqat.radiograph.formats import PICTURE_SUFFIXES

LICENCES = {
    "montgomery": "NLM: free for research with citation; not to be passed on",
    "shenzhen": "films: NLM, free for research with citation; masks: CC BY-NC-SA 4.0 (Stirenko et al.)",
}
_PREFIXES = {"montgomery": "MCUCXR", "shenzhen": "CHNCXR"}
_STEM = re.compile(r"(MCUCXR|CHNCXR)_\d{4}_([01])", re.IGNORECASE)
_DIAGNOSES = {"0": "normal", "1": "tuberculosis"}
_FULL_SIZE, _SPACING_MM = {(4020, 4892), (4892, 4020)}, 0.0875
_SIDES = {"leftmask": LEFT_LUNG, "rightmask": RIGHT_LUNG}


def list_tuberculosis(root: Path, kind: str, sets: tuple[str, ...] = tuple(_PREFIXES)) -> Listing:
    """List the films of `sets` below `root` that have their masks.

    Raises:
        ManifestError: there is no such film, or none has a mask.

    """
    prefixes = {_PREFIXES[name]: name for name in sets}
    films: dict[str, Path] = {}
    halves: dict[str, dict[int, Path]] = {}
    joint: dict[str, Path] = {}
    for path in files_below(root, PICTURE_SUFFIXES):
        stem = re.sub(r"_mask$", "", path.stem)
        if not _STEM.fullmatch(stem) or stem[:6].upper() not in prefixes:
            continue
        folder = path.parent.name.lower()
        if folder in _SIDES:
            halves.setdefault(stem, {})[_SIDES[folder]] = path
        elif folder in ("mask", "masks") or stem != path.stem:
            joint.setdefault(stem, path)
        else:
            films.setdefault(stem, path)
    listed = []
    for stem, image in films.items():
        mask = _mask(halves.get(stem, {}), joint.get(stem))
        if mask is not None:
            listed.append(_listed(stem, image, mask, kind, prefixes[stem[:6].upper()]))
    if not listed:
        raise ManifestError(
            f"{root.name} holds no film of {' or '.join(sets)} with its mask: give the folder that holds "
            "CXR_png and ManualMask (Montgomery), or CXR_png and mask (Shenzhen)."
        )
    have = {film.id for film in listed}
    notices = left_out("film", films.keys() - have, "without a mask")
    notices += left_out("mask", (halves.keys() | joint.keys()) - films.keys(), "without a film")
    return Listing(tuple(listed), tuple(notices))


def _mask(halves: dict[int, Path], joint: Path | None) -> Joined | Path | None:
    """Return the joined halves, with labels; else the joint mask; half a pair is not a mask."""
    if len(halves) == 2:
        return Joined(
            [halves[RIGHT_LUNG], halves[LEFT_LUNG]], {label: [path] for label, path in halves.items()}
        )
    return joint


def _listed(stem: str, image: Path, mask: Joined | Path, kind: str, source: str) -> Listed:
    return Listed(
        id=stem,
        source=source,
        image=image,
        mask=mask,
        patient_id=stem,
        spacing_of=_montgomery_spacing if source == "montgomery" else None,
        outlines=kind,
        diagnosis=_reading(image, stem) or _DIAGNOSES[stem[-1]],
        licence=LICENCES[source],
        view="PA",
    )


def _montgomery_spacing(shape: Shape) -> tuple[float, float] | None:
    return (_SPACING_MM, _SPACING_MM) if shape in _FULL_SIZE else None


def _reading(image: Path, stem: str) -> str | None:
    """Return the radiologist's words: the last line of `ClinicalReadings/<stem>.txt`, without age and sex."""
    path = image.parents[1] / "ClinicalReadings" / f"{stem}.txt"
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return None
    words = [line for line in lines if line and not re.search(r"\b(sex|age|male|female|yrs?)\b", line, re.I)]
    return words[-1] if words else None
