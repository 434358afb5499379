"""One colour for one thing, in every picture and on the page: Okabe and Ito's, safe for the colour-blind."""

TRUTH = "#F0E442"  # yellow
BEFORE = "#E69F00"  # orange
AFTER = "#56B4E9"  # sky blue
INT8 = "#CC79A7"  # reddish purple
LOSS = "#555555"
STAGES = ("#0072B2", "#D55E00")  # blue, vermillion


def rgb(colour: str) -> tuple[int, int, int]:
    """Return a "#rrggbb" colour as three bytes."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
