"""From a film to its mask: preprocess, encode once, decode with a box, back to the film's own grid."""

import functools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adaloraqat.bundle.cpu import weight_range_warning
from adaloraqat.bundle.engine import Engine, FloatArray, load_engine
from adaloraqat.bundle.expected_quality import features_of, pooled
from adaloraqat.bundle.format import WHOLE, Bundle, load_bundle
from adaloraqat.bundle.plausibility import NO_STANDARD_VIEW, plausibility_warnings
from adaloraqat.bundle.prompts import Embedded, MaskLike, PromptedModel, Prompts
from adaloraqat.bundle.proposer import choose_proposer, on_film, propose_boxes, second_box
from adaloraqat.bundle.segmentation import Segmentation, Structures, structures_of
from adaloraqat.bundle.shipped import choose_model
from adaloraqat.errors import BundleError, FilmError
from adaloraqat.radiograph import Box, Film
from adaloraqat.radiograph.formats import FilmLike, as_film, read_ahead

GIVEN = "given"
WHOLE_FILM = "whole film"
SECOND_PASS = "second pass"
PROPOSED = "proposed"
POINTS, MASK = "points", "mask"

AUTO = "auto"
PROMPTS = (AUTO, WHOLE)
"""What stands in for a box: what the bundle asks for, or the whole film in any case."""

_NOTHING_PROPOSED = (
    "no-proposal: no lung was found to take a box from, and this model was not trained on whole films; "
    "give a box, or do not trust the mask."
)


