"""The page's engine, run in node over films, and how far it is from Python's."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaloraqat import Segmenter
from adaloraqat.bundle import Segmentation
from adaloraqat.errors import FilmError
from adaloraqat.measure.clinical import clinical_measures
from adaloraqat.radiograph import Film, read_film

WEB = Path(__file__).parents[2] / "web"


@dataclass(frozen=True)
class Agreement:
    """How one film's numbers differ, at most; `mask`, `labels`: share that agrees. `why`: no numbers."""

    grey: float = 0.0
    model_input: float = 0.0
    mask: float = 1.0
    labels: float = 1.0
    ratio: float = 0.0
    quality: float = 0.0
    why: str = ""
    notices: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    warnings: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())


def missing() -> str | None:
    """Return what node needs and does not find, as a reason; None where it can run."""
    if shutil.which("node") is None:
        return "node is not installed"
    if not (WEB / "node_modules" / "onnxruntime-web").is_dir():
        return "web/node_modules is missing: run `npm ci` in web/ (or `make page`)"
    return None


def run_engine(bundle: Path | None, films: Sequence[Path], out: Path, seconds: float = 600) -> None:
    """Run the engine over films in one node process, which leaves its numbers in `out`."""
    job = out / "job.json"
    job.write_text(
        json.dumps(
            {
                "bundle": bundle and str(bundle),
                "films": [str(f) for f in films],
                "out": str(out),
                "pixels": True,
            }
        )
    )
    done = subprocess.run(
        ["node", str(WEB / "tools" / "run_films.mjs"), str(job)],
        capture_output=True,
        text=True,
        timeout=seconds,
        env={**os.environ, "NODE_NO_WARNINGS": "1"},
        cwd=WEB,
    )
    assert done.returncode == 0, done.stderr[-4000:]


def compared(segmenter: Segmenter, path: Path, out: Path, number: int) -> Agreement:
    """Return how the engine's numbers for a film differ from Python's."""
    said = json.loads((out / f"{number}.json").read_text())
    try:
        film = read_film(path)
    except FilmError as error:
        same = said.get("error") == str(error)
        return Agreement(why="" if same else f"Python: {error}  Engine: {said.get('error', 'a film')}")
    if "error" in said:
        return Agreement(why=said["error"])
    return _differences(segmenter, film, said, out, number)


def _differences(segmenter: Segmenter, film: Film, said: dict[str, Any], out: Path, number: int) -> Agreement:
    shape = (said["height"], said["width"])
    if shape != film.shape:
        return Agreement(why=f"Python: {film.shape}  Engine: {shape}")
    grey = _read(out / f"{number}.grey", film.shape)
    if "result" not in said:
        return Agreement(
            grey=float(np.abs(grey - film.pixels).max()), notices=(film.notices, tuple(said["notices"]))
        )
    image, _ = segmenter.bundle.preprocessing(film.pixels, film.aspect)
    found = _read(out / f"{number}.input", image.shape)
    result = segmenter.segment(film)
    mask = np.fromfile(out / f"{number}.mask", np.uint8).reshape(film.shape) != 0
    labels, ratio = _structures(result, mask, said["result"], out / str(number))
    return Agreement(
        grey=float(np.abs(grey - film.pixels).max()),
        model_input=float(np.abs(found - image).max()),
        mask=float((mask == result.mask).mean()),
        labels=labels,
        ratio=ratio,
        quality=max(
            abs((said["result"].get(key) or 0.0) - (value or 0.0))
            for key, value in (("quality", result.quality), ("qualityError", result.quality_error))
        ),
        notices=(film.notices, tuple(said["notices"])),
        warnings=(tuple(result.warnings), tuple(said["result"]["warnings"])),
    )


def _structures(
    result: Segmentation, mask: NDArray[np.bool_], said: dict[str, Any], stem: Path
) -> tuple[float, float]:
    """Return the share of pixels on which all structures agree, and by how much the ratio differs.

    `mask` is the engine's; `stem` with the suffixes right and heart are its files.
    """
    measures = clinical_measures(result)
    if result.structures is None or measures is None:
        assert "structures" not in said
        return 1.0, 0.0
    right, heart = (
        np.fromfile(stem.with_suffix(suffix), np.uint8).reshape(mask.shape) != 0
        for suffix in (".right", ".heart")
    )
    wanted = result.structures
    agree = (right == wanted.right) & ((mask & ~right) == wanted.left) & (heart == wanted.heart)
    ratio = measures["cardiothoracic_ratio"] or 0.0
    assert said["structures"]["sidesCertain"] == result.structures.sides_certain
    assert said["structures"]["sidesFrom"] == result.structures.sides_from
    assert said["structures"]["standardView"] == result.structures.standard_view
    assert ("cardiothoracicRatio" in said["structures"]) == (measures["cardiothoracic_ratio"] is not None)
    return (
        float(agree.mean()),
        abs(said["structures"].get("cardiothoracicRatio", 0.0) - ratio),
    )


def _read(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.fromfile(path, np.float32).reshape(shape)
