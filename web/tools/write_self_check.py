"""Write what the page's self-check compares with: a phantom, and the masks that Python's Segmenter gives it.

Run in the repository's root after a shipped bundle changes: `.venv/bin/python web/tools/write_self_check.py`.
"""

import base64
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from adaloraqat import Segmenter
from adaloraqat.datasets.phantom import draw_phantom
from adaloraqat.radiograph import read_film

ROOT = Path(__file__).parents[2]
TARGET = ROOT / "web" / "src" / "engine" / "self_check.json"
PLACES = (ROOT / "src/adaloraqat/weights", ROOT / "packages/weights/src/adaloraqat_weights")
SIDE, SEED = 144, 3


def main() -> None:
    """Draw the phantom, segment it with each shipped bundle, and write both."""
    stream = io.BytesIO()
    values = np.rint(draw_phantom(SEED, SIDE).pixels * 255).astype(np.uint8)
    Image.fromarray(values).save(stream, "PNG", optimize=True)
    film = read_film(stream.getvalue())
    answers = {}
    for folder in sorted(path.parent for place in PLACES for path in place.glob("*/bundle.json")):
        result = Segmenter.load(str(folder)).segment(film)
        flat = np.concatenate([[False], result.mask.ravel(), [False]])
        ends = np.flatnonzero(flat[1:] != flat[:-1])
        runs = np.diff(np.concatenate([[0], ends, [result.mask.size]])).tolist()
        answers[folder.name] = {"quality": round(result.quality or 0.0, 4), "runs": runs}
    document = {
        "width": SIDE,
        "height": SIDE,
        "png": base64.b64encode(stream.getvalue()).decode(),
        "answers": answers,
    }
    TARGET.write_text(json.dumps(document) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
