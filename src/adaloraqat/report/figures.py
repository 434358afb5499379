"""Figures of runs (training curve, ranks) and of tables (box plots, accuracy against cost, quality).

matplotlib is imported late.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adaloraqat.report.style import LOSS, NAMES, PALETTE, STAGES, new_figure, style
from adaloraqat.report.table import Method

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ADAPTER = re.compile(r"layers\.(\d+)(?:\.blocks\.(\d+))?\.attn\.qkv\.([qkv])$")
_FRAMELESS = {"axes.spines.left": False, "axes.spines.bottom": False}
_CALIBRATION_BINS = 8
_MARKS = "os^Dv"
_NARROW = 6  # largest over smallest cost, below which the axis needs more marks than 1, 2 and 5
_DIGITS = {False: (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9), True: (1, 2, 5)}


def training_figure(lines: Sequence[Mapping[str, Any]], prunes: Sequence[int] = ()) -> "Figure":
    """Draw validation Dice and training loss over optimiser steps, stage after stage.

    Args:
        lines: the lines of a run's metrics.jsonl.
        prunes: steps of the first stage after which ranks were pruned.
    """
    with style():
        figure = new_figure(5.4, 4.2)
        dice, loss = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        start = 0
        for number, stage in enumerate(dict.fromkeys(line["stage"] for line in lines)):
            own = [line for line in lines if line["stage"] == stage]
            colour = STAGES[number % len(STAGES)]
            steps = [start + line["step"] for line in own]
            for key, mark, what in (("dice_no_box", "o-", "no box"), ("dice_box", "s:", "true box")):
                if key not in own[0]["validation"]:
                    continue  # a network that takes no box
                values = [line["validation"][key] for line in own]
                dice.plot(steps, values, mark, color=colour, ms=4, label=f"{stage}, {what}")
            trained = [
                (step, line["loss"]["total"]) for step, line in zip(steps, own, strict=True) if line["loss"]
            ]
            if trained:
                loss.plot(*zip(*trained, strict=True), "o-", color=colour, ms=4)
            for axes in (dice, loss) if start else ():
                axes.axvline(start, color="black", lw=0.8)
            start = steps[-1]
        for number, step in enumerate(prunes):
            label = "ranks pruned" if number == 0 else None
            dice.axvline(step, color=LOSS, lw=0.8, ls="--", label=label)
            loss.axvline(step, color=LOSS, lw=0.8, ls="--")
        dice.set(ylabel="validation Dice")
        dice.legend(facecolor="white", edgecolor="white", framealpha=1, fontsize=9, loc="lower right")
        loss.set(xlabel="optimiser steps", ylabel="training loss")
        for axes in (dice, loss):
            axes.grid(axis="y", lw=0.4, alpha=0.6)
        return figure


def rank_map(ranks: Mapping[str, int], full: int) -> "Figure":
    """Draw the rank of every adapted matrix: one column a layer, one row for q, k and v.

    Args:
        ranks: by adapter name, as `vision_encoder.layers.0.attn.qkv.q` (of a TinyViT
            `vision_encoder.layers.1.blocks.0.attn.qkv.q`).
        full: the rank that every matrix started with.
    """
    layers, values = _rank_values([ranks])
    with style(**_FRAMELESS):
        figure = new_figure(max(3.2, 0.48 * len(layers) + 1.4), 2.2)
        axes = figure.subplots()
        image = _tiles(axes, values[..., 0], full)
        axes.set_xticks(range(len(layers)), layers)
        axes.set_yticks(range(3), "qkv")
        axes.set(xlabel="encoder layer")
        figure.colorbar(image, ax=axes, label=f"rank (of {full})", fraction=0.05, pad=0.02)
        return figure


def rank_history(lines: Sequence[Mapping[str, Any]]) -> "Figure | None":
    """Draw the rank of every adapted matrix epoch by epoch: a panel each for q, k and v, one row per layer.

    Args:
        lines: the lines of a run's metrics.jsonl; those with `ranks` count.

    Returns:
        the figure, or None where no line tells ranks.
    """
    told = [line for line in lines if line.get("ranks")]
    layers, values = _rank_values([line["ranks"] for line in told])
    if not layers:
        return None
    full = float(np.nanmax(values))
    marked = range(0, len(told), max(1, len(told) // 7))
    with style(**_FRAMELESS):
        figure = new_figure(max(6.4, 0.26 * 3 * len(told) + 1.6), 1.1 + 0.24 * len(layers))
        panels = figure.subplots(1, 3, sharey=True)
        for panel, letter, ranks in zip(panels, "qkv", values, strict=True):
            image = _tiles(panel, ranks, full, changes=True, fontsize=7)
            panel.set_xticks(marked, [str(told[epoch]["epoch"]) for epoch in marked])
            panel.set_yticks(range(len(layers)), layers)
            panel.set(title=letter, xlabel="epoch")
        panels[0].set(ylabel="encoder layer")
        figure.colorbar(image, ax=list(panels), label="rank", fraction=0.05, pad=0.02)
        return figure


def _rank_values(told: Sequence[Mapping[str, int]]) -> tuple[list[str], Any]:
    """Return the layers as a reader counts them ("3", "2.1"), and ranks (q, k, v; layer; one of `told`)."""
    places = {}
    for name in dict.fromkeys(name for ranks in told for name in ranks):
        if found := _ADAPTER.search(name):
            stage, block, letter = found.groups()
            layer = (int(stage),) if block is None else (int(stage), int(block))
            places[name] = (layer, "qkv".index(letter))
    layers = sorted({layer for layer, _ in places.values()})
    values = np.full((3, len(layers), len(told)), np.nan)
    for name, (layer, projection) in places.items():
        values[projection, layers.index(layer)] = [ranks.get(name, np.nan) for ranks in told]
    return [".".join(str(number + 1) for number in layer) for layer in layers], values


def _tiles(axes: Any, ranks: Any, full: float, changes: bool = False, **font: Any) -> Any:
    """Draw ranks (rows, columns) as tiles with their numbers; only a row's first and its `changes`, if so."""
    image = axes.imshow(ranks, cmap="cividis", vmin=0, vmax=full, aspect="auto")
    for (row, column), rank in np.ndenumerate(ranks):
        if np.isfinite(rank) and not (changes and column and rank == ranks[row, column - 1]):
            colour = "black" if rank > 0.55 * full else "white"
            axes.text(column, row, f"{rank:.0f}", ha="center", va="center", color=colour, **font)
    axes.tick_params(length=0)
    return image


