"""Masks that another program saved, scored as a model's: nnU-Net's, or those of `evaluate` itself."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adaloraqat.datasets.manifest import Entry
from adaloraqat.datasets.nnunet import case_name
from adaloraqat.errors import FilmError, ManifestError
from adaloraqat.radiograph import read_mask


class Predictions:
    """A folder of masks, one for each film, on the film's own grid; made without a box.

    A film's mask is `<name>.png` or `<name>_mask.png`, where the name is the film's id, or what
    `datasets.nnunet.case_name` makes of it. Everything but 0 counts (label maps), in a picture of grey levels
    the upper half.
    """

    accepts_boxes = False

    def __init__(self, folder: Path, entries: Iterable[Entry]) -> None:
        """Find the masks of `entries` in `folder`.

        Raises:
            ManifestError: there is no folder, or no mask of any entry in it.
        """
        self.folder = folder
        if not any(path.is_file() for entry in entries for path in self._paths(entry)):
            raise ManifestError(
                f"{folder.name} holds no mask of these films: give a folder with <film id>.png, such as the "
                "output folder of nnUNetv2_predict."
            )

    def mask(self, entry: Entry, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Return the saved mask (H, W) of a film.

        Raises:
            FilmError: there is none, or it is damaged or of another size than `shape`.
        """
        for path in self._paths(entry):
            if path.is_file():
                return read_mask(path, shape)
        raise FilmError(f"{self.folder.name} holds no mask of this film.")

    def _paths(self, entry: Entry) -> list[Path]:
        names = dict.fromkeys((case_name(entry.id), entry.id.replace("/", "_").replace("\\", "_")))
        return [self.folder / f"{name}{ending}" for name in names for ending in (".png", "_mask.png")]
