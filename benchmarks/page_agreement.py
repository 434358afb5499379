"""How far the page's engine is from Python's on real films: grey values, model input, masks.

`ADALORAQAT_FILMS=... .venv/bin/python benchmarks/page_agreement.py [--films 200] [--model lung-field-fast]`

The films are spread evenly over those of the folder (`cxr/*/images/*.jpg`, and all of `dicom/`). Needs node and
web/node_modules (`make page`).
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from machine import machine

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "page"))

from page_engine import Agreement, compared, missing, run_engine  # noqa: E402

from adaloraqat import Segmenter  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "page_agreement.json"
NOT_CHEST = "not_chest"  # the folder of films of other parts of the body
BATCH = 25  # films in one node process: their numbers lie on disk meanwhile


def main() -> None:
    """Compare the films and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=200)
    parser.add_argument("--model", default="lung-field-fast")
    asked = parser.parse_args()
    reason = missing()
    if reason is not None:
        sys.exit(f"The engine cannot run: {reason}.")
    segmenter = Segmenter.load(asked.model)
    films = _films(Path(os.environ["ADALORAQAT_FILMS"]), asked.films)
    found: list[tuple[Path, Agreement]] = []
    for start in range(0, len(films), BATCH):
        found += _compared(segmenter, films[start : start + BATCH])
        print(f"{len(found)} of {len(films)}", file=sys.stderr)
    RESULT.write_text(json.dumps(_summary(found, asked.model), indent=2) + "\n", encoding="utf-8")
    print(RESULT.read_text(encoding="utf-8"))


def _films(root: Path, count: int) -> list[Path]:
    dicom = sorted((root / "dicom").rglob("*.dcm"))
    pictures = sorted((root / "cxr").glob("*/images/*.jpg"))
    places = np.linspace(0, len(pictures) - 1, max(0, count - len(dicom))).round().astype(int)
    return [*dicom, *(pictures[place] for place in places)][:count]


def _compared(segmenter: Segmenter, films: list[Path]) -> list[tuple[Path, Agreement]]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        run_engine(segmenter.bundle.folder, films, out, seconds=3600)
        return [(film, compared(segmenter, film, out, number)) for number, film in enumerate(films)]


def _summary(found: list[tuple[Path, Agreement]], model: str) -> dict[str, object]:
    masks = np.array([one.mask for _, one in found])
    return {
        "machine": machine(),
        "model": model,
        "films": len(found),
        "refused_by_both_or_apart": [f"{film.name}: {one.why}" for film, one in found if one.why],
        "grey_greatest_difference": max(one.grey for _, one in found),
        "model_input_greatest_difference": max(one.model_input for _, one in found),
        "mask_pixels_that_agree": {
            "least": float(masks.min()),
            "percentile_1": float(np.percentile(masks, 1)),
            "median": float(np.median(masks)),
            "films_below_0.999": int((masks < 0.999).sum()),
            "films_below_0.999_that_show_a_chest": sum(
                one.mask < 0.999 and film.parent.name != NOT_CHEST for film, one in found
            ),
            "lowest": {
                f"{film.parent.name}/{film.name}": one.mask
                for film, one in sorted(found, key=lambda pair: pair[1].mask)[:5]
            },
        },
        "quality_greatest_difference": max(one.quality for _, one in found),
        "films_with_other_warnings": [
            {"film": f"{film.parent.name}/{film.name}", "python": one.warnings[0], "page": one.warnings[1]}
            for film, one in found
            if one.warnings[0] != one.warnings[1]
        ],
        "films_with_other_notices": sum(one.notices[0] != one.notices[1] for _, one in found),
    }


if __name__ == "__main__":
    main()
