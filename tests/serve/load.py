"""Clients of a server: as many as it can serve, and far more."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import mean


@dataclass(frozen=True)
class Answer:
    """One request's end: its status (0: no answer), how long it took, when it came (monotonic clock)."""

    status: int
    seconds: float
    at: float
    retry_after: bool = False


class Client:
    """Posts one film again and again, on new connections; light, because it shares the processors."""

    def __init__(self, port: int, film: bytes, path: str = "/segment") -> None:
        self._port = port
        head = (
            f"POST {path} HTTP/1.1",
            "Host: localhost",
            "Connection: close",
            f"Content-Length: {len(film)}",
        )
        self._message = "\r\n".join([*head, "", ""]).encode() + film

    async def post(self) -> Answer:
        begun = time.monotonic()
        head = b""
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                writer.write(self._message)
                head = await reader.read(1 << 16)
                while await reader.read(1 << 16):
                    pass
            finally:
                writer.close()
        status = int(head[9:12]) if head.startswith(b"HTTP/1.1 ") else 0
        now = time.monotonic()
        return Answer(status, now - begun, now, b"retry-after:" in head.lower())


async def capacity(client: Client, clients: int, seconds: float, films: int = 10) -> float:
    """Return the films a second that `clients` get answered, each of whom asks when it has its answer.

    It is measured for `seconds`, and until so many films are answered.
    """
    end = time.monotonic() + seconds
    times: list[float] = []

    async def ask_on() -> None:
        while time.monotonic() < end or len(times) <= films:
            answer = await client.post()
            assert answer.status == 200, answer
            times.append(answer.at)

    await asyncio.gather(*(ask_on() for _ in range(clients)))
    times = sorted(times)[: -(clients - 1) or None]  # those at the end shared the server with fewer
    return (len(times) - 1) / (times[-1] - times[0])


async def overload(
    client: Client, rate: float, seconds: float, also: Callable[[], Awaitable[None]] | None = None
) -> tuple[list[Answer], float]:
    """Ask at a rate that does not heed the answers, `also` awaited beside.

    Returns:
        What became of each request; and the films a second that were answered while it went on.
    """
    begun = time.monotonic()
    asked: list[asyncio.Task[Answer]] = []
    beside = asyncio.create_task(also()) if also else None
    while (now := time.monotonic() - begun) < seconds:
        while len(asked) < rate * now:
            asked.append(asyncio.create_task(client.post()))
        await asyncio.sleep(0.005)
    answers = await asyncio.gather(*asked)
    if beside:
        await beside
    good = [answer for answer in answers if answer.status == 200 and answer.at <= begun + seconds]
    return answers, len(good) / seconds


def told(answers: list[Answer]) -> dict[str, object]:
    """Return the numbers of an overload."""
    good = [answer.seconds for answer in answers if answer.status == 200]
    busy = [answer.seconds for answer in answers if answer.status == 503]
    counts: dict[str, int] = {}
    for answer in answers:
        counts[str(answer.status)] = counts.get(str(answer.status), 0) + 1
    return {
        "requests": len(answers),
        "by_status": counts,
        "slowest_answer_s": round(max(good), 2) if good else None,
        "mean_answer_s": round(mean(good), 2) if good else None,
        "mean_busy_s": round(mean(busy), 3) if busy else None,
    }
