"""The real page in Debian's Chromium: served by the command, driven by Playwright."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SITE = Path(__file__).parents[3] / "packages/page/src/adaloraqat_page/site"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
PATIENCE = 120_000  # ms; a machine that does much else is slow to compile WebAssembly


def missing(what: str) -> None:
    """Skip with the reason, but never in CI."""
    if os.environ.get("ADALORAQAT_CI") == "1":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Where the page is served, and the file in which the server notes every request."""
    if not (SITE / "licences.txt").is_file():
        missing("the page is not built: run `make page`, which needs Node.js 20 or later")
    log = tmp_path_factory.mktemp("page") / "requests.log"
    command = [sys.executable, "-m", "adaloraqat", "page", "--port", "0", "-v"]
    with open(log, "w") as stream:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stream, text=True)
        assert server.stdout is not None
        with server.stdout:
            yield server.stdout.readline().strip(), log
        server.terminate()
        server.wait(timeout=60)


@pytest.fixture(scope="module")  # while it is open, an event loop runs in this thread: not for later tests
def chromium() -> Iterator[Any]:
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        missing("playwright is not installed: pip install '.[dev]'")
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        missing("no Chromium on PATH: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


class Opened:
    """The page in a window of its own, after loading.

    Attributes:
        page: Playwright's.
        said: what the browser complained of; must stay empty.
    """

    def __init__(self, page: Any, address: str, log: Path) -> None:
        self.page = page
        self.said: list[str] = []
        self.foreign: list[str] = []
        self._log = log
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda message: self._hear(message.type, message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self._note(request.url, address))
        page.goto(address, wait_until="commit")

    def _hear(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.said.append(text)

    def _note(self, url: str, address: str) -> None:
        if not url.startswith((address, "blob:", "data:")):
            self.foreign.append(url)

    def wait_loaded(self) -> None:
        """Wait until everything is loaded that the page will ever load."""
        self.page.wait_for_selector("html[data-loaded]", state="attached")
        self.page.wait_for_selector('[data-check="passed"]')

    def requests(self) -> list[str]:
        """Every request that the server has seen."""
        return [line for line in self._log.read_text().splitlines() if '"GET ' in line]

    def choose(self, *films: Path) -> None:
        """Choose files as a person does."""
        button = self.page.get_by_role("button", name="Choose films").or_(
            self.page.get_by_role("button", name="Add films")
        )
        with self.page.expect_file_chooser() as chooser:
            button.first.click()
        chooser.value.set_files(list(films))

    def wait_done(self, films: int) -> None:
        """Wait until so many films have a result or a sentence."""
        from playwright.sync_api import expect

        done = self.page.locator(".row[data-stage=done], .row[data-stage=failed]")
        expect(done).to_have_count(films, timeout=PATIENCE)

    def saved(self, label: str, folder: Path) -> Path:
        """Press a button that saves a file; return the file."""
        with self.page.expect_download() as download:
            self.page.get_by_role("button", name=label, exact=True).click()
        path = folder / download.value.suggested_filename
        download.value.save_as(path)
        return path


@pytest.fixture
def opened(chromium: Any, address: tuple[str, Path]) -> Iterator[Callable[..., Opened]]:
    """Open the page in a window; settings are those of Playwright's contexts. It may complain of nothing."""
    windows: list[tuple[Any, Opened]] = []

    def open_(script: str = "", **settings: Any) -> Opened:
        context = chromium.new_context(**{"viewport": {"width": 1440, "height": 900}, **settings})
        if script:
            context.add_init_script(script)
        page = Opened(context.new_page(), *address)
        windows.append((context, page))
        return page

    yield open_
    for context, page in windows:
        context.close()
        assert page.said == []
        assert page.foreign == []
