"""A hook of mkdocs: the page of commands is written from the commands, so that it is never behind them."""

import html
import re
from collections.abc import Iterator
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page
from typer.main import get_command

from adaloraqat.cli.main import COMMANDS, app

PAGE = "reference/commands.md"
MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the commands in place of the mark."""
    return markdown.replace(MARK, commands()) if page.file.src_uri == PAGE else markdown


def commands() -> str:
    """Return all commands with their arguments and options, as Markdown."""
    group = get_command(app)
    with group.make_context("adaloraqat", [], resilient_parsing=True) as top:
        return "\n".join(line for name in COMMANDS for line in _of(group, top, name))


def _of(group: Any, above: Any, name: str) -> Iterator[str]:
    _, command, _ = group.resolve_command(above, [name])
    path = f"{above.command_path} {name}"
    within = getattr(command, "commands", {})
    with command.make_context(name, [], parent=above, resilient_parsing=True) as context:
        level = "##" if above.parent is None else "###"
        usage = " ".join(command.collect_usage_pieces(context))
        yield from (f"{level} {path}", "", _plain(command.help or ""), "", f"```\n{path} {usage}\n```", "")
        records = [record for one in command.params if (record := one.get_help_record(context))]
        if records and not within:
            yield from ("| argument or option | |", "|---|---|")
            yield from (f"| <code>{_cell(names)}</code> | {_cell(told)} |" for names, told in records)
            yield ""
        for one in within:
            yield from _of(command, context, one)


def _cell(text: str) -> str:
    return _plain(re.sub(r"\s+", " ", text).strip()).replace("|", "&#124;")


def _plain(text: str) -> str:
    """Text that Markdown shows as it stands; a bracket may open a link or a tag there."""
    return re.sub(r"([\[*_`\\])", r"\\\1", html.escape(text.replace("\b", "").replace("\f", ""), quote=False))
