"""What all pictures share: one colour for one thing, a style that prints, and how figures are saved."""

import io
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaloraqat.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's, safe for the colour-blind
TRUTH = "#F0E442"  # yellow
BEFORE = "#D55E00"  # vermillion
AFTER = "#56B4E9"  # sky blue
INT8 = "#CC79A7"  # reddish purple
LOSS = "#555555"
STAGES = (AFTER, INT8)  # stage 1 makes the adapted model, stage 2 the one that becomes INT8
PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#999933",
    "#882255",
    "#888888",
    "#332288",
)
"""Okabe and Ito's colours, then three more; markers differ too, so that grey print can be read.

Eleven, so that with five markers no pair of the two comes twice.
"""
DOTS_PER_INCH = 200
_STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "svg.fonttype": "path",  # looks the same on a machine without our fonts
    "svg.hashsalt": "adaloraqat",  # the same figure is the same bytes
}

NAMES: Mapping[str, Any] = {"text.parse_math": False}
"""Changes of the style for figures that show names: a model may have dollar signs in its own."""


def rgb(colour: str) -> tuple[int, int, int]:
    """Return a "#rrggbb" colour as three bytes."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def style(**changes: Any) -> AbstractContextManager[None]:
    """Return a context in which figures are drawn and saved in our style."""
    import matplotlib as mpl

    return mpl.rc_context(_STYLE | changes)


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure of that many inches; never a window, whatever the machine offers."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def svg_text(figure: "Figure") -> str:
    """Return the figure as SVG text; the same figure gives the same bytes."""
    text = io.StringIO()
    with style():
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


def png_bytes(figure: "Figure", dots_per_inch: int = 110) -> bytes:
    """Return the figure as PNG; the same figure gives the same bytes."""
    stream = io.BytesIO()
    with style():
        figure.savefig(stream, format="png", dpi=dots_per_inch, metadata={"Software": None})
    return stream.getvalue()


def save_figure(figure: "Figure", folder: Path, name: str) -> list[Path]:
    """Write `<name>.svg`, `<name>.pdf` and `<name>.png` to `folder`, each whole or not at all.

    Raises:
        OutputError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with style():
        figure.draw_without_rendering()  # laid out here, once, and not again for each kind of file
    figure.set_layout_engine(None)
    paths = []
    for kind in ("svg", "pdf", "png"):
        path = folder / f"{name}.{kind}"
        metadata = {"CreationDate": None} if kind == "pdf" else {"Date": None} if kind == "svg" else {}
        with atomic_path(path) as temporary, style():
            figure.savefig(temporary, format=kind, dpi=DOTS_PER_INCH, metadata=metadata)
        paths.append(path)
    return paths
