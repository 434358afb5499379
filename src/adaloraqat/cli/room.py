"""Whether a folder takes any more results."""

import os
import tempfile
from pathlib import Path

_ROOM = 1 << 20  # bytes: far more than the mask of a film takes


def takes_more(folder: Path) -> bool:
    """Try whether a further file can be written into a folder of results; nothing of it stays.

    One result that cannot be written says little: its name may be too long, or taken by a folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(_ROOM))
            probe.flush()
            os.fsync(probe.fileno())  # some file systems find room only now
    except OSError:
        return False
    return True
