"""Masks that another program saved, scored as a model's: nnU-Net's, or those of `evaluate` itself."""

import hashlib
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adaloraqat.datasets.manifest import Entry
from adaloraqat.datasets.names import plain_name
from adaloraqat.datasets.nnunet import read_predictions
from adaloraqat.errors import FilmError, ManifestError, OutputError
from adaloraqat.files import sha256
from adaloraqat.radiograph import read_mask


class Predictions:
    """A folder of masks, one for each film, on the film's own grid; made without a box.

    A film's mask is what `nnUNetv2_predict` calls it (`datasets.nnunet.case_name`), or `mask_name`.
    Everything but 0 counts in a label map, in a picture of grey levels the upper half.
    """

    accepts_boxes = accepts_points = False

    def __init__(self, folder: Path, entries: Sequence[Entry]) -> None:
        """Find the masks of `entries` in `folder`.

        Raises:
            ManifestError: there is no folder, or no mask of any entry in it.
        """
        self.folder = folder
        own = {entry.id: folder / mask_name(entry.id) for entry in entries}
        self._paths = {identity: path for identity, path in own.items() if path.is_file()}
        try:
            self._paths |= read_predictions(folder, entries)
        except ManifestError:
            if not self._paths:
                raise

    @property
    def files(self) -> Collection[Path]:
        """The masks that are scored."""
        return self._paths.values()

    def mask(self, entry: Entry, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Return the saved mask (H, W) of a film.

        Raises:
            FilmError: there is none, or it is damaged or its size is not `shape`.
        """
        if entry.id not in self._paths:
            raise FilmError(f"{self.folder.name} holds no mask of this film: add it.")
        return read_mask(self._paths[entry.id], shape)

    def identity(self) -> str:
        """Return 64 hexadecimal digits that change with any of the masks."""
        marks = [f"{identity}\t{sha256(path)}\n" for identity, path in sorted(self._paths.items())]
        return hashlib.sha256("".join(marks).encode()).hexdigest()


def mask_name(identity: str) -> str:
    """Return the file name of a film's mask: `<id>_mask.png`, of an odd id what `plain_name` makes of it.

    >>> mask_name("a_b"), mask_name("a/b")
    ('a_b_mask.png', 'a-b-c14cddc0_mask.png')
    """
    return f"{plain_name(identity)}_mask.png"


def mask_folder(out: Path) -> Path:
    """Return where an evaluation into `out` saves masks."""
    return out / "masks"


def mask_path(out: Path, model: str, prompt: str, identity: str) -> Path:
    """Return where a model's mask of one film is saved; there is none where the model failed.

    It is always below `out`, whatever the model and the film are called.
    """
    folder = model if Path(model).name == model != ".." else plain_name(model)
    return mask_folder(out) / folder / prompt / mask_name(identity)


def remove_masks(paths: Iterable[Path]) -> None:
    """Remove masks that an earlier evaluation saved; there need not be any.

    Raises:
        OutputError: one is there and cannot be removed.
    """
    for path in paths:
        try:
            path.unlink()
        except OSError as error:
            if os.path.lexists(path):
                raise OutputError(
                    f"{path.name} of an earlier evaluation cannot be removed ({error.strerror}): remove it, "
                    "or choose another --out."
                ) from error
