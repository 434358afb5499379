"""The site: its page of commands is complete, and links are right in the repository and on the site."""

import importlib.util
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
