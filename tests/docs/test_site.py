"""The site: its page of commands is complete, and links are right in the repository and on the site."""

import importlib.util
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest

from adaloraqat.cli.main import COMMANDS

pytest.importorskip("mkdocs", reason="mkdocs is not installed")
ROOT = Path(__file__).parents[2]


def hook(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"docs/site_hooks/{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_commands_has_every_command_and_option() -> None:
    page = hook("commands").commands()
    for name in COMMANDS:
        assert f"\n## adaloraqat {name}\n" in f"\n{page}"
    assert "### adaloraqat data phantom\n" in page
    assert "| <code>--resume</code> | Continue: skip films that have a result in --out. |" in page
    assert "<code>--prompt &lt;auto&#124;whole&gt;</code>" in page  # neither a tag nor a column
    assert "&lt;name&gt;\\_mask.png" in page
    marked = hook("commands")
    assert marked.MARK in (ROOT / "docs" / marked.PAGE).read_text()


def test_links_out_of_the_documents_lead_to_the_files_that_the_site_takes_along() -> None:
    links = hook("repository")
    text = (
        "[a](../benchmarks/b.json) [b](../packages/weights/LICENSE#x) [c](files.md#a) "
        "[d](https://e.org/f) ![g](images/h.png)"
    )
    assert links.linked("docs/data.md", text) == [
        "benchmarks/b.json",
        "packages/weights/LICENSE",
        "docs/files.md",
        "docs/images/h.png",
    ]
    assert links.moved(text, "docs/data.md", "docs") == (
        "[a](repository/benchmarks/b.json) [b](repository/packages/weights/LICENSE.txt#x) [c](files.md#a) "
        "[d](https://e.org/f) ![g](images/h.png)"
    )
    assert (
        links.moved("[a](../../src/x.py)", "docs/reference/python.md", "docs")
        == "[a](../repository/src/x.py)"
    )
    assert (
        links.moved("[a](docs/data.md) [b](LICENSE)", "README.md", "docs")
        == "[a](../data.md) [b](LICENSE.txt)"
    )


def test_links_of_the_documents_exist_in_the_repository() -> None:
    links = hook("repository")
    pages = [*(ROOT / "docs").rglob("*.md"), ROOT / "AGENTS.md"]
    for page in pages:
        origin = page.relative_to(ROOT).as_posix()
        for target in links.linked(origin, page.read_text(encoding="utf-8")):
            assert (ROOT / target).exists(), f"{origin} links to {target}"


class Fetched(HTMLParser):
    """What a browser would fetch from elsewhere for a page; links that one follows are not among it."""

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        classes = given.get("class", "").split()
        if "mermaid" in classes or given.get("data-md-component") == "source":
            self.outside.append(f"{tag} for which the theme's script asks another host")
        named = [given.get("src", ""), given.get("poster", ""), *given.get("srcset", "").split(",")]
        if tag == "object":
            named.append(given.get("data", ""))
        if (tag == "link" and given.get("rel") not in ("canonical", "next", "prev")) or tag in (
            "image",
            "use",
        ):
            named += [given.get("href", ""), given.get("xlink:href", "")]
        self.outside += [f"{tag} {url}" for url in named if re.match(r"\s*(?:[a-z]+:)?//", url)]
        self.outside += outside_of_styles(given.get("style", ""))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "style":
            self.outside += outside_of_styles(data)
        elif self.cdata_elem == "script":
            self.outside += outside_of_scripts(data)


def outside_of_styles(text: str) -> list[str]:
    return re.findall(r"""(?:url\(|@import)\s*["']?\s*(?:[a-z]+:)?//[^)"';]+""", text)


def outside_of_scripts(text: str) -> list[str]:
    return re.findall(r"""["'`](?:https?:)?//[^"'`\s]+""", text)


def outside_of_pages(text: str) -> list[str]:
    page = Fetched()
    page.feed(text)
    return page.outside


def test_no_page_of_the_site_fetches_anything_from_another_host(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True)
    checks = {
        ".html": outside_of_pages,
        ".svg": outside_of_pages,
        ".css": outside_of_styles,
        ".js": outside_of_scripts,
    }
    found = {
        path.relative_to(tmp_path).as_posix(): outside
        for path in tmp_path.rglob("*")
        # the theme's own scripts ask others only for what the pages are searched for here
        if path.suffix in checks and "assets/javascripts" not in path.as_posix()
        if (outside := checks[path.suffix](path.read_text(encoding="utf-8")))
    }
    assert (tmp_path / "architecture/index.html").is_file()
    assert not found
