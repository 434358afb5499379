"""`adaloraqat serve`: the models over HTTP."""

import logging
import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaloraqat.bundle import DEFAULT_MODEL
from adaloraqat.bundle.shipped import choose_model
from adaloraqat.cli import dicom as dicom_options
from adaloraqat.cli.console import INTERRUPTED, print_line
from adaloraqat.cli.options import MOST_THREADS, Engine, EngineName, complete_model, named
from adaloraqat.errors import AdaloraqatError

if TYPE_CHECKING:
    from adaloraqat.serve.background import Archive

log = logging.getLogger("adaloraqat")


def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of an installed model, or path of a bundle (repeatable; the first is the default).",
            show_default=DEFAULT_MODEL,
            autocompletion=complete_model,
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any that other computers can reach needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File with the token that clients must send (or set ADALORAQAT_TOKEN).",
            parser=named,
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Another host name that clients may use for this server (repeatable)."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_THREADS,
            metavar="N",
            help="Processes that read and segment films.",
            show_default="one per processor",
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option(min=1, max=MOST_THREADS, metavar="N", help="CPU threads of each worker.")
    ] = 1,
    queue: Annotated[
        int, typer.Option(min=1, max=10_000, metavar="N", help="Films that may wait for a worker.")
    ] = 16,
    deadline: Annotated[
        float, typer.Option(min=0.1, max=3600, metavar="S", help="Time limit for a film, in seconds.")
    ] = 30.0,
    client_timeout: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=3600,
            metavar="S",
            help="Time limit for a client to send header and body, in seconds.",
        ),
    ] = 20.0,
    max_mb: Annotated[
        float, typer.Option(min=0.01, max=2000, metavar="MB", help="Largest request body accepted, in MiB.")
    ] = 64.0,
    max_megapixels: Annotated[
        float,
        typer.Option(min=0.01, max=100, metavar="MP", help="Largest film accepted, in megapixels."),
    ] = 40.0,
    drain: Annotated[
        float,
        typer.Option(
            min=0,
            max=3600,
            metavar="S",
            help="Time to finish films in progress after SIGTERM or Ctrl-C, in seconds.",
        ),
    ] = 30.0,
    engine: Engine = EngineName.onnxruntime,
    jobs_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Accept jobs of many films; they are kept here until done.",
            show_default="no jobs",
            parser=named,
        ),
    ] = None,
    dicom_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port for films from a PACS (needs --jobs-dir and --stow-url)."),
    ] = None,
    dicom_host: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Address on which the PACS reaches this computer.",
            show_default="127.0.0.1",
        ),
    ] = None,
    dicom_aet: Annotated[str, typer.Option(metavar="TITLE", help="This node's AE title.")] = "ADALORAQAT",
    dicom_from: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TITLE", help="AE title allowed to send films (repeatable); required with --dicom-host."
        ),
    ] = None,
    dicom: Annotated[
        str,
        typer.Option(metavar="KINDS", help="Objects to send to the archive for each film: any of seg,sr,pr."),
    ] = "seg",
    stow_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="DICOMweb address of the archive that receives the results."),
    ] = None,
    stow_token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File with the archive's bearer token.", parser=named),
    ] = None,
) -> None:
    """Serve models over HTTP. Only this computer can connect, unless --host and a token are given.

    POST a film to /segment: the answer is JSON, a mask, an overlay or a DICOM segmentation, as Accept asks.
    Nothing of a film is kept or logged. See docs/server.md.

    With --jobs-dir, POST many films to /jobs; with --dicom-port and --stow-url, a PACS sends films and an
    archive gets the results. See docs/pacs.md.
    """
    from adaloraqat.serve.app import create_app
    from adaloraqat.serve.pool import WorkerPool
    from adaloraqat.serve.server import bind
    from adaloraqat.serve.server import serve as run
    from adaloraqat.serve.settings import ServerSettings, read_token

    settings = ServerSettings(
        host=host,
        port=port,
        token=read_token(token_file),
        allowed_hosts=tuple(name.lower() for name in allow_host or ()),
        max_bytes=round(max_mb * (1 << 20)),
        deadline_s=deadline,
        client_s=client_timeout,
        drain_s=drain,
    )
    settings.check()
    archive = None
    if dicom_port is not None:
        if jobs_dir is None or stow_url is None:
            raise AdaloraqatError(
                "--dicom-port needs --jobs-dir (where films wait) and --stow-url (the archive for the "
                "results): give both."
            )
        archive = _archive(
            dicom_port, dicom_host, dicom_aet, dicom_from or (), dicom, stow_url, stow_token_file
        )
    elif stow_url or stow_token_file or dicom_host or dicom_from:
        raise AdaloraqatError(
            "--dicom-host, --dicom-from, --stow-url and --stow-token-file need --dicom-port: give it, or "
            "leave them out."
        )
    chosen = [choose_model(name) for name in model or (None,)]
    notices = [notice for one in chosen for notice in one.notices]
    for notice in notices:
        log.warning("%s", notice)
    pool = WorkerPool(
        [one.name for one in chosen],
        workers or _processors(),
        threads,
        queue,
        engine.value,
        round(max_megapixels * 1e6),
    )
    background = jobs = None
    if jobs_dir is not None:
        from adaloraqat.serve.background import Background
        from adaloraqat.serve.jobs import Jobs

        background = Background(jobs_dir, pool, archive)
        jobs = Jobs(background, pool, settings, engine.value, notices)
    app = create_app(pool, settings, engine.value, notices, jobs.extension() if jobs else None)
    with (
        bind(host, port) as listening,
        background.running(drain) if background else nullcontext(),
    ):
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listening.getsockname()[1]}"
        names = ", ".join(pool.bundles)
        interrupted = run(
            listening,
            app,
            pool,
            settings,
            lambda: print_line(f"{names} at {url} (Ctrl-C stops it)"),
            jobs.stop if jobs else lambda: None,
        )
    log.info("All accepted films are answered%s.", ", or wait in the jobs folder" if jobs else "")
    if interrupted:
        raise typer.Exit(INTERRUPTED)


def _archive(
    port: int,
    host: str | None,
    title: str,
    callers: Sequence[str],
    kinds: str,
    url: str,
    token_file: Path | None,
) -> "Archive":
    """Return the way from and to an archive that the options describe.

    Raises:
        AdaloraqatError: an option is wrong.
        ModuleNotFoundError: an extra is not installed.
    """
    from adaloraqat.serve.background import Archive
    from adaloraqat.serve.dicom_node import NodeOptions

    node = NodeOptions(port, title, host, tuple(callers))
    return Archive(node, url, token_file, dicom_options.asked(kinds, False))


def _processors() -> int:
    """Return how many processors this process may use, which may be fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
