"""Damage the streams of every native decoder of DICOM films, and count who dies.

    python benchmarks/fuzz_decoders.py [--count 5000] [--seed 0]

For each codec, `count` copies of a valid film have 1 to 8 of the first 512 bytes of their code stream changed, and
are read by `read_film` in one child process. The child must read or refuse each; its death is what must not happen.
Deaths of its helper process are the decoders' own, and show what the helper is for.
"""

import argparse
import json
import platform
import random
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests/radiograph/formats"))
FIRST = 512


def read_all() -> None:
    """Be the child: a path a line on stdin, an answer a line on stdout."""
    from adaloraqat.errors import FilmError
    from adaloraqat.radiograph import read_film
    from adaloraqat.radiograph.formats.helper import HELPER

    for line in sys.stdin:
        try:
            read_film(line.strip())
            answer = "read"
        except FilmError:
            answer = "refused"
        print(answer, HELPER.starts, flush=True)


def films() -> dict[str, tuple[bytes, int]]:
    """Return, by codec, a valid DICOM film, and where its code stream begins."""
    from fuzz_seeds import DEEP, FILM, dicom, jpeg2000, jpeg_lossless, picture
    from PIL import Image
    from pydicom.uid import HTJ2KLossless, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless

    found = {
        "gdcm, lossless JPEG": jpeg_lossless(),
        "OpenJPEG, JPEG 2000": dicom(DEEP, JPEG2000Lossless, jpeg2000()),
        "OpenJPEG, HTJ2K": dicom(DEEP, HTJ2KLossless, jpeg2000()),
        "CharLS, JPEG-LS": dicom(DEEP, JPEGLSLossless),
        "libjpeg-turbo, JPEG": dicom(FILM, JPEGBaseline8Bit, picture(Image.fromarray(FILM), "JPEG")),
    }
    starts = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51")
    return {name: (content, max(content.rfind(start) for start in starts)) for name, content in found.items()}


def attack(content: bytes, start: int, count: int, draw: random.Random) -> dict[str, int | float]:
    """Read `count` damaged copies; return how they ended."""
    ended = {"read": 0, "refused": 0, "deaths": 0, "helper_starts": 0}
    child, begun = None, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "film.dcm")
        for _ in range(count):
            damaged = bytearray(content)
            for _ in range(draw.choice((1, 1, 2, 8))):
                damaged[min(len(damaged) - 1, start + draw.randrange(FIRST))] = draw.choice(
                    (draw.randrange(256), 0, 255, 127, 128)
                )
            path.write_bytes(damaged)
            if child is None:
                child = subprocess.Popen(
                    [sys.executable, __file__, "--child"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
                total = ended["helper_starts"]
            print(path, file=child.stdin, flush=True)
            answer = child.stdout.readline().split()
            if answer:
                ended[answer[0]] += 1
                ended["helper_starts"] = total + int(answer[1])
            else:
                ended["deaths"] += 1
                child = None
        if child is not None:
            child.communicate()
    return {**ended, "seconds": round(time.perf_counter() - begun, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        read_all()
        return
    draw = random.Random(options.seed)
    found = {name: attack(*film, options.count, draw) for name, film in films().items()}
    versions = {name: version(name) for name in ("python-gdcm", "pylibjpeg-openjpeg", "pyjpegls", "pillow")}
    about = {
        "count": options.count,
        "seed": options.seed,
        "machine": platform.machine(),
        "versions": versions,
    }
    document = {**about, "codecs": found}
    print(json.dumps(document, indent=1))
    if options.out:
        options.out.write_text(json.dumps(document, indent=1) + "\n")
    sys.exit(any(ended["deaths"] for ended in found.values()))


if __name__ == "__main__":
    main()
