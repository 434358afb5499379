"""Read one file after the other, as a process that may crash, hang or run out of memory without harm.

One line of JSON on stdin, a path, gives one on stdout: {"shape", "finite", "inside"} of a film that was read,
{"refused": sentence} of one that was not, {"defect": traceback} of anything else. Run by `test_fuzz.py`.
"""

import json
import resource
import sys
import traceback

import numpy as np

import adaloraqat.radiograph.formats.dicom_values  # noqa: F401 - before memory is limited
from adaloraqat.errors import FilmError
from adaloraqat.radiograph import read_film

MEMORY = 3 << 30  # bytes of address space: the largest film that is accepted fits, a bomb does not


def answer(path: str) -> dict[str, object]:
    try:
        film = read_film(path)
    except FilmError as error:
        return {"refused": str(error)}
    except BaseException:
        return {"defect": traceback.format_exc()}
    pixels = film.pixels
    return {
        "shape": pixels.shape,
        "finite": bool(np.isfinite(pixels).all()) and pixels.dtype == np.float32,
        "inside": bool(pixels.min() >= 0 and pixels.max() <= 1),
    }


def peak_kilobytes() -> int:
    """Return the most memory that this program has held; Linux's ru_maxrss counts its parent's, too."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def serve() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for line in sys.stdin:
        result = answer(json.loads(line))
        result["peak_mb"] = peak_kilobytes() >> 10
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    serve()
