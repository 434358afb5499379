"""For all tests: nothing is written outside temporary folders; a browser for pages, where there is one.

The files that take longest come first: of several processes, one that began such a file last would leave the
others idle.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

LONGEST = (
    "page/browser/test_page.py",
    "training/test_resume.py",
    "cli/test_export_evaluate.py",
    "cli/test_bad_films.py",
    "export/test_points.py",
    "page/browser/test_accessible.py",
    "serve/test_jobs.py",
    "training/test_baselines.py",
    "training/kinds/test_quantize.py",
    "models/test_field_recipes.py",
    "serve/test_prompts.py",
    "cli/test_train.py",
)

os.environ["ADALORAQAT_CACHE"] = "off"  # before any test, and for every process that a test starts


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(autouse=True)
def _subnormal_numbers() -> None:
    """Undo what a training in an earlier test set for this process: Hypothesis draws subnormal floats."""
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)


_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--enable-logging=stderr", "--no-pdf-header-footer",
)  # fmt: skip
_POINTS = re.compile(rb"/MediaBox\s*\[\s*0\s+0\s+([\d.]+)\s+([\d.]+)\s*\]")


@dataclass(frozen=True)
class Printed:
    """What the browser said to its console, and (width, height) in points of every sheet it printed."""

    console: list[str]
    sheets: list[tuple[float, float]]


@pytest.fixture
def print_page(tmp_path: Path) -> Callable[[Path], Printed]:
    """Return a function that opens a page in a headless browser of the Chromium family and prints it."""
    browser = next(filter(None, map(shutil.which, _NAMES)), None)
    if browser is None:
        pytest.skip("no Chromium on PATH: pages are not opened or printed")

    def printed(page: Path) -> Printed:
        pdf = tmp_path / "printed.pdf"
        pdf.unlink(missing_ok=True)
        files = (f"--user-data-dir={tmp_path / 'browser'}", f"--print-to-pdf={pdf}", page.resolve().as_uri())
        ended = subprocess.run([browser, *_FLAGS, *files], capture_output=True, text=True, timeout=600)
        assert pdf.exists(), ended.stderr
        console = [line for line in ended.stderr.splitlines() if ":CONSOLE" in line]
        sheets = [(float(w), float(h)) for w, h in _POINTS.findall(pdf.read_bytes())]
        return Printed(console, sheets)

    return printed


@pytest.fixture(scope="session")
def lite_medsam() -> Path:
    """The published LiteMedSAM weights, fetched by the tool itself into the checkout's .cache, once."""
    root = Path(__file__).parents[1] / ".cache" / "published"
    command = [sys.executable, "-m", "adaloraqat", "weights", "get", "lite-medsam", "--no-bundle"]
    environment = {**os.environ, "ADALORAQAT_CACHE": str(root)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"LiteMedSAM cannot be fetched here: {done.stderr.strip()[-200:]}")
    return root / "weights" / "lite-medsam" / "lite_medsam.pth"
