"""Measure a server at four times what it can do: it must go on doing that, and say so to the others.

    python benchmarks/server_load.py [--seconds 300] [--model lung-field-fast] [--workers 1]

Clients that wait for their answers measure its capacity; then requests come at four times that rate, whatever becomes
of the ones before. Goodput is the films a second that are answered meanwhile. A worker is killed half way. The clients
run on the same computer and take a share of its processors. Writes benchmarks/results/server_load.json.
"""

import argparse
import asyncio
import os
import signal
import sys
from importlib.metadata import version
from pathlib import Path

from adaloraqat.files import write_json

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests/serve")]
TIMES, DEADLINE_S, QUEUE, WARM_S, MEASURE_S = 4, 30, 16, 5, 30
MIB = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--model", default="lung-field-fast")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--size", type=int, default=1024, help="side of the phantom film, px")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/server_load.json")
    given = parser.parse_args()
    from load import Client, capacity, overload, told
    from machine import machine
    from served import Served, phantom

    film = phantom(given.size)
    options = ("--workers", given.workers, "--queue", QUEUE, "--deadline", DEADLINE_S)
    with Served("--model", given.model, *options) as server:
        client = Client(server.port, film)
        clients = given.workers + 2
        asyncio.run(capacity(client, clients, WARM_S))
        load = os.getloadavg()[0]
        before = asyncio.run(capacity(client, clients, min(MEASURE_S, given.seconds)))
        memory: list[int] = []

        async def watch() -> None:
            """Note the memory ten times, and kill a worker half way."""
            for turn in range(10):
                await asyncio.sleep(given.seconds / 11)
                if turn == 5:
                    os.kill(server.workers()[0], signal.SIGKILL)
                elif turn != 6:  # when the new one loads its models
                    memory.append(server.memory() // MIB)

        answers, goodput = asyncio.run(overload(client, TIMES * before, given.seconds, watch))
        after = asyncio.run(capacity(client, clients, min(MEASURE_S, given.seconds)))
        deaths = server.metric("adaloraqat_worker_deaths_total")
        code = server.stop()
    document = {
        "machine": machine(),
        "uvicorn": version("uvicorn"),
        "starlette": version("starlette"),
        "load_average_before": round(load, 1),
        "model": given.model,
        "workers": given.workers,
        "queue": QUEUE,
        "deadline_s": DEADLINE_S,
        "film_bytes": len(film),
        "film_px": given.size,
        "capacity_a_second": round(before, 2),
        "capacity_after_a_second": round(after, 2),
        "asked_a_second": round(TIMES * before, 2),
        "seconds": given.seconds,
        "goodput_a_second": round(goodput, 2),
        "goodput_of_capacity": round(goodput / before, 3),
        **told(answers),
        "memory_mib": memory,
        "workers_killed": 1,
        "worker_deaths": deaths,
        "exit_code_after_sigterm": code,
    }
    write_json(given.out, document)
    for name in (
        "capacity_a_second",
        "goodput_a_second",
        "goodput_of_capacity",
        "by_status",
        "slowest_answer_s",
    ):
        print(f"{name}: {document[name]}")


if __name__ == "__main__":
    main()
