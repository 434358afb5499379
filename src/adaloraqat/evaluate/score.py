"""The loop of all scores: models × conditions × prompts, film by film, written as they come.

Every model sees the same films with the same prompts: no box and, where it takes one, the box of the truth;
on clean films of a robustness run also boxes drawn carelessly. A condition is the film as its file has it, or
a corruption that a ward sees. What is drawn comes from a seed and the film's id, so that all models see the
same corrupted films and boxes, on any machine.

A film on which a model fails, or that is missing, gets the worst score of every measure and is counted;
nothing is left out of a mean. A full disk is nobody's failure: it ends the scoring, and the same call goes on
where it was.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adaloraqat.bundle import Segmenter
from adaloraqat.bundle.engine import FloatArray
from adaloraqat.bundle.prompts import Embedded, Prompts
from adaloraqat.bundle.segmentation import Segmentation
from adaloraqat.datasets.manifest import Entry
from adaloraqat.errors import AdaloraqatError, OutputError
from adaloraqat.evaluate.films import UnreadFilms, scored_spacing
from adaloraqat.evaluate.predictions import Predictions, mask_path, remove_masks
from adaloraqat.evaluate.rows import NO_BOX, PROMPTS, TRUE_BOX, FilmRow, film_row, of_manifest
from adaloraqat.evaluate.store import Key, Store
from adaloraqat.measure.clicks import Click, next_click
from adaloraqat.measure.film_scores import DEFAULT_TOLERANCES, LABELS, SIDES, score_film, worst_scores
from adaloraqat.measure.surface import Spacing
from adaloraqat.progress import Progress, no_progress
from adaloraqat.radiograph import Box, Film, read_film, read_labels, read_mask, write_mask
from adaloraqat.radiograph.corrupt import CLEAN, CORRUPTIONS, corrupt
from adaloraqat.renamed import renamed_arguments

AS_IS = "as is"
"""The condition in which a film is scored as its file has it, its labelled lungs apart as well."""

JITTERS = (5, 10, 20)
"""How far each side of the true box moves at most, px of a film whose longer side is `JITTER_GRID`."""

JITTER_GRID = 1024
"""SAM's grid: a jitter means the same share of a film of any size."""

