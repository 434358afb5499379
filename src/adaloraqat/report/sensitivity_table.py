"""Which groups of layers can bear INT8: as a figure, as CSV and as Markdown."""

import csv
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adaloraqat.export.sensitivity import Proposal
from adaloraqat.report.figure_style import PALETTE, new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = ("group", "modules", "parameters", "dice", "drop")


def sensitivity_csv(found: Mapping[str, Any]) -> str:
    """Return the groups, the most sensitive first, with whether the proposed policy keeps them in float.

    Args:
        found: `sensitivity` of analysis.json.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_COLUMNS, "kept_float"])
    for group in found["groups"]:
        writer.writerow([*(group[column] for column in _COLUMNS), group["group"] in found["kept_float"]])
    return text.getvalue()


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
        drop = f"{group['drop']:+.5f}".replace("-", "−")
        kept = "float" if group["group"] in found["kept_float"] else "INT8"
        lines.append(
            f"| `{group['group']}` | {group['modules']} | {group['parameters']:,} | {group['dice']:.5f} "
            f"| {drop} | {kept} |"
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
            axes.barh(
                place,
                100 * group.drop,
                color=PALETTE[1] if kept else PALETTE[0],
                hatch="//" if kept else None,
            )
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
