"""The paper's four-panel figure of the quantisation error, for weights or activations."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adaloraqat.quantize.error_analysis import ErrorSummary, LayerErrors, pooled, summarise
from adaloraqat.report.figure_style import PALETTE, new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DOTS = 6000  # a scatter plot needs no more; the draw is seeded
_BLUE, _RED = PALETTE[0], PALETTE[1]


def quantisation_figure(layers: Sequence[LayerErrors], what: str) -> tuple["Figure", ErrorSummary]:
    """Draw the pooled errors of all INT8 layers four ways.

    Histogram with the fitted Gaussian (μ, σ) and the test of normality; FP32 against INT8; error against
    amplitude; normal Q–Q plot.

    Args:
        layers: of `weight_errors` or `activation_errors`.
        what: "weights" or "activations", for the titles.

    Returns:
        the figure and the numbers in it.
    """
    from scipy import stats

    before, after = pooled(layers)
    errors = (after - before).astype(np.float64)
    summary = summarise(layers)
    few = np.random.default_rng(0).permutation(len(errors))[:_DOTS]
    with style():
        figure = new_figure(7.4, 5.6)
        (histogram, scatter), (amplitude, quantiles) = figure.subplots(2, 2)
        _histogram(histogram, errors, summary)
        _dots(scatter, before[few], after[few])
        scatter.axline((0, 0), slope=1, color="black", lw=0.8, ls="--")
        scatter.set_xlabel(f"FP32 {what}")
        scatter.set_ylabel(f"INT8 {what}")
        noise = "unchanged" if summary.decibels is None else f"{summary.decibels:.1f} dB"
        scatter.set_title(f"INT8 against FP32 ({noise})", loc="left")
        _dots(amplitude, np.abs(before[few]), errors[few])
        amplitude.set_xlabel(f"|FP32 {what}|")
        amplitude.set_ylabel("error")
        amplitude.set_title("error against amplitude", loc="left")
        theory, ordered = stats.probplot(errors[few], fit=False)
        _dots(quantiles, theory, ordered)
        quantiles.axline((0, summary.mean), slope=summary.sd, color=_RED, lw=1.2)
        quantiles.set_xlabel("quantile of a Gaussian")
        quantiles.set_ylabel("quantile of the errors")
        quantiles.set_title("Q–Q: on the line if Gaussian", loc="left")
        for axes in (scatter, amplitude, quantiles):
            axes.grid(lw=0.4, alpha=0.6)
        for axes in (histogram, scatter, amplitude, quantiles):
            _few_ticks(axes)
        return figure, summary


def _histogram(axes: Any, errors: Any, summary: ErrorSummary) -> None:
    reach = float(np.quantile(np.abs(errors - summary.mean), 0.999)) or 1e-9
    grid = np.linspace(summary.mean - reach, summary.mean + reach, 161)
    axes.hist(errors, bins=grid, density=True, color=_BLUE, alpha=0.75)
    scale = max(summary.sd, 1e-12)
    bell = np.exp(-(((grid - summary.mean) / scale) ** 2) / 2) / (scale * np.sqrt(2 * np.pi))
    axes.plot(grid, bell, color=_RED, lw=1.6)
    gaussian = "not rejected" if summary.normality_p >= 0.05 else "rejected"
    p = "< 0.001" if summary.normality_p < 0.001 else f"= {summary.normality_p:.3f}"
    axes.set_title(
        f"μ = {summary.mean:.2e}, σ = {summary.sd:.2e}\nGaussian {gaussian} (p {p})", loc="left", fontsize=9
    )
    axes.set_xlabel("INT8 − FP32, 99.9 % of all")
    axes.set_ylabel("density")


def _few_ticks(axes: Any) -> None:
    """Mark five places an axis, small numbers as multiples of a power of ten: labels never overlap."""
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    for axis in (axes.xaxis, axes.yaxis):
        formatter = ScalarFormatter(useMathText=True)
        formatter.set_powerlimits((-2, 3))
        axis.set_major_locator(MaxNLocator(5))
        axis.set_major_formatter(formatter)


def _dots(axes: Any, across: Any, up: Any) -> None:
    axes.plot(across, up, ".", ms=2.5, mew=0, alpha=0.4, color=_BLUE, rasterized=True)
