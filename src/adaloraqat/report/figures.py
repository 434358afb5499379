"""Figures of a run: the training curve and where the ranks went. matplotlib is imported late."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adaloraqat.report.colours import LOSS, STAGES
from adaloraqat.report.figure_style import new_figure, style, svg_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ADAPTER = re.compile(r"layers\.(\d+)(?:\.blocks\.(\d+))?\.attn\.qkv\.([qkv])$")


def training_curve(lines: Sequence[Mapping[str, Any]], prunes: Sequence[int] = ()) -> str:
    """Return `training_figure` as SVG."""
    return svg_text(training_figure(lines, prunes))


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
            if start:
                for axes in (dice, loss):
                    axes.axvline(start, color="black", lw=0.8)
            start = steps[-1]
        for number, step in enumerate(prunes):
            label = "ranks pruned" if number == 0 else None
            dice.axvline(step, color=LOSS, lw=0.8, ls="--", label=label)
            loss.axvline(step, color=LOSS, lw=0.8, ls="--")
        dice.set_ylabel("validation Dice")
        dice.legend(facecolor="white", edgecolor="white", framealpha=1, fontsize=9, loc="lower right")
        dice.grid(axis="y", lw=0.4, alpha=0.6)
        loss.set_ylabel("training loss")
        loss.set_xlabel("optimiser steps")
        loss.grid(axis="y", lw=0.4, alpha=0.6)
        return figure


def rank_map(ranks: Mapping[str, int], full: int) -> str:
    """Draw the rank of every adapted matrix: one column a layer, one row for q, k and v.

    Args:
        ranks: by adapter name, as `vision_encoder.layers.0.attn.qkv.q` (of a TinyViT
            `vision_encoder.layers.1.blocks.0.attn.qkv.q`).
        full: the rank that every matrix started with.

    Returns:
        SVG.
    """
    import numpy as np

    places = {name: _place(name) for name in ranks if _ADAPTER.search(name)}
    layers = sorted({layer for layer, _ in places.values()})
    values = np.full((3, len(layers)), np.nan)
    for name, (layer, projection) in places.items():
        values[projection, layers.index(layer)] = ranks[name]
    with style(**{"axes.spines.left": False, "axes.spines.bottom": False}):
        figure = new_figure(max(3.2, 0.48 * len(layers) + 1.4), 2.2)
        axes = figure.subplots()
        image = axes.imshow(values, cmap="cividis", vmin=0, vmax=full, aspect="auto")
        for row, column in np.ndindex(values.shape):
            rank = values[row, column]
            if np.isfinite(rank):
                bright = rank > 0.55 * full
                axes.text(
                    column, row, f"{rank:.0f}", ha="center", va="center", color="black" if bright else "white"
                )
        axes.set_xticks(range(len(layers)), [_label(layer) for layer in layers])
        axes.set_yticks(range(3), ["q", "k", "v"])
        axes.tick_params(length=0)
        axes.set_xlabel("encoder layer")
        figure.colorbar(image, ax=axes, label=f"rank (of {full})", fraction=0.05, pad=0.02)
        return svg_text(figure)


def rank_history(lines: Sequence[Mapping[str, Any]]) -> "Figure | None":
    """Draw the rank of every adapted matrix epoch by epoch: a panel each for q, k and v, one row a layer.

    Args:
        lines: the lines of a run's metrics.jsonl; those with `ranks` count.

    Returns:
        the figure, or None where no line tells ranks.
    """
    import numpy as np

    told = [line for line in lines if line.get("ranks")]
    names = sorted({name for line in told for name in line["ranks"] if _ADAPTER.search(name)})
    if not names:
        return None
    layers = sorted({_place(name)[0] for name in names})
    values = np.full((3, len(layers), len(told)), np.nan)
    for epoch, line in enumerate(told):
        for name in names:
            layer, projection = _place(name)
            values[projection, layers.index(layer), epoch] = line["ranks"].get(name, np.nan)
    full = float(np.nanmax(values))
    with style(**{"axes.spines.left": False, "axes.spines.bottom": False}):
        figure = new_figure(max(6.4, 0.26 * 3 * len(told) + 1.6), 1.1 + 0.24 * len(layers))
        panels = figure.subplots(1, 3, sharey=True)
        for panel, letter, ranks in zip(panels, "qkv", values, strict=True):
            image = panel.imshow(ranks, cmap="cividis", vmin=0, vmax=full, aspect="auto")
            for row, column in np.ndindex(ranks.shape):
                _rank_text(panel, column, row, ranks, full)
            marked = range(0, len(told), max(1, len(told) // 7))
            panel.set_xticks(marked, [str(told[epoch]["epoch"]) for epoch in marked])
            panel.set_yticks(range(len(layers)), [_label(layer) for layer in layers])
            panel.tick_params(length=0)
            panel.set_title(letter)
            panel.set_xlabel("epoch")
        panels[0].set_ylabel("encoder layer")
        figure.colorbar(image, ax=list(panels), label="rank", fraction=0.05, pad=0.02)
        return figure


def _rank_text(panel: Any, column: int, row: int, ranks: Any, full: float) -> None:
    """Write a rank where it is the first or differs from the epoch before."""
    rank = ranks[row, column]
    if rank != rank or (column and rank == ranks[row, column - 1]):
        return
    colour = "black" if rank > 0.55 * full else "white"
    panel.text(column, row, f"{rank:.0f}", ha="center", va="center", fontsize=7, color=colour)


def _place(name: str) -> tuple[tuple[int, ...], int]:
    """Return where an adapter sits, (layer,) or (stage, block), and its row: 0, 1, 2 for q, k, v."""
    match = _ADAPTER.search(name)
    assert match is not None
    stage, block, projection = match.groups()
    layer = (int(stage),) if block is None else (int(stage), int(block))
    return layer, "qkv".index(projection)


def _label(layer: tuple[int, ...]) -> str:
    """Count from 1, as a reader does: "3", or "2.1" for the first block of the second stage."""
    return ".".join(str(number + 1) for number in layer)
