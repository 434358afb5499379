"""A bundle's graphs, asked in pixels of the film: encoded once, decoded with any number of prompts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaloraqat.bundle.components import remove_small_components
from adaloraqat.bundle.engine import Engine, FloatArray
from adaloraqat.bundle.format import Bundle
from adaloraqat.bundle.prompts import Prompts
from adaloraqat.radiograph import Box, Frame

BOXES_AT_ONCE = 8
"""Boxes in one call of the decoder: its memory grows with them, its time a box hardly falls."""


@dataclass(frozen=True)
class Embedded:
    """A film that was encoded once, to be decoded with any number of boxes.

    Attributes:
        embedding: (1, D, g, g) float32.
        frame: where the film lies on the model's square.
    """

    embedding: FloatArray = field(repr=False)
    frame: Frame


class PromptedModel:
    """A bundle and the engine that runs it; answers are logits over the model's square."""

    def __init__(self, bundle: Bundle, engine: Engine) -> None:
        self.bundle = bundle
        self.engine = engine

    def embed(self, pixels: NDArray[Any], aspect: float = 1.0) -> Embedded:
        """Preprocess and encode (H, W), or (H, W, 3) coloured, pixels in [0, 1].

        They are `aspect` times as high as wide.

        Raises:
            BundleError: the encoder does not run on what the bundle's preprocessing gives.
        """
        image, frame = self.bundle.preprocessing(pixels, aspect)  # (C, S, S)
        return Embedded(self.engine.encode(image), frame)

    def decode(self, embedded: Embedded, boxes: Sequence[Box]) -> Iterator[tuple[FloatArray, float | None]]:
        """Give, for each box (on the film, already checked), logits (4g, 4g) over the square, and quality.

        Boxes are decoded in blocks of `BOXES_AT_ONCE`, when they are asked for.
        """
        for start in range(0, len(boxes), BOXES_AT_ONCE):
            prompts = [embedded.frame.box_to_model(box) for box in boxes[start : start + BOXES_AT_ONCE]]
            logits, quality = self.engine.decode(embedded.embedding, np.stack(prompts))  # (n, 4g, 4g), (n,)
            for own, value in zip(logits, quality, strict=True):
                yield remove_small_components(own, self.bundle.smallest_part), self._known(value)

    def union(self, embedded: Embedded, prompts: Sequence[Box]) -> tuple[FloatArray, float | None]:
        """Return logits (4g, 4g) of what any of the prompts encloses, and the lowest of their qualities."""
        logits, qualities = zip(*self.decode(embedded, prompts), strict=True)
        known = [quality for quality in qualities if quality is not None]
        return np.maximum.reduce(logits), min(known) if known else None

    def answer(self, embedded: Embedded, asked: Prompts) -> tuple[FloatArray, float | None]:
        """Return logits (4g, 4g) over the square and quality for what an encoded film is asked with.

        Raises:
            FilmError: the mask prompt does not fit.
            BundleError: the graphs do not run.
        """
        embedding, frame = embedded.embedding, embedded.frame
        mask = asked.mask_logits(frame, 4 * embedding.shape[-1])
        if mask is not None:
            embedding = embedding + self.engine.embed_mask(mask)
        logits, quality = self.engine.decode(embedding, *asked.tokens(frame))
        return remove_small_components(logits[0], self.bundle.smallest_part), self._known(quality[0])

    def _known(self, quality: Any) -> float | None:
        """Return a predicted IoU within [0, 1]; None where the model was not trained to predict it."""
        trained = self.bundle.prompt.quality_trained and np.isfinite(quality)
        return float(np.clip(quality, 0, 1)) if trained else None
