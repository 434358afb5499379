"""The Dice that a mask is expected to have, with its error: calibrated on films with known outlines.

A network that predicts its own overlap knows little of films unlike those it was trained on. So `quality`
combines what one film's answer shows anyway, without another pass: the predicted IoU, the overlap of the
mask with the probabilities it was cut from, how much of the film is undecided, how unlike the training films
its embedding is, and, where the bundle has a head for structures, how far that second reading of the same
embedding agrees with the mask. The weights were fitted to validation films, clean and corrupted, and stand in
`bundle.json` under `quality`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PREDICTED_IOU, UNDECIDED, UNLIKE, DISAGREEMENT = "predicted_iou", "undecided", "unlike", "disagreement"
UNSURE = "unsure"
FEATURES = (PREDICTED_IOU, UNDECIDED, UNLIKE, DISAGREEMENT, UNSURE)
"""What is looked at; all but the first grow as masks get worse, and are logarithms of shares or distances."""
_SMALLEST = 1e-3
_FARTHEST = (
    10.0  # a hip is not a bad chest: what no film of a calibration reaches still lowers what is expected
)
_UNDECIDED = (0.25, 0.75)


@dataclass(frozen=True)
class QualityModel:
    """Expected Dice = sigmoid(bias + sum of weight · (feature - mean) / std).

    Attributes:
        features: names, of `FEATURES`.
        mean: of each feature on the films it was fitted to.
        std: likewise.
        weights: of each standardised feature.
        bias: the constant.
        errors: (expected Dice, standard deviation of the true Dice about it) at rising expected Dice.
        embedding_mean: (D,) mean over training films of an embedding's mean over its grid.
        embedding_std: (D,) its standard deviation.
    """

    features: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    errors: tuple[tuple[float, float], ...]
    embedding_mean: tuple[float, ...] = ()
    embedding_std: tuple[float, ...] = ()

    def expect(self, found: Mapping[str, float], embedding: NDArray[np.float64]) -> tuple[float, float]:
        """Return the expected Dice in [0, 1] and the standard deviation of the true one about it.

        A feature counts up to `_FARTHEST` standard deviations from the films that the model was fitted to.

        Args:
            found: from `features_of`.
            embedding: (D,), from `pooled`.
        """
        if UNLIKE in self.features:
            mean, std = np.array(self.embedding_mean), np.array(self.embedding_std)
            found = {**found, UNLIKE: unlikeness(embedding, mean, std)}
        values = np.array([found[name] for name in self.features])
        standard = np.clip((values - np.array(self.mean)) / np.array(self.std), -_FARTHEST, _FARTHEST)
        dice = float(1 / (1 + np.exp(-(self.bias + float(standard @ np.array(self.weights))))))
        at, error = zip(*self.errors, strict=True)
        return dice, float(np.interp(dice, at, error))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "QualityModel":
        """Return the model that stands in `bundle.json`.

        Raises:
            ValueError: it is not one.
        """
        try:
            model = cls(
                features=tuple(map(str, values["features"])),
                **{key: tuple(map(float, values[key])) for key in ("mean", "std", "weights")},
                bias=float(values["bias"]),
                errors=tuple((float(at), float(error)) for at, error in values["errors"]),
                **{key: tuple(map(float, values[key])) for key in ("embedding_mean", "embedding_std")},
            )
        except (KeyError, TypeError) as error:
            raise ValueError("not a quality model") from error
        counts = {len(model.features), len(model.mean), len(model.std), len(model.weights)}
        numbers = np.array([*model.mean, *model.std, *model.weights, model.bias, *sum(model.errors, ())])
        if (
            len(counts) != 1
            or not set(model.features) <= set(FEATURES)
            or not model.errors
            or not np.isfinite(numbers).all()
            or min(model.std, default=1) <= 0
            or len(model.embedding_mean) != len(model.embedding_std)
        ):
            raise ValueError("not a quality model")
        return model


def pooled(embedding: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (D,) the mean over the grid of an embedding (1, D, g, g)."""
    return embedding[0].mean(axis=(1, 2), dtype=np.float64)


def unlikeness(found: NDArray[np.float64], mean: NDArray[np.float64], std: NDArray[np.float64]) -> float:
    """Return log of the root mean square of `found` (D,) in standard deviations from `mean` (D,)."""
    return float(np.log(max(_SMALLEST, np.sqrt(np.mean(((found - mean) / std) ** 2)))))


