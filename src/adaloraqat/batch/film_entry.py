"""One input's entry in `segment --json` and in results.jsonl."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from adaloraqat.bundle.segmentation import Segmentation
from adaloraqat.measure.clinical import clinical_measures

Failure = Literal["film", "output", "memory", "crash"]
"""Why a film has no result: the film itself, what could not be written, no memory, its process died.

Only the first would be so again; the others are tried again when a batch is resumed.
"""
_OF_CASES = ("slices", "objects", "encoded", "milliseconds_of")


@dataclass(frozen=True)
class FilmEntry:
    """What `segment` reports of one film or challenge case; None where there is nothing to report.

    Attributes:
        path: as given, or relative to the folder that was given.
        mask: file of the mask, or of a case's `segs`; relative to `--out` unless that was given relative.
        overlay: as `mask`, of the picture.
        labels: as `mask`, of the label picture: 1 right lung, 2 left lung, 3 heart.
        measures: what was measured on a film's structures (`measure.clinical`); None where the model was not
            trained for them, or a prompt chose something else.
        dicom: as `mask`, of each DICOM object by kind ("seg", "sr", "pr", "film").
        width: px.
        height: px.
        slices: of a case that is a volume.
        box: the prompt, (x_min, y_min, x_max, y_max) in px, or the box around all prompts; a case's boxes are
            in `objects`.
        box_source: where the box or the boxes come from.
        prompts: all boxes that gave a film's mask.
        proposer: the model that proposed them, None where none did.
        points: (x, y, label) of the points that gave a film's mask; there only where some were given.
        quality: in [0, 1]: the expected Dice where `quality_error` is given, else the predicted IoU.
        quality_error: standard deviation of the true Dice about the expected one.
        area_px: pixels of the mask.
        area_mm2: area of the mask.
        spacing_mm: (row, column), of a case (slice, row, column); mm.
        milliseconds: from the file to the mask, of a case to the written `segs`.
        objects: of a case: `label`, `box`, `voxels`, `volume_mm3` or `area_mm2`, `quality`, `dice` of each.
        encoded: how many slices of a case were encoded.
        warnings: what makes the result doubtful, "code: sentence" each.
        notices: what reading the film took note of.
        error: why there is no mask, no overlay or no DICOM object.
        milliseconds_of: a case's time by part.
    """

    path: str | None = None
    mask: str | None = None
    overlay: str | None = None
    dicom: dict[str, str] | None = None
    width: int | None = None
    height: int | None = None
    slices: int | None = None
    box: list[float] | None = None
    box_source: str | None = None
    prompts: list[list[float]] | None = None
    proposer: str | None = None
    quality: float | None = None
    quality_error: float | None = None
    area_px: int | None = None
    area_mm2: float | None = None
    spacing_mm: tuple[float, ...] | None = None
    milliseconds: float | None = None
    objects: list[dict[str, Any]] | None = None
    encoded: int | None = None
    warnings: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    error: str | None = None
    milliseconds_of: dict[str, float] | None = None
    points: list[list[float]] | None = None
    labels: str | None = None
    measures: dict[str, Any] | None = None

    @classmethod
    def of(cls, result: Segmentation) -> "FilmEntry":
        """Return a film's entry without the names of files."""
        return cls(**result.to_dict(), measures=clinical_measures(result))

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "FilmEntry":
        """Return the entry of a line of results.jsonl; what a later version said besides is left out."""
        known = {key: value for key, value in document.items() if key in _KEYS}
        for key in ("warnings", "notices"):
            if key in known:
                known[key] = tuple(known[key])
        return cls(**known)

    @property
    def answered(self) -> bool:
        """Whether the model saw the film: its mask is there, or was refused for what it shows."""
        return self.mask is not None or self.area_px is not None

    def named(self, name: Callable[[str], str]) -> "FilmEntry":
        """Return the entry with each file's name as `name` makes it of the one that stands here."""
        return replace(
            self,
            mask=self.mask and name(self.mask),
            overlay=self.overlay and name(self.overlay),
            labels=self.labels and name(self.labels),
            dicom=self.dicom and {kind: name(path) for kind, path in self.dicom.items()},
        )

    def files(self) -> list[str]:
        """Return the names of the files that were written."""
        names = (self.mask, self.overlay, self.labels, *(self.dicom or {}).values())
        return [name for name in names if name]

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as JSON has it; only a case has the keys of cases, and its times at the end."""
        entry = dict(vars(self))
        if self.points is None:
            del entry["points"]
        if self.objects is None:
            return {key: value for key, value in entry.items() if key not in _OF_CASES}
        times = {key: entry.pop(key) for key in ("milliseconds", "milliseconds_of")}
        return entry | times


_KEYS = frozenset(field.name for field in fields(FilmEntry))  # asked for each of a hundred thousand lines
