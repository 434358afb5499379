"""What INT8 does to the numbers of a model: weights and activations before and after, layer by layer.

The paper's four-panel figure pools such pairs (AdaLoRA-QAT, its figure on the quantisation error) and fits a
Gaussian to the errors. Rounding errors are not Gaussian: within one grid they are close to uniform over one
step, and a pool of grids of different steps has heavier tails. So the fit is reported with its test, even
where it fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adaloraqat.models.sam import decode, encode
from adaloraqat.quantize import numerics
from adaloraqat.quantize.preparation import fake_quantized_layers

Values = NDArray[np.float32]


@dataclass(frozen=True)
class LayerErrors:
    """Numbers of one layer before and after quantisation.

    Attributes:
        name: of the module.
        before: (n,) float32, a seeded draw of at most `limit` numbers.
        after: (n,) the same numbers on the layer's grid.
        step: of the grid; the mean over output channels where each has its own.
    """

    name: str
    before: Values = field(repr=False)
    after: Values = field(repr=False)
    step: float

    @property
    def decibels(self) -> float | None:
        """Signal to quantisation noise; None where quantising changes nothing."""
        return _decibels(self.before, self.after)


@dataclass(frozen=True)
class ErrorSummary:
    """The pooled errors (after − before) in figures.

    Attributes:
        n: numbers pooled.
        mean: of the errors; the fitted Gaussian's μ.
        sd: of the errors; the fitted Gaussian's σ.
        excess_kurtosis: 0 for a Gaussian, −1.2 for a uniform error.
        normality_statistic: Kolmogorov and Smirnov's D, the largest distance between the errors' distribution
            and the fitted Gaussian's. (Skewness and kurtosis alone can pass a pool with a spike at 0.)
        normality_p: its p-value; below 0.05 the errors are not Gaussian. Too large by nature, because μ and σ
            are fitted to the same errors: it rejects rather too seldom.
        decibels: signal to noise of the pool; None where nothing changed.
    """

    n: int
    mean: float
    sd: float
    excess_kurtosis: float
    normality_statistic: float
    normality_p: float
    decibels: float | None


@torch.no_grad()
def weight_errors(model: nn.Module, limit: int = 20_000, seed: int = 0) -> list[LayerErrors]:
    """Return the weights of every fake-quantised layer before and after; adapters are part of the weight.

    Args:
        model: prepared and calibrated.
        limit: largest number of weights drawn from one layer.
        seed: of the draw.
    """
    found = []
    for name, layer in fake_quantized_layers(model).items():
        matrix, _, scale = layer.product_terms()
        after = numerics.fake_quantize_weight(matrix, scale, layer.weight_limit, layer.precision.divide)
        found.append(_drawn(name, matrix, after, float(scale.mean()), limit, seed))
    return found


@torch.no_grad()
def activation_errors(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], limit: int = 20_000, seed: int = 0
) -> list[LayerErrors]:
    """Return the inputs of every fake-quantised layer before and after, over `batches`.

    Args:
        model: prepared and calibrated.
        batches: images (B, C, S, S) and boxes (B, N, 4).
        limit: largest number of values drawn from one layer and batch.
        seed: of the draw.
    """
    parts: dict[str, list[LayerErrors]] = {}
    hooks = []
    for name, layer in fake_quantized_layers(model).items():

        def keep(quantizer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, name: str = name) -> None:
            step = float(quantizer.get_buffer("scale"))
            drawn = _drawn(name, inputs[0], output, step, limit, seed + len(parts.get(name, ())))
            parts.setdefault(name, []).append(drawn)

        hooks.append(layer.input_quantizer.register_forward_hook(keep))
    try:
        model.eval()
        for images, boxes in batches:
            decode(model, encode(model, images), boxes)
    finally:
        for hook in hooks:
            hook.remove()
    return [_joined(pieces) for pieces in parts.values()]


def summarise(layers: Sequence[LayerErrors]) -> ErrorSummary:
    """Pool the layers and describe the errors.

    Raises:
        ValueError: there is no layer.
    """
    from scipy import stats

    before, after = pooled(layers)
    errors = (after - before).astype(np.float64)
    mean, sd = float(errors.mean()), float(errors.std(ddof=1))
    test = stats.kstest(errors, stats.norm(mean, sd).cdf)
    return ErrorSummary(
        n=len(errors),
        mean=mean,
        sd=sd,
        excess_kurtosis=float(stats.kurtosis(errors)),
        normality_statistic=float(test.statistic),
        normality_p=float(test.pvalue),
        decibels=_decibels(before, after),
    )


def _decibels(before: Values, after: Values) -> float | None:
    """10 log10 of signal by noise; None without noise, because JSON has no infinity."""
    noise = float(np.mean((after - before).astype(np.float64) ** 2))
    signal = float(np.mean(before.astype(np.float64) ** 2))
    return None if noise == 0 else 10 * float(np.log10(max(signal, 1e-300) / noise))


def pooled(layers: Sequence[LayerErrors]) -> tuple[Values, Values]:
    """Return all layers' numbers before and after, each (n,).

    Raises:
        ValueError: there is no layer.
    """
    if not layers:
        raise ValueError("the model has no fake-quantised layer")
    return (
        np.concatenate([layer.before for layer in layers]),
        np.concatenate([layer.after for layer in layers]),
    )


def _drawn(name: str, before: Tensor, after: Tensor, step: float, limit: int, seed: int) -> LayerErrors:
    flat, rounded = before.detach().reshape(-1), after.detach().reshape(-1)
    if flat.numel() > limit:
        places = np.random.default_rng(seed).choice(flat.numel(), limit, replace=False)
        chosen = torch.from_numpy(np.sort(places))
        flat, rounded = flat[chosen], rounded[chosen]
    return LayerErrors(name, flat.float().numpy().copy(), rounded.float().numpy().copy(), step)


def _joined(pieces: Sequence[LayerErrors]) -> LayerErrors:
    before, after = pooled(pieces)
    return LayerErrors(pieces[0].name, before, after, pieces[0].step)
