"""How good a mask is, and whether one model is better than another. Needs the `evidence` extra, no torch."""
