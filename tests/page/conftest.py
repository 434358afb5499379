"""Tests of the page: its engine against Python's, and the page itself."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
