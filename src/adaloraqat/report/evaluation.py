"""Score models on films: masks are saved, read back, and compared on the film's original grid.

Every model sees the same films with the same prompts, once without a box and once with the box of the truth.
A film on which a model fails scores 0 and is counted; nothing is left out of a mean.
"""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adaloraqat.bundle import Segmenter
from adaloraqat.datasets.manifest import Entry
from adaloraqat.errors import AdaloraqatError
from adaloraqat.files import write_json, write_text
from adaloraqat.measure.overlap import dice, iou
from adaloraqat.radiograph import Box, read_film, read_mask, write_mask

NO_BOX, TRUE_BOX = "no_box", "true_box"
Each = Callable[[Sequence[Entry]], Iterable[Entry]]


@dataclass(frozen=True)
class Score:
    """One model on one film with one prompt. With an `error`, Dice and IoU are 0."""

    model: str
    id: str
    source: str
    prompt: str
    dice: float
    iou: float
    quality: float | None
    empty: bool
    error: str | None


def evaluate(
    models: Mapping[str, Segmenter], entries: Sequence[Entry], out: Path, each: Each = lambda entries: entries
) -> dict[str, Any]:
    """Score `models` on `entries`; write masks, `films.csv` and `evaluation.json` to `out`.

    Args:
        models: by the name that stands in the tables.
        entries: films with masks.
        out: folder for the results.
        each: wraps the films to show progress.

    Returns:
        the content of evaluation.json: per model, source and prompt the mean, standard deviation, median and
        worst Dice, the mean IoU, and the numbers of films, failures and empty masks.
    """
    scores = [
        score
        for entry in each(entries)
        for name, segmenter in models.items()
        for score in _score_film(name, segmenter, entry, out)
    ]
    summary = {"films": len(entries), "models": {name: _summary(name, scores) for name in models}}
    _write_films(out / "films.csv", scores)
    write_json(out / "evaluation.json", summary)
    return summary


def _score_film(name: str, segmenter: Segmenter, entry: Entry, out: Path) -> list[Score]:
    try:
        film = read_film(entry.path_image)
        truth = read_mask(entry.path_mask, film.shape)
    except AdaloraqatError as error:
        return [Score(name, entry.id, entry.source, NO_BOX, 0.0, 0.0, None, False, str(error))]
    prompts: dict[str, Box | None] = {NO_BOX: None}
    if truth.any():  # without a truth there is no true box to give
        prompts[TRUE_BOX] = Box.around(truth)
    scores = []
    for prompt, box in prompts.items():
        try:
            result = segmenter.segment(film, box)
            path = mask_path(out, name, prompt, entry.id)
            write_mask(path, result.mask)
            saved = read_mask(path, film.shape)
            scores.append(
                Score(
                    name, entry.id, entry.source, prompt, dice(saved, truth), iou(saved, truth),
                    result.quality, not saved.any(), None,
                )
            )  # fmt: skip
        except AdaloraqatError as error:
            scores.append(Score(name, entry.id, entry.source, prompt, 0.0, 0.0, None, False, str(error)))
    return scores


def _summary(name: str, scores: Sequence[Score]) -> dict[str, Any]:
    own = [score for score in scores if score.model == name]
    sources = sorted({score.source for score in own})
    groups = {source: [s for s in own if s.source == source] for source in sources}
    if len(sources) > 1:
        groups["all"] = own
    return {
        group: {
            prompt: _numbers([s for s in members if s.prompt == prompt])
            for prompt in (NO_BOX, TRUE_BOX)
            if any(s.prompt == prompt for s in members)
        }
        for group, members in groups.items()
    }


def _numbers(scores: Sequence[Score]) -> dict[str, Any]:
    values = np.array([score.dice for score in scores])
    worst = int(values.argmin())
    return {
        "films": len(scores),
        "dice_mean": float(values.mean()),
        "dice_sd": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        "dice_median": float(np.median(values)),
        "dice_worst": float(values[worst]),
        "worst_id": scores[worst].id,
        "iou_mean": float(np.mean([score.iou for score in scores])),
        "failed": sum(score.error is not None for score in scores),
        "empty": sum(score.empty for score in scores),
    }


def _write_films(path: Path, scores: Sequence[Score]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Score.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(score) for score in scores)
    write_text(path, text.getvalue())


def mask_path(out: Path, model: str, prompt: str, identity: str) -> Path:
    """Return where `evaluate` saves a model's mask of one film; there is none where the model failed."""
    return out / "masks" / model / prompt / f"{_file_name(identity)}_mask.png"


def _file_name(identity: str) -> str:
    """Return a film's id as a file name: ids may hold slashes."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in identity)
