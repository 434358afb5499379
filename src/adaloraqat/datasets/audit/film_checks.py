"""What can be wrong with a film itself: empty, odd, a negative, upside down, another view, not grey."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adaloraqat.bundle.plausibility import FILM_CODES, doubts
from adaloraqat.datasets.audit.mask_checks import Finding
from adaloraqat.radiograph import Film
from adaloraqat.radiograph.formats import PILLOW_NAMES
from adaloraqat.radiograph.inverted import chest_likeness

NOT_CHEST = 0.2
"""Correlation with a chest film's pattern below which a film is reported; docs/data.md: how well it works."""

_SMALLEST = 64  # px; less shows too little
_COLOURED = 0.08  # mean difference of the colour channels over the range: above is a photograph or a drawing
_LATERAL = ("lateral", "lat", "ll", "rl", "llat", "rlat")
_GREY_MODES = ("1", "L", "LA", "I", "F", "I;16", "I;16B", "I;16L")


def film_findings(film: Film, path: Path, view: str | None, righted: bool) -> list[Finding]:
    """Return what looks wrong with a film, from its pixels, its file's colours and the view its source names.

    `righted` tells that its content was that of a negative and has been turned over.
    """
    found = [(code, f"{text[:1].upper()}{text[1:]}") for code, text in _doubts(film.pixels)]
    if righted:
        found.append(("inverted", "The film is stored as a negative: lungs bright, body dark."))
    if view is not None and view.lower() in _LATERAL:
        found.append(("lateral", f"The source says that this is a lateral view ({view})."))
    explained = any(code in ("blank-film", "upside-down") for code, _ in found)
    if min(film.shape) >= _SMALLEST and not explained:
        likeness = chest_likeness(film.pixels)
        if likeness < NOT_CHEST:
            found.append(
                (
                    "not-frontal-chest",
                    f"The film does not look like a frontal chest film (correlation {likeness:.2f} with "
                    "the pattern of one): a lateral view, another body part, lying on a side, or no X-ray?",
                )
            )
    if colourfulness(path) > _COLOURED:
        found.append(
            ("coloured", "The picture is coloured: a photograph, a drawing, or a film with annotations.")
        )
    return found


def colourfulness(path: Path) -> float:
    """Return the mean difference between the greatest and the least channel, 0 to 1; 0 for what is grey."""
    try:
        with Image.open(path, formats=PILLOW_NAMES) as picture:
            if picture.mode in _GREY_MODES:
                return 0.0
            picture.draft("RGB", (_SMALLEST, _SMALLEST))  # JPEG can decode a small one at once
            small = np.asarray(picture.convert("RGB").resize((_SMALLEST, _SMALLEST)), dtype=np.float32)
    except Exception:  # DICOM and npz are no pictures; damaged ones are reported by the reader
        return 0.0
    return float((small.max(axis=2) - small.min(axis=2)).mean() / 255)


def _doubts(pixels: NDArray[np.float32]) -> list[tuple[str, str]]:
    empty = np.zeros(pixels.shape, bool)
    texts = (text.partition(": ") for text in doubts(pixels, empty, empty.astype(np.float32)))
    return [(code, sentence) for code, _, sentence in texts if code in FILM_CODES]
