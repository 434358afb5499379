"""How the server starts and stops, and what a worker's end costs."""

import os
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from served import FAST, Served, blank, noise, until
from typer.testing import CliRunner

from adaloraqat.cli.main import app

PATIENT = ("--deadline", 600, "--client-timeout", 200)
"""For a server whose answers are waited for, however busy the computer is."""


def refused(*options: object, environment: dict[str, str] | None = None) -> tuple[int, str]:
    ended = CliRunner().invoke(app, ["serve", *map(str, options)], env=environment, catch_exceptions=False)
    return ended.exit_code, ended.stderr


def test_refusals(bundle: Path, tmp_path: Path) -> None:
    """Each a sentence, with exit code 2 and no traceback, before any model runs."""
    (tmp_path / "short").write_text("guess-me\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = [
            refused("--model", bundle, "--port", port),
            refused("--model", bundle, "--host", "0.0.0.0"),
            refused("--model", bundle, "--host", "::", "--token-file", tmp_path / "short"),
            refused("--model", bundle, "--token-file", tmp_path / "none"),
            refused("--model", bundle, "--host", "192.0.2.1", environment={"ADALORAQAT_TOKEN": "x" * 20}),
            refused("--model", "no-such"),
        ]
    sentences = ("is in use", "a token is needed", "16 plain", "cannot be read", "not an address", "no model")
    for (code, said), sentence in zip(found, sentences, strict=True):
        assert (code, said.count("\n"), sentence in said) == (2, 1, True), said


def test_a_stop_answers_what_is_in_work(bundle: Path) -> None:
    film = noise(1500)
    options = ("--model", bundle, "--workers", 1, "--drain", 200, *PATIENT)
    with Served(*options) as server, ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(server.post, "/segment", film) for _ in range(4)]
        until(lambda: server.metric("adaloraqat_waiting_films") >= 2)
        workers = server.workers()
        os.kill(server.process.pid, signal.SIGTERM)
        os.kill(workers[0], signal.SIGTERM)  # as systemd and a terminal do it: all of the group
        assert [one.result().status_code for one in asked] == [200] * 4
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", server.port))
        assert server.stop() == 0
        assert "Traceback" not in server.log()
        for pid in workers:
            until(lambda pid=pid: not Path(f"/proc/{pid}").exists())


def test_ctrl_c(bundle: Path) -> None:
    with Served("--model", bundle, "--workers", 1) as server:
        assert server.stop(signal.SIGINT) == 130
        assert "Traceback" not in server.log()


def test_a_killed_worker_costs_nobody_an_answer(bundle: Path) -> None:
    """Films in its queue and the film that it had are answered; it is replaced."""
    film = noise(1500)
    options = ("--model", bundle, "--workers", 2, *PATIENT)
    with Served(*options) as server, ThreadPoolExecutor(6) as threads:
        asked = [threads.submit(server.post, "/segment", film + bytes([n])) for n in range(6)]
        until(lambda: server.metric("adaloraqat_films_in_work") == 2)
        os.kill(server.workers()[0], signal.SIGKILL)
        assert [one.result().status_code for one in asked] == [200] * 6
        assert server.metric("adaloraqat_worker_deaths_total") == 1
        until(lambda: server.metric("adaloraqat_ready_workers") == 2)
        assert not [line for line in server.log().splitlines() if "Traceback" in line]


def test_a_film_that_killed_two_workers(bundle: Path, film: bytes) -> None:
    """Killed by hand, while they have the film: 422, and not tried when it comes again."""
    deadly = blank(6000)  # takes long enough to be met in work
    with Served("--model", bundle, "--workers", 1, *PATIENT) as server:
        done = threading.Event()

        def kill_twice() -> None:
            for count in range(2):
                until(lambda: server.metric("adaloraqat_films_in_work") == 1)
                os.kill(server.workers()[0], signal.SIGKILL)
                until(lambda count=count: server.metric("adaloraqat_worker_deaths_total") == count + 1)
            done.set()

        threading.Thread(target=kill_twice).start()
        refused = server.post("/segment", deadly)
        assert refused.status_code == 422
        assert "crashed 2 times" in refused.json()["detail"]
        assert done.wait(60)
        again = server.post("/segment", deadly)
        assert again.status_code == 422
        assert server.metric("adaloraqat_worker_deaths_total") == 2
        assert server.post("/segment", film).status_code == 200


def test_full_queue_and_deadline() -> None:
    """Busy is 503 with Retry-After, at once; a deadline that passes too; health goes on being told."""
    film = noise(1000)
    options = ("--model", FAST, "--workers", 1, "--queue", 2, *PATIENT)
    with Served(*options) as server, ThreadPoolExecutor(10) as threads:
        asked = [threads.submit(server.post, "/segment", film) for _ in range(10)]
        assert server.client.get("/healthz").status_code == 200
        answers = [one.result() for one in asked]
        busy = [answer for answer in answers if answer.status_code == 503]
        assert {answer.status_code for answer in answers} == {200, 503}
        assert 3 <= 10 - len(busy) <= 6
        assert all(1 <= int(answer.headers["Retry-After"]) <= 60 for answer in busy)
        assert all("try again" in answer.json()["detail"] for answer in busy)
    with Served("--model", FAST, "--workers", 1, "--deadline", 0.1) as server:
        late = server.post("/segment", noise(3000))
        assert (late.status_code, late.headers["Retry-After"]) == (503, "1")
        assert "within 0.1 seconds" in late.json()["detail"]


def test_a_client_that_leaves_gives_its_place_back(bundle: Path, film: bytes) -> None:
    with Served("--model", bundle, "--workers", 1, "--queue", 1, *PATIENT) as server:
        with ThreadPoolExecutor(1) as threads:
            first = threads.submit(server.post, "/segment", blank(6000))
            until(lambda: server.metric("adaloraqat_films_in_work") == 1)
            with socket.create_connection(("127.0.0.1", server.port)) as leaves:
                head = f"POST /segment HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(film)}\r\n\r\n"
                leaves.sendall(head.encode() + film)
                until(lambda: server.metric("adaloraqat_waiting_films") == 1)
            until(lambda: server.post("/segment", film).status_code == 200)
            assert first.result().status_code == 200
        assert "POST /segment 499" in server.log()