def features_of(
    mask: NDArray[np.bool_],
    probability: NDArray[np.float32],
    predicted_iou: float | None,
    lungs: NDArray[np.bool_] | None,
) -> dict[str, float]:
    """Return the features that a film's answer shows, but for `UNLIKE`.

    `UNSURE` is what the mask's Dice would lack if every pixel were lung with the probability that the model
    gives it: 1 - 2 · (sum of p in the mask) / (area of the mask + sum of p).

    Args:
        mask: (H, W) bool.
        probability: (H, W) in [0, 1].
        predicted_iou: None where the model was not trained to predict it.
        lungs: (H, W) bool, both lungs as the head for structures sees them; None without such a head.
    """
    area = max(1, int(np.count_nonzero(mask)))
    low, high = _UNDECIDED
    undecided = np.count_nonzero((probability > low) & (probability < high)) / area
    inside, everywhere = (float(p.sum(dtype=np.float64)) for p in (probability[mask], probability))
    overlap = 2 * inside / max(1.0, np.count_nonzero(mask) + everywhere)
    found = {
        UNDECIDED: float(np.log(_SMALLEST + undecided)),
        UNSURE: float(np.log(_SMALLEST + max(0.0, 1 - overlap))),
    }
    if predicted_iou is not None:
        clipped = min(max(predicted_iou, 0.01), 0.99)
        found[PREDICTED_IOU] = float(np.log(clipped / (1 - clipped)))
    if lungs is not None:
        both = np.count_nonzero(mask & lungs)
        total = np.count_nonzero(mask) + np.count_nonzero(lungs)
        found[DISAGREEMENT] = float(np.log(_SMALLEST + 1 - (2 * both / total if total else 0.0)))
    return found


def fit_quality(
    found: Sequence[Mapping[str, float]],
    dice: Sequence[float],
    ridge: float = 1e-3,
    allowed: Sequence[str] | None = None,
) -> QualityModel:
    """Fit the weights to films with known Dice, by least squares on the Dice itself (Gauss-Newton, a ridge).

    A feature that would count the wrong way, as a film unlike others that is trusted for it, is left out. The
    errors are standard deviations of the residuals in fifths of the films, in order of expected Dice.

    Args:
        found: the features of each film.
        dice: in [0, 1].
        ridge: weight of the squared weights.
        allowed: features that may be used; None: all that every film has.
    """
    names = tuple(
        name for name in (FEATURES if allowed is None else allowed) if all(name in film for film in found)
    )
    table = np.array([[film[name] for name in names] for film in found])
    truth = np.asarray(dice, float)
    mean, std = table.mean(axis=0), np.maximum(table.std(axis=0), 1e-6)
    design = np.hstack([np.clip((table - mean) / std, -_FARTHEST, _FARTHEST), np.ones((len(table), 1))])
    level = np.clip(truth.mean(), 0.01, 0.99)
    weights = np.append(np.zeros(len(names)), np.log(level / (1 - level)))
    penalty = np.diag([ridge * len(table)] * len(names) + [0.0]) * 0.01
    for _ in range(50):
        expected = 1 / (1 + np.exp(-design @ weights))
        slope = design * (expected * (1 - expected))[:, None]
        step = np.linalg.solve(
            slope.T @ slope + penalty + 1e-9 * np.eye(len(weights)),
            slope.T @ (truth - expected) - penalty @ weights,
        )
        weights = weights + np.clip(step, -1, 1)
    right_way = [w >= 0 if name == PREDICTED_IOU else w <= 0 for name, w in zip(names, weights, strict=False)]
    if not all(right_way):
        kept = [name for name, right in zip(names, right_way, strict=True) if right]
        return fit_quality(found, dice, ridge, kept)
    expected = 1 / (1 + np.exp(-design @ weights))
    order = np.array_split(np.argsort(expected, kind="stable"), 5)
    errors = tuple(
        (float(expected[part].mean()), float(max(1e-3, np.sqrt(np.mean((truth - expected)[part] ** 2)))))
        for part in order
        if len(part)
    )
    return QualityModel(
        names,
        tuple(mean.tolist()),
        tuple(std.tolist()),
        tuple(weights[:-1].tolist()),
        float(weights[-1]),
        errors,
    )
