"""A DICOM node with its pool, jobs folder and archive, as a process of its own that tests may kill.

Arguments: bundle, jobs folder, port, archive's URL, kinds of objects. Says "ready" when it listens.
"""

import signal
import sys
import threading
from pathlib import Path

from adaloraqat.serve.background import Archive, Background
from adaloraqat.serve.dicom_node import NodeOptions
from adaloraqat.serve.job import Limits
from adaloraqat.serve.pool import WorkerPool


def main() -> None:
    bundle, folder, port, url, kinds = sys.argv[1:]
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    pool = WorkerPool([bundle], 2, 1, 16)
    archive = Archive(NodeOptions(int(port)), url, None, tuple(kinds.split(",")))
    background = Background(Path(folder), pool, archive, Limits(free_bytes=0))
    with background.running(10):
        print("ready", flush=True)  # films come in while the pool still loads its models
        pool.start()
        ended.wait()
    pool.close(0)


if __name__ == "__main__":
    main()
