"""A process that imports the command line once and then runs it, in forked children, as often as it is asked.

A job is one JSON line on stdin, its end one on stdout. The child of a job that names a moment replaces one
function by itself plus SIGKILL to the own process, so that the kill falls exactly there; nothing in the
package knows of it. Run by `test_resume.py`.

    {"arguments": ["train", ...], "log": "file", "kill": null or {
        "function": "module:attribute.path",    what is replaced
        "naming": "text",                       only calls with this text in an argument count
        "call": 3,                              which of them kills
        "when": "before" | "after" | "torn"}}   torn: after, with the end of the written file missing
"""

import gc
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import adaloraqat.training.train  # noqa: F401 - the slow import, once for all children
from adaloraqat.cli.main import main
from adaloraqat.training.run_folder import METRICS, RunFolder

TORN_BYTES = 40


def arm(function: str, naming: str, call: int, when: str) -> None:
    """Replace `function` in this process as the job asks."""
    module, _, path = function.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    setattr(owner, name, _deadly(getattr(owner, name), naming, call, when))


def _deadly(original: Callable[..., Any], naming: str, call: int, when: str) -> Callable[..., Any]:
    seen = 0

    def replacement(*arguments: Any, **named: Any) -> Any:
        nonlocal seen
        texts = [str(a) for a in arguments if isinstance(a, str | Path)]
        seen += not naming or any(naming in text for text in texts)
        now = seen == call
        if now and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **named)
        if now:
            if when == "torn":
                written = _written(arguments)
                os.truncate(written, written.stat().st_size - TORN_BYTES)
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return replacement


def _written(arguments: tuple[Any, ...]) -> Path:
    if isinstance(arguments[0], RunFolder):
        return arguments[0].folder / METRICS
    return next(argument for argument in arguments if isinstance(argument, Path))


def _child(job: dict[str, Any]) -> None:
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if job["kill"]:
        arm(**job["kill"])
    sys.argv = ["adaloraqat", *job["arguments"]]
    main()  # ends the process with its exit code


def serve() -> None:
    """Do the jobs of stdin one after the other."""
    torch.set_num_threads(1)
    gc.freeze()  # else every child's collector would touch, and so copy, all of this process's memory
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _child(job)
        _, status = os.waitpid(pid, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)


if __name__ == "__main__":
    serve()
