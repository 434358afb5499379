"""Moved to `adaloraqat.challenge`; this name goes with the next version."""

import sys
import warnings
from importlib import import_module

warnings.warn("adaloraqat.bundle.challenge is adaloraqat.challenge now.", DeprecationWarning, stacklevel=2)
sys.modules[__name__] = import_module("adaloraqat.challenge")