Scored = Segmenter | Predictions
"""What can be scored: a model that runs, or the masks that another program saved."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Settings:
    """What is done to the films.

    Attributes:
        conditions: `AS_IS`, or names of `radiograph.corrupt.CORRUPTIONS`.
        jitters: of the true box on clean films, px at `JITTER_GRID`.
        tolerances: of the NSD, in mm where the spacing is known, else px.
        seed: of everything that is drawn, and of the bootstrap.
        clicks: how many simulated clicks a model that takes points is scored after, one by one.
        corrections: how many clicks that correct its automatic mask it is scored after, one by one.
    """

    conditions: tuple[str, ...] = tuple(CORRUPTIONS)
    jitters: tuple[int, ...] = JITTERS
    tolerances: tuple[float, ...] = DEFAULT_TOLERANCES
    seed: int = 0
    clicks: int = 0
    corrections: int = 0


@renamed_arguments(each="progress")
def score(
    models: Mapping[str, Scored],
    entries: Sequence[Entry],
    settings: Settings,
    store: Store,
    progress: Progress = no_progress,
    masks: Path | None = None,
) -> dict[tuple[str, str], list[FilmRow]]:
    """Score `models` on `entries` in every condition of `settings`; what `store` knows is not done again.

    But what failed is: memory may suffice now, or what was missing may be installed.

    Args:
        models: by the name that stands in the tables.
        entries: films with masks.
        settings: conditions, jitters, tolerances and seed.
        store: keeps the scores.
        progress: shows how many films are done.
        masks: folder below which each mask is saved, and read back before it is scored; None saves none.
            Where there is none now, one of an earlier call is removed, but none that is scored.

    Returns:
        the rows by (model, condition), in the order of the films, with source and patient as `entries` say.

    Raises:
        OutputError: a file cannot be written, or there is no space for a temporary film.
    """
    unread = UnreadFilms(entries, settings.tolerances)
    saved = (model.files for model in models.values() if isinstance(model, Predictions))
    given = {os.path.realpath(path) for path in chain(*saved)}
    for entry in progress(entries, "films"):
        for condition in settings.conditions:
            undone = {n: model for n, model in models.items() if not _done(store, (entry.id, condition, n))}
            for name, rows in _score(undone, entry, condition, settings, unread, masks):
                if masks is not None:
                    old = _masks_without_rows(masks, name, models[name], entry.id, rows, settings)
                    remove_masks(path for path in old if os.path.realpath(path) not in given)
                if store.rows.get((entry.id, condition, name)) != rows:
                    store.add((entry.id, condition, name), rows)
    return {
        (name, condition): of_manifest(
            [row for entry in entries for row in store.rows[entry.id, condition, name]], entries
        )
        for name in models
        for condition in settings.conditions
    }


def _done(store: Store, key: Key) -> bool:
    """Return whether there are rows, and none that failed."""
    rows = store.rows.get(key)
    return rows is not None and not any(row.failed for row in rows)


def _masks_without_rows(
    masks: Path, name: str, model: Scored, identity: str, rows: Sequence[FilmRow], settings: Settings
) -> list[Path]:
    """Return where masks of a film could lie that no row says to be there."""
    saved = {row.prompt for row in rows if not row.failed}
    prompts = (*PROMPTS, *chain(*_click_prompts(model, settings)))
    return [mask_path(masks, name, prompt, identity) for prompt in prompts if prompt not in saved]


def jitter_prompt(jitter: int) -> str:
    """Return what the prompt of a jittered box is called, as `box_jitter_5`."""
    return f"box_jitter_{jitter}"


def click_prompt(clicks: int) -> str:
    """Return what the prompt of so many clicks is called, as `clicks_3`."""
    return f"clicks_{clicks}"


def correction_prompt(clicks: int) -> str:
    """Return what the prompt of the automatic mask and so many clicks is called, as `corrections_3`."""
    return f"corrections_{clicks}"


def jittered(box: Box, shape: tuple[int, int], jitter: float, seed: int) -> Box:
    """Return the box with each side moved by up to `jitter` px of `JITTER_GRID`, inwards or outwards.

    Args:
        box: on a film of `shape` (H, W); the answer is clipped to it and keeps at least one pixel.
        shape: (H, W) of the film.
        jitter: 20 moves a side by up to 20 px of a film whose longer side is 1024.
        seed: the same seed gives the same box.
    """
    height, width = shape
    reach = jitter * max(shape) / JITTER_GRID
    moves = np.random.default_rng(seed).uniform(-reach, reach, 4)
    x_min, y_min, x_max, y_max = np.asarray(box) + moves
    x_min, y_min = min(max(x_min, 0.0), width - 1.0), min(max(y_min, 0.0), height - 1.0)
    return Box(x_min, y_min, min(max(x_max, x_min + 1), width), min(max(y_max, y_min + 1), height))


@dataclass(frozen=True)
class View:
    """A film in one condition with its truth, read once for all models, and the prompts to try on it."""

    entry: Entry
    film: Film
    truth: Mask
    labels: NDArray[np.uint8] | None
    spacing_mm: Spacing | None
    prompts: Mapping[str, Box | None]


def _score(
    models: Mapping[str, Scored],
    entry: Entry,
    condition: str,
    settings: Settings,
    unread: UnreadFilms,
    masks: Path | None,
) -> Iterator[tuple[str, list[FilmRow]]]:
    """Give the rows of each model on one film in one condition; a film that nobody can see fails for all."""
    if not models:
        return
    try:
        view = view_of(entry, condition, settings)
    except (AdaloraqatError, MemoryError) as error:
        reason = _reason(error)
        worst = unread.worst(entry, SIDES if condition == AS_IS and entry.path_labels else ())
        prompts = [NO_BOX, TRUE_BOX, *map(jitter_prompt, _jitters(condition, settings))]
        for name, model in models.items():
            tried = prompts if model.accepts_boxes else prompts[:1]
            tried = [*tried, *(each for row in _click_prompts(model, settings) for each in row)]
            yield name, [film_row(entry, name, prompt, worst, error=reason) for prompt in tried]
        return
    for name, model in models.items():
        tried = [prompt for prompt, box in view.prompts.items() if box is None or model.accepts_boxes]
        answers = _Answers(model, view)
        rows = [_row(name, view, prompt, settings, masks, partial(answers.mask, prompt)) for prompt in tried]
        for prompts, automatic in zip(_click_prompts(model, settings), (False, True), strict=True):
            if view.truth.any() and prompts:
                clicked = _Clicked(answers, automatic)
                rows += [_row(name, view, prompt, settings, masks, clicked.next) for prompt in prompts]
        yield name, rows


def _click_prompts(model: Scored, settings: Settings) -> tuple[list[str], list[str]]:
    """Return the prompts of clicks from nothing, and of those that correct the automatic mask."""
    if not model.accepts_points:
        return [], []
    clicks, corrections = (range(1, count + 1) for count in (settings.clicks, settings.corrections))
    return [*map(click_prompt, clicks)], [*map(correction_prompt, corrections)]


class _Answers:
    """What a model answers on a film; what several prompts need is computed once."""

    def __init__(self, model: Scored, view: View) -> None:
        self.model, self.view = model, view

    @property
    def segmenter(self) -> Segmenter:
        """The model, which is no folder of masks."""
        assert not isinstance(self.model, Predictions)
        return self.model

    @cached_property
    def automatic(self) -> Segmentation:
        """The answer without a box."""
        return self.segmenter.segment(self.view.film)

    @cached_property
    def embedded(self) -> Embedded:
        """The film as the model's encoder sees it."""
        return self.segmenter.embed(self.view.film.pixels, self.view.film.aspect)

    def mask(self, prompt: str) -> tuple[Mask, float | None]:
        """Return the mask of a prompt without clicks and the quality that the model predicts for it."""
        view = self.view
        if isinstance(self.model, Predictions):
            return self.model.mask(view.entry, view.film.shape), None
        box = view.prompts[prompt]
        result = self.automatic if box is None else self.segmenter.segment(view.film, box)
        return result.mask, result.quality