def box_plots(methods: Sequence[Method], prompt: str) -> "Figure | None":
    """Draw the films' Dice of every method, one group of boxes a source; each film is a dot.

    Boxes are quartiles with the median, whiskers reach 1.5 quartile distances.

    Args:
        methods: of a table; those without scores for `prompt` are left out.
        prompt: "no_box" or "true_box".

    Returns:
        the figure, or None where no method was scored with `prompt`.
    """
    shown = [method for method in methods if method.scored(prompt)]
    if not shown:
        return None
    looks = _looks([method.name for method in methods if method.films])
    sources = sorted({film.source for method in shown for film in method.films})
    with style(**NAMES):
        figure = new_figure(7.2, 0.9 + (0.34 * len(shown) + 0.3) * len(sources))
        axes = figure.subplots(len(sources), 1, sharex=True, squeeze=False)[:, 0]
        for source, panel in zip(sources, axes, strict=True):
            values = [
                [film.scores["dice"] for film in method.scored(prompt) if film.source == source]
                for method in shown
            ]
            places = np.arange(len(shown))[::-1]
            panel.boxplot(
                values, positions=places, orientation="horizontal", widths=0.6, showfliers=False,
                medianprops={"color": "black", "lw": 1.6}, manage_ticks=False,
            )  # fmt: skip
            for method, place, scores in zip(shown, places, values, strict=True):
                spread = np.linspace(-0.22, 0.22, len(scores))
                colour, _ = looks[method.name]
                panel.plot(scores, place + spread, ".", ms=6, color=colour, alpha=0.7, mew=0)
            panel.set_yticks(places, [method.name for method in shown])
            panel.set(ylim=(-0.6, len(shown) - 0.4))
            panel.set_title(source, loc="left")
            panel.grid(axis="x", lw=0.4, alpha=0.6)
        axes[-1].set(xlabel="Dice, one dot per film")
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
        axes.set(xlabel=labels[cost], ylabel="mean Dice, no box [95 % CI]")
        axes.grid(lw=0.4, alpha=0.6)
        _legend(axes, drawn)
        return figure


def quality_calibration(methods: Sequence[Method], prompt: str = "no_box") -> "Figure | None":
    """Draw the predicted quality (IoU) against the true IoU; None where no method predicts one.

    Dots are films; the line joins the means of equally filled bins. On the diagonal a prediction is right.
    """
    looks = _looks([method.name for method in methods if method.films])
    shown = [
        (method, films)
        for method in methods
        if (films := [film for film in method.scored(prompt) if film.quality is not None])
    ]
    if not shown:
        return None
    with style(**NAMES):
        figure = new_figure(7.6, 4.0)
        axes = figure.subplots()
        drawn = {"as predicted": axes.plot([0, 1], [0, 1], color="black", lw=0.8, ls="--")[0]}
        for method, films in shown:
            colour, mark = looks[method.name]
            predicted = np.array([film.quality for film in films], dtype=float)
            true = np.array([film.scores["iou"] for film in films], dtype=float)
            axes.plot(predicted, true, ".", ms=6, alpha=0.5, color=colour, mew=0)
            bins = np.array_split(np.argsort(predicted), min(_CALIBRATION_BINS, len(films)))
            means = [(predicted[part].mean(), true[part].mean()) for part in bins]
            (line,) = axes.plot(*zip(*means, strict=True), f"{mark}-", ms=5, color=colour)
            drawn[method.name] = line
        lowest = min(
            min(float(film.quality or 0), film.scores["iou"]) for _, films in shown for film in films
        )
        reach = (max(0.0, lowest - 0.03), 1.0)
        axes.set(xlim=reach, ylim=reach, xlabel="predicted quality (IoU)", ylabel="true IoU")
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
