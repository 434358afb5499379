"""Send hostile requests to a server: none may be answered with 500, hang, or end the server.

    python benchmarks/hostile_bodies.py [--count 2000] [--seed 0]

Wrong lengths, damaged films of every kind that the server reads, bombs of PNG, npz and deflate, broken forms and
chunks, clients that drip or leave. Eight are open at once. Writes benchmarks/results/hostile_bodies.json.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from adaloraqat.files import write_json

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / place) for place in ("tests/serve", "tests/dicom_out", "tests/bundle")]
AT_ONCE = 8
CLIENT_S, DEADLINE_S, PATIENCE_S = 3, 60, 120


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/hostile_bodies.json")
    given = parser.parse_args()
    from machine import machine
    from served import FAST, Served

    options = ("--workers", 2, "--queue", 64, "--client-timeout", CLIENT_S, "--deadline", DEADLINE_S)
    with tempfile.TemporaryDirectory() as folder, Served("--model", FAST, *options) as server:
        begun = time.perf_counter()
        ended = attack(server, films(Path(folder)), range(given.seed, given.seed + given.count))
        seconds = time.perf_counter() - begun
        deaths = server.metric("adaloraqat_worker_deaths_total")
        ready = server.metric("adaloraqat_ready_workers")
        defects = server.log().count("defect")
        code = server.stop()
    by_kind = {kind: dict(sorted(counts.items())) for kind, counts in sorted(ended.items())}
    total = sum(ended.values(), Counter())
    document = {
        "machine": machine(),
        "count": given.count,
        "seed": given.seed,
        "seconds": round(seconds, 1),
        "answers": dict(sorted(total.items())),
        "by_kind": by_kind,
        "worker_deaths": deaths,
        "workers_ready_at_the_end": ready,
        "defects_logged": defects,
        "exit_code_after_sigterm": code,
    }
    write_json(given.out, document)
    print(document["answers"], f"deaths: {deaths:g}, defects: {defects}")
    bad = [name for name in total if name == "hung" or (name.startswith("5") and name != "503")]
    sys.exit(1 if bad or defects or code else 0)


def films(folder: Path) -> list[bytes]:
    """Return a valid film of each kind that is attacked."""
    import io

    from dicom_films import write_film
    from PIL import Image
    from served import phantom

    png = phantom(128)
    found = [png, write_film(folder / "film.dcm").read_bytes()]
    for kind in ("JPEG", "TIFF", "BMP", "WEBP"):
        stream = io.BytesIO()
        Image.open(io.BytesIO(png)).convert("L").save(stream, kind)
        found.append(stream.getvalue())
    return found


def attack(server, films: list[bytes], seeds: range) -> dict[str, Counter[str]]:
    """Send one request a seed; return, by kind, how many had which status, "closed" or "hung"."""
    from hostile import answer, drawn

    def send(seed: int) -> tuple[str, str]:
        hostile = drawn(seed, films)
        line = answer(server.port, hostile, PATIENCE_S)
        return hostile.kind, line.split()[1] if line.startswith("HTTP/1.1 ") else line

    ended: dict[str, Counter[str]] = {}
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for kind, line in threads.map(send, seeds):
            ended.setdefault(kind, Counter())[line] += 1
    return ended


if __name__ == "__main__":
    main()