class Segmenter(PromptedModel):
    """A bundle ready to segment films.

    `Segmenter.load()` gives the default model. One instance serves many films and keeps
    no state between them.

    Attributes:
        warnings: what makes this bundle answer otherwise here than where it was measured.
        notices: what stood in where no model was named.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        load_proposer: Callable[[str], "Segmenter"] | None = None,
        notices: tuple[str, ...] = (),
    ) -> None:
        super().__init__(bundle, engine)
        self._load_proposer = load_proposer or Segmenter.load
        self._proposer: Segmenter | None = None
        self.warnings = bundle_warnings(bundle)
        self.notices = notices

    def __repr__(self) -> str:
        return (
            f"Segmenter({self.bundle.name!r}, engine={self.engine.name!r}, outlines={self.bundle.outlines!r})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the bundle's path and the settings: another process loads, and checks, the bundle itself."""
        settings = getattr(self.engine, "settings", None)
        if settings is None:
            raise TypeError(
                f"A Segmenter that runs on {self.engine.name} cannot be pickled; export a bundle of it."
            )
        return type(self).load, (self.bundle.folder.absolute(), *settings)

    @classmethod
    def load(
        cls,
        model: str | os.PathLike[str] | None = None,
        engine: str = "onnxruntime",
        threads: int | None = None,
    ) -> "Segmenter":
        """Load an installed model by name, or a bundle by path, on `threads` threads (None: the engine's).

        Without `model` it is the first of `DEFAULT_MODELS` that is installed; `notices` says where it is not
        the usual one.

        Raises:
            BundleError: the bundle cannot be used or is not installed, or the engine is not.
        """
        chosen = choose_model(None if model is None else os.fspath(model))
        return cls._ready(load_bundle(chosen.name), chosen.notices, engine, threads)

    @classmethod
    def from_pretrained(
        cls,
        repository: str,
        revision: str | None = None,
        engine: str = "onnxruntime",
        threads: int | None = None,
    ) -> "Segmenter":
        """Load a bundle of the Hugging Face Hub, which is downloaded once, checked and kept in the cache.

        It works offline afterwards; `notices` says where the Hub could not be asked for a newer one.

        Args:
            repository: "owner/name", as `adaloraqat push` wrote it.
            revision: a commit, branch or tag; None: `main`. A commit always gives the same model.
            engine: as for `load`.
            threads: as for `load`.

        Raises:
            BundleError: it cannot be fetched, is no bundle, or a file is not the one it vouches for; or the
                extra `hub` or the engine is not installed.
            OutputError: it cannot be kept.
        """
        from adaloraqat.bundle.hub_bundle import fetch_bundle

        found = fetch_bundle(repository, revision)
        return cls._ready(found.bundle, found.notices, engine, threads)

    @classmethod
    def _ready(
        cls, bundle: Bundle, notices: tuple[str, ...], engine: str, threads: int | None
    ) -> "Segmenter":
        proposer = functools.partial(cls.load, engine=engine, threads=threads)
        return cls(bundle, load_engine(bundle, engine, threads), proposer, notices)

    @property
    def accepts_boxes(self) -> bool:
        """Whether a box can be given; a network without prompts takes none."""
        return self.bundle.prompt.accepts_box

    def check_box(self) -> None:
        """Refuse a box where the model takes none.

        Raises:
            BundleError: it takes none.
        """
        if not self.accepts_boxes:
            raise BundleError(
                f"The model {self.bundle.name!r} does not take a box: leave it out, or choose another model."
            )

    @property
    def accepts_points(self) -> bool:
        """Whether points and masks can be given; a model that was trained with boxes alone takes none."""
        return getattr(self.engine, "accepts_points", False)

    def check_points(self) -> None:
        """Refuse points and masks where the model takes none.

        Raises:
            BundleError: it takes none.
        """
        if not self.accepts_points:
            raise BundleError(
                f"The model {self.bundle.name!r} does not take points or masks: give a box, or choose a "
                "model that takes them (lung-field, lung-whole or lung-open, or the export of a run that "
                "trained with clicks)."
            )

    @property
    def proposer(self) -> "Segmenter":
        """The model that proposes boxes for this one, loaded when it is first asked for.

        Raises:
            BundleError: it is not in this installation.
        """
        if self._proposer is None:
            self._proposer = self._load_proposer(choose_proposer(self.bundle.prompt).name)
        return self._proposer

    def segment(
        self,
        film: FilmLike,
        box: Sequence[float] | None = None,
        prompt: str = AUTO,
        *,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        mask: MaskLike | None = None,
    ) -> Segmentation:
        """Segment one film: whatever `read_film` takes, a `Film`, or a 2-D array (bright = dense).

        Args:
            film: an array is read as `Film.from_array` says.
            box: (x_min, y_min, x_max, y_max) in pixels of the film, right and bottom exclusive.
            prompt: what stands in for a box. "auto": boxes of a proposer where the bundle asks for them, else
                the whole film; "whole": the whole film. With the whole film, where the bundle asks for it,
                the same embedding is decoded once more with the box of the first mask's two largest connected
                components.
            points: [(x, y), ...] in pixels of the film, counted from 0; alone, or with a box or a mask.
            labels: one per point: 1 on what is wanted, 0 off it; None: all 1.
            mask: of an earlier answer, which is corrected: a `Segmentation`, its `logits`, or a bool mask
                (H, W) on the film's grid. As in SAM it helps with a box or points; alone it says little.

        Raises:
            FilmError: the film cannot be read, or a prompt does not fit it (see `Prompts.of`).
            BundleError: a prompt where the model takes no such, or the graphs do not run on what the bundle's
                preprocessing gives.
        """
        started = time.perf_counter()
        if box is not None:
            self.check_box()
        corrected = any(given is not None for given in (points, labels, mask))
        if corrected:
            self.check_points()
        film = as_film(film)
        if corrected:
            return self._corrected(film, Prompts.of(film.shape, box, points, labels, mask), started)
        prompts, source, warnings = self._prompts(film, box, prompt)
        embedded = self.embed(film.pixels, film.aspect)
        frame = embedded.frame
        logits, quality = self.union(embedded, prompts)  # (4g, 4g)
        if source == WHOLE_FILM and self.bundle.prompt.second_pass:
            closer = second_box(logits, frame)
            if closer is not None:
                again, again_quality = self.union(embedded, [closer])
                if on_film(again, frame).any():  # a second look that finds nothing does not undo the first
                    logits, quality, prompts, source = again, again_quality, (closer,), SECOND_PASS
        result = self._result(film, embedded, logits, quality, prompts, source, started)
        result.warnings.extend(warnings)
        return result

    def _structures(
        self, mask: NDArray[np.bool_], embedded: Embedded, film: Film
    ) -> tuple[Structures | None, list[str]]:
        """Return right lung, left lung and heart where the model tells them apart, and their warnings."""
        if not self.bundle.has_structures or not mask.any():
            return None, []
        answer, mirrored = self.engine.structures(embedded.embedding)
        return structures_of(
            mask,
            answer,
            float(_sigmoid(np.array([mirrored], np.float32))[0]),
            embedded.frame,
            film.told.right_edge,
            self.bundle.mirrored_limit,
        )

    def _corrected(self, film: Film, asked: Prompts, started: float) -> Segmentation:
        """Segment a film with points or a mask among the prompts: one pass."""
        embedded = self.embed(film.pixels, film.aspect)
        logits, quality = self.answer(embedded, asked)
        source = GIVEN if asked.box is not None else POINTS if asked.points else MASK
        boxes = [asked.box or Box.whole(film.shape)]
        points = tuple((*point, label) for point, label in zip(asked.points, asked.labels, strict=True))
        return self._result(film, embedded, logits, quality, boxes, source, started, points)

    def _prompts(
        self, film: Film, box: Sequence[float] | None, prompt: str
    ) -> tuple[Sequence[Box], str, list[str]]:
        """Return the boxes to decode with, where they come from, and a warning where nothing was proposed."""
        if prompt not in PROMPTS:
            raise FilmError(f"There is no automatic prompt {prompt!r}: choose one of {', '.join(PROMPTS)}.")
        if box is not None:
            return [Box.given(box, film.shape)], GIVEN, []
        whole = [Box.whole(film.shape)]
        automatic = self.bundle.prompt.automatic
        if prompt == WHOLE or automatic == WHOLE:
            return whole, WHOLE_FILM, []
        proposed = propose_boxes(self.proposer, film, automatic)
        return (proposed, PROPOSED, []) if proposed else (whole, WHOLE_FILM, [_NOTHING_PROPOSED])

    def segment_many(
        self,
        films: Iterable[FilmLike],
        box: Sequence[float] | None = None,
        errors: str = "raise",
        prompt: str = AUTO,
    ) -> Iterator[Segmentation | FilmError]:
        """Segment films in their order; while one is segmented the next ones are read, in a thread.

        Args:
            films: taken one by one, `READ_AHEAD` before they are needed, so that memory does not grow.
            box: as for `segment`, the same for all.
            errors: "raise", or "return": a film that cannot be used then gives its `FilmError` in its place.
            prompt: as for `segment`.

        Raises:
            FilmError: a film cannot be used, with `errors="raise"`.
            BundleError: as for `segment`.
            ValueError: another value of `errors`.
        """
        if errors not in ("raise", "return"):
            raise ValueError(f"errors={errors!r}: give 'raise' or 'return'.")
        return self._segment_many(films, box, errors, prompt)

    def _segment_many(
        self, films: Iterable[FilmLike], box: Sequence[float] | None, errors: str, prompt: str
    ) -> Iterator[Segmentation | FilmError]:
        with closing(read_ahead(films)) as readings:
            for reading in readings:
                try:
                    result = self.segment(reading.result(), box, prompt)
                except FilmError as error:
                    if errors == "raise":
                        raise
                    yield error
                else:
                    yield result

    def segment_boxes(
        self, film: FilmLike, boxes: Sequence[Sequence[float]]
    ) -> Iterator[tuple[NDArray[np.bool_], float | None]]:
        """Give, for each box, what it encloses: mask (H, W) bool, and quality (predicted IoU, or None).

        The film is encoded once and the boxes are decoded in blocks while the masks are asked for, so that a
        thousand boxes take no more memory than a few. No second pass, and no plausibility warnings: what a
        box encloses need not be a lung.

        Args:
            film: as for `segment`.
            boxes: (x_min, y_min, x_max, y_max) each, as for `segment`.

        Raises:
            FilmError: the film cannot be read, or a box is inverted or outside the film.
            BundleError: the model takes no box, or the graphs do not run on what the bundle's preprocessing
                gives.
        """
        self.check_box()
        film = as_film(film)
        prompts = [Box.given(box, film.shape) for box in boxes]
        embedded = self.embed(film.pixels, film.aspect)
        for logits, quality in self.decode(embedded, prompts):
            yield embedded.frame.logits_to_original(logits) > 0, quality

    def _result(
        self,
        film: Film,
        embedded: Embedded,
        answer: FloatArray,
        predicted_iou: float | None,
        prompts: Sequence[Box],
        source: str,
        started: float,
        points: tuple[tuple[float, float, int], ...] = (),
    ) -> Segmentation:
        box, logits = _around(prompts), embedded.frame.logits_to_original(answer)
        mask = logits > 0  # (H, W)
        probability = _sigmoid(logits)
        asked = source in (GIVEN, POINTS, MASK)  # for something that need not be a pair of lungs
        structures, unsure = (None, []) if asked else self._structures(mask, embedded, film)
        quality, error = predicted_iou, None
        mean = pooled(embedded.embedding)
        if self.bundle.quality is not None and not asked:
            lungs = structures.lungs if structures is not None else None
            found = features_of(mask, probability, predicted_iou, lungs)
            quality, error = self.bundle.quality.expect(found, mean) if mask.any() else (0.0, None)
        given = box if source == GIVEN else None
        warnings = plausibility_warnings(film.pixels, mask, probability, quality, given, film.told, error)
        if structures is not None and any(said.split(":")[0] in NO_STANDARD_VIEW for said in warnings):
            structures = replace(structures, sides_certain=False, standard_view=False)
        return Segmentation(
            mask=mask,
            probability=probability,
            box=box,
            box_source=source,
            quality=quality,
            spacing_mm=film.spacing_mm,
            warnings=warnings + unsure,
            notices=film.notices,
            milliseconds=(time.perf_counter() - started) * 1000,
            prompts=tuple(prompts),
            proposer=self.proposer.bundle.name if source == PROPOSED else None,
            points=points,
            logits=answer,
            structures=structures,
            quality_error=error,
            predicted_iou=predicted_iou,
            embedding_mean=mean,
        )


def bundle_warnings(bundle: Bundle) -> list[str]:
    """Return what makes a bundle answer otherwise here than where it was measured: this CPU, its proposer."""
    warnings = list(filter(None, [weight_range_warning(bundle.precision.weight_range)]))
    if bundle.prompt.automatic != WHOLE:
        with suppress(BundleError):  # nothing is installed that proposes: refused when it is asked to
            warnings += choose_proposer(bundle.prompt).notices
    return warnings


def _around(boxes: Sequence[Box]) -> Box:
    x_min, y_min, x_max, y_max = zip(*boxes, strict=True)
    return Box(min(x_min), min(y_min), max(x_max), max(y_max))


def _sigmoid(logits: FloatArray) -> FloatArray:
    # exp(-|x|) never overflows, whatever an untrained decoder answers
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small)).astype(np.float32)
