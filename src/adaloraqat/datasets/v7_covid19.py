"""V7 COVID-19 X-ray dataset: about 6,500 films with polygons of both whole lungs.

Annotations (https://github.com/v7labs/covid-19-xray-dataset; README there): one Darwin JSON a film,
`annotations/all-images/*.json` (version 1.0; https://docs.v7labs.com/reference/legacy-darwin-json-10) or
`releases/latest/annotations/*.json` as `darwin dataset pull` lays them (1.0 or 2.0). Films lie in `images/`
under the JSON's `filename` or `original_filename`; the JSON only holds their address.

Every `Lung` polygon includes the part behind the heart. Films without one (lateral views, slices of CT) are
left out. In 1.0 a polygon is `{"polygon": {"path": [{"x", "y"}, ...], "additional_paths": [...]}}` or
`{"complex_polygon": {"path": [[...], ...]}}`, in 2.0 `{"polygon": {"paths": [[...], ...]}}`.

The films come from Cohen's COVID-19 image collection (517) and from Kermany et al. (5,863): the second's
names tell the patient. UNVERIFIED: which words the tags use for pneumonia, patient and view; those that say
so by themselves ("Viral Pneumonia", "Patient ID/12", "View/AP") are read, all others are left alone.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaloraqat.datasets.listing import Drawn, Listed, Listing, Shape, files_below, left_out
from adaloraqat.datasets.mask_sources import to_grid
from adaloraqat.datasets.names import patient_in
from adaloraqat.errors import ManifestError
from adaloraqat.radiograph import LEFT_LUNG, RIGHT_LUNG
from adaloraqat.radiograph.film import MAX_PIXELS
from adaloraqat.radiograph.formats import PICTURE_SUFFIXES

LICENCE = "outlines: CC BY 4.0 (V7); films: CC BY 4.0 (Kermany et al.) or as Cohen's metadata.csv says"
Point = tuple[float, float]
_FARTHEST = 1e6
_PATIENT = re.compile(r"patient\s*id\W+(\w+)", re.IGNORECASE)
_VIEW = re.compile(r"(?:view\W+)?(AP supine|AP|PA|lateral|L)", re.IGNORECASE)


@dataclass(frozen=True)
class Polygons:
    """Lungs as closed paths of points in pixels of a picture of `size` (H, W), one tuple of paths a lung."""

    name: str
    lungs: tuple[tuple[tuple[Point, ...], ...], ...]
    size: Shape | None

    def draw(self, shape: Shape) -> Drawn:
        """See `MaskSource.draw`; labelled by side where there are two lungs beside each other."""
        drawn = [fill(paths, self.size or shape) for paths in self.lungs]
        lungs = [to_grid(lung, shape, self.name) for lung in drawn]
        mask = np.logical_or.reduce(lungs)
        return Drawn(mask, _sides(lungs))


def list_v7_covid19(root: Path, kind: str) -> Listing:
    """List the films below `root` whose Darwin JSON holds a lung.

    Raises:
        ManifestError: no Darwin JSON is there, or no film that belongs to one.

    """
    films = [path for path in files_below(root, PICTURE_SUFFIXES) if "masks" not in path.parent.name]
    pictures = {path.stem: path for path in films} | {path.name: path for path in films}
    listed: list[Listed] = []
    failures: list[str] = []
    absent: list[str] = []
    lungless: list[str] = []
    found = 0
    for path in files_below(root, {".json"}):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(document, dict) or "annotations" not in document:
                continue  # a dataset's own description, not a film's
            found += 1
            names, size = _film(document)
            lungs = tuple(_paths(item) for item in document["annotations"] if _is_lung(item))
            tags = [str(item.get("name", "")) for item in document["annotations"] if "tag" in item]
        except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
            failures.append(f"{path.name} is not a readable Darwin JSON file: export or copy it again.")
            continue
        image = next((pictures[name] for name in names if name in pictures), None)
        if not lungs:
            lungless.append(path.name)
        elif image is None:
            absent.append(path.name)
        else:
            listed.append(_listed(image, Polygons(path.name, lungs, size), tags, kind))
    if not listed:
        raise ManifestError(
            f"{root.name} holds no film of the V7 dataset with lungs: it needs the Darwin JSON files "
            f"({found} are there) and, in images/, the films that they name ({len(films)} are there)."
        )
    notices = left_out("film", lungless, "without a lung (lateral or CT)")
    notices += left_out("JSON file", absent, "without a film")
    return Listing(tuple(listed), tuple(notices), tuple(failures))


def _film(document: dict[str, Any]) -> tuple[list[str], Shape | None]:
    """Return the names that the film may have here, and (H, W) that the points refer to."""
    image = document.get("image") or document["item"]
    if "slots" in image:  # version 2.0
        slot = image["slots"][0]
        names = [image["name"], *(source["file_name"] for source in slot.get("source_files", ()))]
        image = slot
    else:
        names = [image["filename"], image.get("original_filename", "")]
    size = (int(image["height"]), int(image["width"])) if image.get("height") and image.get("width") else None
    if size and (min(size) <= 0 or size[0] * size[1] > MAX_PIXELS):
        raise ValueError("a picture of an impossible size")
    names = [Path(str(name)).name for name in names if name]
    return names + [Path(name).stem for name in names], size


def _is_lung(item: dict[str, Any]) -> bool:
    return str(item.get("name", "")).strip().lower() == "lung" and (
        "polygon" in item or "complex_polygon" in item
    )


def _paths(item: dict[str, Any]) -> tuple[tuple[Point, ...], ...]:
    """Return a polygon's paths in any of the three forms."""
    shape = item.get("complex_polygon") or item["polygon"]
    paths = shape["paths"] if "paths" in shape else shape["path"]
    if paths and isinstance(paths[0], dict):
        paths = [paths]
    paths = [*paths, *shape.get("additional_paths", ())]
    points = tuple(tuple((float(point["x"]), float(point["y"])) for point in path) for path in paths)
    if not all(abs(number) <= _FARTHEST for path in points for point in path for number in point):
        raise ValueError("a point that is nowhere")  # NaN, infinity, or beyond any picture
    return points


