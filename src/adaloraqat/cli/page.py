"""`adaloraqat page`: the page that outlines films in a browser, for this computer only."""

import logging
import webbrowser
from typing import Annotated

import typer

from adaloraqat.cli.console import INTERRUPTED, print_line
from adaloraqat.cli.options import complete_model
from adaloraqat.page import PageServer, open_site

log = logging.getLogger("adaloraqat")

PORT = 8471


def page(
    model: Annotated[
        str | None,
        typer.Option(
            help="Model to start with: a name (see `info`), or path of a bundle.",
            show_default="the fastest installed",
            autocompletion=complete_model,
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="Port to listen on; 0 takes any free one.")
    ] = PORT,
    show: Annotated[bool, typer.Option("--open", help="Also open the page in the default browser.")] = False,
) -> None:
    """Outline films in the browser.

    Prints the page's address and serves it, to this computer only, until Ctrl-C. Films are read and outlined
    inside the browser and never sent anywhere.
    """
    with PageServer(open_site(model), port) as server:
        print_line(server.url)
        log.info("Films stay in the browser. Research only, not a medical device. Ctrl-C stops it.")
        if show and not webbrowser.open(server.url):
            log.warning("No browser could be started: open %s yourself.", server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt as error:
            log.info("The page is closed.")
            raise typer.Exit(INTERRUPTED) from error
