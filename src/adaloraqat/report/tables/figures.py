"""Figures of a table: box plots per source, accuracy against size and speed, calibration of the quality."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adaloraqat.report.figure_style import NAMES, PALETTE, new_figure, style
from adaloraqat.report.tables.rows import Method

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CALIBRATION_BINS = 8
_MARKS = "os^Dv"
_NARROW = 6  # largest over smallest cost, below which the axis needs more marks than 1, 2 and 5
_DIGITS = {False: (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9), True: (1, 2, 5)}


def box_plots(methods: Sequence[Method], prompt: str) -> "Figure | None":
    """Draw the films' Dice of every method, one group of boxes a source; each film is a dot.

    Boxes are quartiles with the median, whiskers reach 1.5 quartile distances.

    Args:
        methods: of a table; those without scores for `prompt` are left out.
        prompt: "no_box" or "true_box".

    Returns:
        the figure, or None where no method was scored with `prompt`.
    """
    shown = [method for method in methods if any(film.prompt == prompt for film in method.films)]
    if not shown:
        return None
    looks = _looks([method.row.name for method in methods if method.films])
    sources = sorted({film.source for method in shown for film in method.films})
    with style(**NAMES):
        figure = new_figure(7.2, 0.9 + (0.34 * len(shown) + 0.3) * len(sources))
        axes = figure.subplots(len(sources), 1, sharex=True, squeeze=False)[:, 0]
        for source, panel in zip(sources, axes, strict=True):
            values = [
                [film.scores["dice"] for film in m.films if (film.source, film.prompt) == (source, prompt)]
                for m in shown
            ]
            places = np.arange(len(shown))[::-1]
            panel.boxplot(
                values, positions=places, orientation="horizontal", widths=0.6, showfliers=False,
                medianprops={"color": "black", "lw": 1.6}, manage_ticks=False,
            )  # fmt: skip
            for method, place, scores in zip(shown, places, values, strict=True):
                spread = np.linspace(-0.22, 0.22, len(scores))
                colour, _ = looks[method.row.name]
                panel.plot(scores, place + spread, ".", ms=6, color=colour, alpha=0.7, mew=0)
            panel.set_yticks(places, [method.row.name for method in shown])
            panel.set_ylim(-0.6, len(shown) - 0.4)
            panel.set_title(source, loc="left")
            panel.grid(axis="x", lw=0.4, alpha=0.6)
        axes[-1].set_xlabel("Dice, one dot a film")
        return figure


def accuracy_against(document: Mapping[str, Any], cost: str) -> "Figure | None":
    """Draw mean Dice without a box over all films against a cost; None where fewer than two rows have it.

    Args:
        document: of `build_table`.
        cost: "bytes" (size of the files), "speed" (times the reference's) or "trainable".
    """
    block: Mapping[str, Any] = next(
        (b for b in reversed(document["blocks"]) if b["prompt"] == "no_box"), {"rows": [], "source": ""}
    )
    points: list[tuple[str, float, Mapping[str, Any]]] = []
    looks = _looks([row["name"] for row in block["rows"] if row["cells"]])
    for row in block["rows"]:
        value = document["costs"][row["name"]][cost]
        if value and row["cells"]:
            cell = row["cells"]["dice"]
            points.append((row["name"], value / 1e6 if cost == "bytes" else value, cell))
    if len(points) < 2:
        return None
    labels = {
        "bytes": "size of the ONNX files (MB)",
        "speed": "speed (× reference)",
        "trainable": "trainable parameters",
    }
    with style(**NAMES):
        figure = new_figure(7.6, 3.8)
        axes = figure.subplots()
        drawn = {}
        for name, value, cell in points:
            low, high = cell["interval"] or (cell["mean"], cell["mean"])
            colour, mark = looks[name]
            drawn[name] = axes.errorbar(
                value, cell["mean"], [[cell["mean"] - low], [high - cell["mean"]]],
                fmt=mark, color=colour, capsize=3, ms=7,
            )  # fmt: skip
        _round_log_ticks(axes, [value for _, value, _ in points])
        axes.set_xlabel(labels[cost])
        axes.set_ylabel("mean Dice, no box [95 % CI]")
        axes.grid(lw=0.4, alpha=0.6)
        _legend(axes, drawn)
        return figure


def quality_calibration(methods: Sequence[Method], prompt: str = "no_box") -> "Figure | None":
    """Draw the predicted quality (IoU) against the true IoU; None where no method predicts one.

    Dots are films; the line joins the means of equally filled bins. On the diagonal a prediction is right.
    """
    looks = _looks([method.row.name for method in methods if method.films])
    shown = [
        (method, films)
        for method in methods
        if (films := [f for f in method.films if f.prompt == prompt and f.quality is not None])
    ]
    if not shown:
        return None
    with style(**NAMES):
        figure = new_figure(7.6, 4.0)
        axes = figure.subplots()
        drawn = {"as predicted": axes.plot([0, 1], [0, 1], color="black", lw=0.8, ls="--")[0]}
        for method, films in shown:
            colour, mark = looks[method.row.name]
            predicted = np.array([film.quality for film in films], dtype=float)
            true = np.array([film.scores["iou"] for film in films], dtype=float)
            axes.plot(predicted, true, ".", ms=6, alpha=0.5, color=colour, mew=0)
            bins = np.array_split(np.argsort(predicted), min(_CALIBRATION_BINS, len(films)))
            means = [(predicted[part].mean(), true[part].mean()) for part in bins]
            (line,) = axes.plot(*zip(*means, strict=True), f"{mark}-", ms=5, color=colour)
            drawn[method.row.name] = line
        lowest = min(
            min(float(film.quality or 0), film.scores["iou"]) for _, films in shown for film in films
        )
        axes.set_xlim(max(0.0, lowest - 0.03), 1.0)
        axes.set_ylim(max(0.0, lowest - 0.03), 1.0)
        axes.set_xlabel("predicted quality (IoU)")
        axes.set_ylabel("true IoU")
        _legend(axes, drawn)
        return figure


def _legend(axes: Any, drawn: Mapping[str, Any]) -> None:
    """Put a legend beside the axes; a label given to the artist would be left out if it began with "_"."""
    places = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
    axes.legend(list(drawn.values()), list(drawn), frameon=False, fontsize=8, **places)


def _looks(scored: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return colour and mark of each scored row, the same in every figure of a table."""
    return {
        name: (PALETTE[number % len(PALETTE)], _MARKS[number % len(_MARKS)])
        for number, name in enumerate(scored)
    }


def _round_log_ticks(axes: Any, values: Sequence[float]) -> None:
    """Scale the x axis by ratio and mark round numbers around `values`."""
    low, high = min(values) / 1.35, max(values) * 1.35
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks = [digit * 10.0**power for power in powers for digit in _DIGITS[high / low > _NARROW]]
    if high / low > 200:
        ticks = [10.0**power for power in powers]
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_xticks([], minor=True)
    kept = [tick for tick in ticks if low <= tick <= high]
    axes.set_xticks(kept, [f"{tick:,.10g}" for tick in kept])
