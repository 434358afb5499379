"""Where a process of `adaloraqat` begins: nothing is imported before Ctrl-C has its answer."""

import os
import sys

_INTERRUPTED = 130


def main() -> None:
    """Run the command line; the process ends with one of the exit codes that `cli.main` lists."""
    # looking for pydantic's plug-ins, of which none is wanted here, takes longer than checking all options
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        from adaloraqat.cli.main import main as run

        run()
    except KeyboardInterrupt:  # while it was still importing, or once more while it was stopping
        print("Stopped by Ctrl-C.", file=sys.stderr, flush=True)
        os._exit(_INTERRUPTED)  # an ordinary exit would go on to clean up, where a further Ctrl-C could hit


if __name__ == "__main__":
    main()
