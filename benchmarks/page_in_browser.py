"""The page for benchmarks: served by its command, shown by Chromium on PATH."""

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adaloraqat.datasets.phantom import write_phantoms

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
PATIENCE = 300_000  # ms


@contextlib.contextmanager
def window(**settings: Any) -> Iterator[tuple[Any, str]]:
    """A page of Playwright's that went to the address; loading may still go on."""
    from playwright.sync_api import sync_playwright

    browser_path = next(filter(None, map(shutil.which, NAMES)), None)
    if browser_path is None:
        sys.exit("There is no Chromium on PATH: apt-get install chromium.")
    server = subprocess.Popen(
        [sys.executable, "-m", "adaloraqat", "page", "--port", "0", "-q"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        if not address:
            sys.exit("The page is not served; see above.")
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=browser_path, args=FLAGS)
            page = browser.new_page(**settings)
            page.set_default_timeout(PATIENCE)
            page.goto(address, wait_until="commit")
            yield page, browser.version
            browser.close()
    finally:
        server.terminate()


def loaded(page: Any) -> None:
    """Wait until the model is open and checked."""
    page.wait_for_selector("html[data-loaded]", state="attached")
    page.wait_for_selector('[data-check="passed"]')


def choose(page: Any, films: list[Path], button: str = "Choose films") -> None:
    """Choose films as a person does."""
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name=button).click()
    chooser.value.set_files(films)


@contextlib.contextmanager
def phantoms(count: int, size: int, seed: int = 5) -> Iterator[list[Path]]:
    """Drawn films, which are deleted afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        write_phantoms(Path(folder), count, seed=seed, size=size, dicom=True)
        yield sorted((Path(folder) / "images").glob("*.dcm"))
