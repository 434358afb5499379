"""What quantisation does to a run: the four-panel error figure, and which groups of layers bear INT8."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adaloraqat.export.sensitivity import Proposal
from adaloraqat.quantize.error_analysis import ErrorSummary, LayerErrors, pooled, summarise
from adaloraqat.report.page import png_address, png_width, read_finished
from adaloraqat.report.style import PALETTE, new_figure, style
from adaloraqat.report.text import csv_text, p_value, signed, true_minus

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DOTS = 6000  # a scatter plot needs no more; the draw is seeded
_BLUE, _RED = PALETTE[0], PALETTE[1]
_COLUMNS = ("group", "modules", "parameters", "dice", "drop")


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
        scatter.set(xlabel=f"FP32 {what}", ylabel=f"INT8 {what}")
        scatter.set_title(f"INT8 against FP32 ({_noise(summary.decibels)})", loc="left")
        _dots(amplitude, np.abs(before[few]), errors[few])
        amplitude.set(xlabel=f"|FP32 {what}|", ylabel="error")
        amplitude.set_title("error against amplitude", loc="left")
        theory, ordered = stats.probplot(errors[few], fit=False)
        _dots(quantiles, theory, ordered)
        quantiles.axline((0, summary.mean), slope=summary.sd, color=_RED, lw=1.2)
        quantiles.set(xlabel="quantile of a Gaussian", ylabel="quantile of the errors")
        quantiles.set_title("Q–Q: on the line if Gaussian", loc="left")
        for axes in (scatter, amplitude, quantiles):
            axes.grid(lw=0.4, alpha=0.6)
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
    axes.set_title(
        f"μ = {summary.mean:.2e}, σ = {summary.sd:.2e}\n"
        f"Gaussian {gaussian} (p {p_value(summary.normality_p, '= ')})",
        loc="left",
        fontsize=9,
    )
    axes.set(xlabel="INT8 − FP32, 99.9 % of all", ylabel="density")
    _few_ticks(axes)


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


def _noise(decibels: float | None) -> str:
    return "unchanged" if decibels is None else f"{decibels:.1f} dB"


def sensitivity_csv(found: Mapping[str, Any]) -> str:
    """Return the groups, the most sensitive first, with whether the proposed policy keeps them in float.

    Args:
        found: `sensitivity` of analysis.json.
    """
    rows = [
        [*(group[column] for column in _COLUMNS), group["group"] in found["kept_float"]]
        for group in found["groups"]
    ]
    return csv_text([*_COLUMNS, "kept_float"], rows)


def sensitivity_markdown(document: Mapping[str, Any]) -> str:
    """Return the groups as a table, with what was measured and what is proposed in words.

    Args:
        document: the content of analysis.json.
    """
    found, films = document["sensitivity"], document["films"]
    lines = [
        f"Stage {document['stage']}: every group alone in INT8 after training (PTQ), ranked on "
        f"{films['ranking']} of {films['validation']} validation films, without a box.",
        "",
        "| Group | Layers | Weights | Dice | Drop | Proposed |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for group in found["groups"]:
        kept = "float" if group["group"] in found["kept_float"] else "INT8"
        lines.append(
            f"| `{group['group']}` | {group['modules']} | {group['parameters']:,} | {group['dice']:.5f} "
            f"| {signed(group['drop'], 5)} | {kept} |"
        )
    lines += [
        "",
        f"Proposed for a drop of at most {found['max_drop']:g}: {len(found['kept_float'])} of "
        f"{len(found['groups'])} groups in float. Measured on all {films['validation']} validation films: "
        f"float {found['dice_float']:.5f}, proposed {found['dice']:.5f}.",
    ]
    return "\n".join(lines) + "\n"


def sensitivity_figure(proposal: Proposal) -> "Figure":
    """Draw the drop of Dice that each group of layers causes alone; what stays float is hatched."""
    groups = proposal.groups[::-1]
    with style():
        figure = new_figure(8.0, 1.2 + 0.28 * len(groups))
        axes = figure.subplots()
        for place, group in enumerate(groups):
            kept = group.group in proposal.kept_float
            colour, hatch = (_RED, "//") if kept else (_BLUE, None)
            axes.barh(place, 100 * group.drop, color=colour, hatch=hatch)
        axes.set_yticks(
            range(len(groups)), [f"{group.group} ({group.modules})" for group in groups], fontsize=8
        )
        axes.axvline(0, color="black", lw=0.8)
        axes.set_xlabel("drop of validation Dice, in points, with only this group in INT8 (PTQ)")
        axes.set_title(
            f"float {proposal.dice_float:.4f}; proposed policy {proposal.dice:.4f},\n"
            f"{len(proposal.kept_float)} of {len(groups)} groups kept in float (hatched)",
            loc="left",
        )
        axes.grid(axis="x", lw=0.4, alpha=0.6)
        return figure


def analysis_of(folder: Path) -> list[dict[str, Any]]:
    """Return the figures of an analysis, for a page: title, caption, data address and width (CSS px) of each.

    Raises:
        RecipeError: the folder holds no analysis.
    """
    document = read_finished(folder / "analysis.json", {"errors", "sensitivity"}, "adaloraqat analyse")
    figures = []
    for key, numbers in document["errors"].items():
        policy, _, weight_range = key.rpartition("-")
        for what, found in numbers.items():
            caption = true_minus(
                f"{found['n']:,} {what}: error {found['mean']:.2e} ± {found['sd']:.2e}, excess kurtosis "
                f"{found['excess_kurtosis']:+.2f} (0 for a Gaussian, −1.2 for one uniform grid), "
                f"{_noise(found['decibels'])}. Distance to the fitted Gaussian (Kolmogorov and Smirnov): "
                f"D = {found['normality_statistic']:.3f}, p {p_value(found['normality_p'])}."
            )
            title = f"Quantisation error of the {what}, policy {policy}, {weight_range} weight range"
            figures += _picture(folder / f"errors-{key}-{what}.png", title, caption)
    figures += _picture(
        folder / "sensitivity.png",
        "Sensitivity to quantisation",
        "Points (hundredths) of validation Dice lost when only this group is INT8; of stage "
        f"{document['stage']}. Hatched groups stay in float so that the whole model loses at most "
        f"{100 * document['sensitivity']['max_drop']:g} points.",
    )
    return figures


def _picture(path: Path, title: str, caption: str) -> list[dict[str, Any]]:
    try:
        content = path.read_bytes()
        width = png_width(content)
    except OSError:
        return []  # a figure that someone removed or broke leaves a gap, no failure
    return [{"title": title, "caption": caption, "address": png_address(content), "width": width}]
