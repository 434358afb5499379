"""Films of the JSRT database in its own format: raw numbers without any header.

2048 x 2048 pixels, 16-bit words with the high byte first, of which 12 bits are used, 0.175 mm a pixel
(https://db.jsrt.or.jp/eng.php; Shiraishi et al., AJR 174, 2000). The values follow the optical density of the
scanned film, so a high number is a dark place: air. They are inverted here, as every film is bright = dense.
"""

from pathlib import Path

import numpy as np

from adaloraqat.errors import FilmError
from adaloraqat.radiograph.film import Film, scaled
from adaloraqat.radiograph.formats.base import Format, Header

SIDE = 2048
SPACING_MM = 0.175
_BYTES = SIDE * SIDE * 2
_GREATEST = 4095


class Jsrt(Format):
    """A raw film of JSRT; it has no mark, and is known by its name and its size."""

    suffixes = frozenset({".img"})

    def claims(self, path: Path) -> bool:
        """See `Format.claims`."""
        return path.suffix.lower() in self.suffixes and path.is_file() and path.stat().st_size == _BYTES

    def holds_film(self, path: Path) -> bool:
        """See `Format.holds_film`; other files have the suffix, too."""
        try:
            return self.claims(path)
        except OSError:
            return True  # may be one: reading it says why it cannot be used

    def header(self, path: Path) -> Header:
        """See `Format.header`."""
        return Header((SIDE, SIDE), (SPACING_MM, SPACING_MM))

    def read(self, path: Path) -> Film:
        """See `Format.read`: (2048, 2048), with its spacing; 12-bit numbers with the high byte first."""
        values = np.fromfile(path, dtype=">u2").reshape(SIDE, SIDE)
        if values.max() > _GREATEST:
            raise FilmError(
                f"{path.name} is not a JSRT film, because it holds values of more than 12 bits: copy the "
                "original file."
            )
        return Film(scaled(_GREATEST - values.astype(np.uint16), path.name), (SPACING_MM, SPACING_MM))
