"""Make the handmade bundle and the miniatures importable (test folders are no packages)."""

import sys
from pathlib import Path

for room in ("bundle", "datasets"):
    sys.path.insert(0, str(Path(__file__).parents[1] / room))
