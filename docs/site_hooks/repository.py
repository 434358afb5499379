"""A hook of mkdocs: links out of docs/ are right in the repository and on the site.

Documents link to files of the repository (`../benchmarks/results/bench.json`), as they must where it is read.
For the site these files are taken along, below `repository/`, and the links changed to them.
"""

import posixpath
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

log = get_plugin_logger("repository")

ALWAYS = ("CHANGELOG.md", "CONTRIBUTING.md", "THIRD_PARTY_LICENCES.md")
"""What the navigation names, whether or not a document links to it."""
BELOW = "repository"
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^()\s#]+)(#[^()\s]*)?(?=\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Take along every file of the repository that a document links to, directly or through another one."""
    root, docs = _root(config), Path(config.docs_dir).name
    waiting = [
        target
        for file in files.documentation_pages()
        for target in linked(f"{docs}/{file.src_uri}", file.content_string)
    ]
    waiting += ALWAYS
    taken: set[str] = set()
    while waiting:
        target = waiting.pop()
        if target in taken or target.startswith(f"{docs}/"):
            continue
        taken.add(target)
        source = root / target
        if not source.is_file():
            log.warning("a document links to %s, which is no file of the repository", target)
            continue
        files.append(File.generated(config, published(target, docs), abs_src_path=str(source)))
        if source.suffix == ".md":
            waiting += linked(target, source.read_text(encoding="utf-8"))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Change the links of a page to where their targets lie on the site."""
    docs, here = Path(config.docs_dir).name, page.file.src_uri
    prefix = f"{BELOW}/"
    origin = here.removeprefix(prefix) if here.startswith(prefix) else f"{docs}/{here}"
    return moved(markdown, origin, docs)


def linked(origin: str, markdown: str) -> list[str]:
    """Return the files that the document `origin` links to; both as paths from the root of the repository."""
    return [_target(origin, match[1]) for match in _LINK.finditer(markdown)]


def moved(markdown: str, origin: str, docs: str) -> str:
    """Return the text of `origin`, a path in the repository, with its links as they must be on the site."""
    folder = posixpath.dirname(published(origin, docs))

    def link(match: re.Match[str]) -> str:
        target = posixpath.relpath(published(_target(origin, match[1]), docs), folder or ".")
        return target + (match[2] or "")

    return _LINK.sub(link, markdown)


def published(path: str, docs: str) -> str:
    """Return where a file lies on the site: documents at the top, others below `repository/`."""
    if path.startswith(f"{docs}/"):
        return path.removeprefix(f"{docs}/")
    # a browser shows a licence without a suffix only as text
    return f"{BELOW}/{path}" + ("" if PurePosixPath(path).suffix else ".txt")


def _target(origin: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(origin), link))


def _root(config: MkDocsConfig) -> Path:
    return Path(config.config_file_path).parent