class _Clicked:
    """A film that is clicked on where the mask so far is wrong.

    Where the model learnt from masks, each click but the first also hands that mask on. Clicks that correct
    the `automatic` mask always do: without it they would begin from nothing.
    """

    def __init__(self, answers: _Answers, automatic: bool) -> None:
        self._answers, self._automatic = answers, automatic
        self._hands_on = automatic or answers.segmenter.bundle.prompt.masks_trained
        self._clicks: list[Click] = []
        self._logits: FloatArray | None = None
        self._mask: Mask = np.zeros(answers.view.truth.shape, bool)
        self._quality: float | None = None

    def next(self) -> tuple[Mask, float | None]:
        """Click once more; return the mask, as it was where nothing is wrong with it, and its quality."""
        answers, film = self._answers, self._answers.view.film
        if self._automatic and self._logits is None:
            first = answers.automatic
            self._mask, self._logits, self._quality = first.mask, first.logits, first.quality
        click = next_click(self._mask, answers.view.truth)
        if click is not None:
            self._clicks.append(click)
            points, labels = [(x, y) for x, y, _ in self._clicks], [one.label for one in self._clicks]
            before = self._logits if self._hands_on else None
            asked = Prompts.of(film.shape, None, points, labels, before)
            self._logits, self._quality = answers.segmenter.answer(answers.embedded, asked)
            self._mask = answers.embedded.frame.logits_to_original(self._logits) > 0
        return self._mask, self._quality


def view_of(entry: Entry, condition: str, settings: Settings) -> View:
    """Read a film and its truth; a corrupted one is written as a ward's file, and read as a user's."""
    film = read_film(entry.path_image)
    truth = read_mask(entry.path_mask, film.shape)
    labels = None
    # No corruption resamples, and the ward's file says nothing of it: the film's own spacing holds.
    spacing = scored_spacing(entry, film.shape, film.spacing_mm)
    if condition != AS_IS:
        corrupted = corrupt(condition, film.pixels, truth, _seed(settings.seed, entry.id, condition))
        film, truth = _read_back(corrupted.content), corrupted.mask
    elif entry.path_labels:
        labels = read_labels(entry.path_labels, film.shape)
    prompts: dict[str, Box | None] = {NO_BOX: None}
    if truth.any():
        prompts[TRUE_BOX] = box = Box.around(truth)
        seed = _seed(settings.seed, entry.id, "jitter")
        for jitter in _jitters(condition, settings):
            prompts[jitter_prompt(jitter)] = jittered(box, truth.shape, jitter, seed)
    return View(entry, film, truth, labels, spacing, prompts)


def _jitters(condition: str, settings: Settings) -> tuple[int, ...]:
    return settings.jitters if condition == CLEAN else ()


def _read_back(content: bytes) -> Film:
    """Read a ward's file from a temporary folder."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "film")
            path.write_bytes(content)
            return read_film(path)
    except OSError as error:
        raise OutputError(
            f"The folder for temporary files cannot hold a film ({error.strerror}): free some space there, "
            "or set TMPDIR to another folder; the same command then continues."
        ) from error


def _row(
    name: str,
    view: View,
    prompt: str,
    settings: Settings,
    masks: Path | None,
    segment: Callable[[], tuple[Mask, float | None]],
) -> FilmRow:
    """Segment, save the mask and read it back where masks are kept, and score it."""
    entry, shape, tolerances = view.entry, view.film.shape, settings.tolerances
    try:
        mask, quality = segment()
        if masks is not None:
            path = mask_path(masks, name, prompt, entry.id)
            write_mask(path, mask)
            mask = read_mask(path, shape)
        scores = score_film(mask, view.truth, view.spacing_mm, view.labels, tolerances)
        return film_row(entry, name, prompt, scores, quality, empty=not mask.any())
    except (AdaloraqatError, MemoryError) as error:
        reason = _reason(error)
    worst = worst_scores(shape, view.spacing_mm, tolerances, _sides(view.labels))
    return film_row(entry, name, prompt, worst, error=reason)


def _reason(error: Exception) -> str:
    """Say why a film has no score; a full disk says nothing of film or model, and is raised again."""
    if isinstance(error, OutputError):
        raise error
    return "Not enough memory to segment this film." if isinstance(error, MemoryError) else str(error)


def _sides(labels: NDArray[np.uint8] | None) -> list[str]:
    """Name the lungs that are labelled."""
    return [] if labels is None else [side for side in SIDES if (labels == LABELS[side]).any()]


def _seed(seed: int, *texts: str) -> int:
    """Return a seed for one film in one condition, the same on every machine."""
    return int.from_bytes(hashlib.sha256(repr((seed, *texts)).encode()).digest()[:8], "big")
