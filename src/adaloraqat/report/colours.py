"""One colour for one thing, in every picture and on the page: Okabe and Ito's, safe for the colour-blind."""

TRUTH = "#F0E442"  # yellow
BEFORE = "#D55E00"  # vermillion
AFTER = "#56B4E9"  # sky blue
INT8 = "#CC79A7"  # reddish purple
LOSS = "#555555"
STAGES = (AFTER, INT8)  # stage 1 makes the adapted model, stage 2 the one that becomes INT8


def rgb(colour: str) -> tuple[int, int, int]:
    """Return a "#rrggbb" colour as three bytes."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
