"""For all tests: nothing is written outside temporary folders."""

import os

os.environ["ADALORAQAT_CACHE"] = "off"  # before any test, and for every process that a test starts
