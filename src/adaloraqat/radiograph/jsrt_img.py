"""Films of the JSRT database in its own format: raw numbers without any header.

2048 x 2048 pixels, 16-bit words with the high byte first, of which 12 bits are used, 0.175 mm a pixel
(https://db.jsrt.or.jp/eng.php; Shiraishi et al., AJR 174, 2000). The values follow the optical density of the
scanned film, so a high number is a dark place: air. They are inverted here, as every film is bright = dense.
"""

from pathlib import Path

import numpy as np

from adaloraqat.errors import FilmError
from adaloraqat.radiograph.film import Film, scaled

SIDE = 2048
BYTES = SIDE * SIDE * 2
SPACING_MM = 0.175
_GREATEST = 4095


def is_jsrt(path: Path) -> bool:
    """Tell whether a file has the name and the size of a JSRT film; it has no magic."""
    return path.suffix.lower() == ".img" and path.is_file() and path.stat().st_size == BYTES


def read_jsrt(path: Path) -> Film:
    """Return the film in a raw JSRT file, (2048, 2048), bright = dense, with its spacing.

    Raises:
        FilmError: the values are not 12-bit numbers with the high byte first.
    """
    values = np.fromfile(path, dtype=">u2").reshape(SIDE, SIDE)
    if values.max() > _GREATEST:
        raise FilmError(
            f"{path.name} is no JSRT film, its numbers go beyond 12 bits: copy the file as it was published."
        )
    return Film(scaled(_GREATEST - values.astype(np.uint16), path.name), spacing_mm=(SPACING_MM, SPACING_MM))