def _sides(lungs: list[NDArray[np.bool_]]) -> NDArray[np.uint8] | None:
    """Label two lungs: the right one lies at the image's left."""
    if len(lungs) != 2 or not all(lung.any() for lung in lungs):
        return None
    right, left = sorted(lungs, key=lambda lung: float(np.flatnonzero(lung.any(axis=0)).mean()))
    labels = np.zeros(right.shape, dtype=np.uint8)
    labels[left], labels[right] = LEFT_LUNG, RIGHT_LUNG
    return labels


def _listed(image: Path, mask: Polygons, tags: list[str], kind: str) -> Listed:
    patient = next((match[1] for tag in tags if (match := _PATIENT.search(tag))), None)
    diagnosis = "; ".join(tag for tag in tags if re.search("pneumonia|covid", tag, re.IGNORECASE))
    view = next((match[1] for tag in tags if (match := _VIEW.fullmatch(tag.strip()))), None)
    return Listed(
        id=image.stem,
        source="v7_covid19",
        image=image,
        mask=mask,
        patient_id=f"cohen-{patient}" if patient else patient_in(image.stem),
        outlines=kind,
        diagnosis=diagnosis or None,
        licence=LICENCE,
        view=view,
    )


def fill(paths: Sequence[Sequence[Point]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the inside, by the even-odd rule, of closed paths of (x, y) points in pixels as (H, W) bool.

    A pixel is inside when its centre is; the first pixel's centre lies at (0.5, 0.5). A path inside another
    is a hole. Parts outside the grid are cut off.
    """
    height, width = shape
    flips = np.zeros((height, width + 1), dtype=bool)
    for path in paths:
        points = np.asarray(path, dtype=np.float64).reshape(-1, 2)
        if len(points) >= 3:
            _add_edges(flips, points, np.roll(points, -1, axis=0))
    return np.logical_xor.accumulate(flips, axis=1)[:, :width]


def _add_edges(flips: NDArray[np.bool_], starts: NDArray[np.float64], ends: NDArray[np.float64]) -> None:
    """Mark, per row of pixel centres, from which column on an edge turns outside into inside and back."""
    height, width = flips.shape[0], flips.shape[1] - 1
    for (x0, y0), (x1, y1) in zip(starts, ends, strict=True):
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        # rows whose centre row + 0.5 lies in [y0, y1): the half-open range counts a shared corner once
        first, last = max(0, int(np.ceil(y0 - 0.5))), min(height, int(np.ceil(y1 - 0.5)))
        if first >= last:
            continue
        rows = np.arange(first, last)
        crossings = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        columns = np.clip(np.ceil(crossings - 0.5), 0, width).astype(np.int64)
        flips[rows, columns] ^= True
