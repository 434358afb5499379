"""Jobs over HTTP, against the real server, which is killed in between."""

import asyncio
import errno
import io
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import numpy as np
import pytest
from archive import free_port, kill_group
from dicom_films import write_film
from PIL import Image
from tiny_bundle import two_lungs, write_tiny_bundle

from adaloraqat.serve.background import Background
from adaloraqat.serve.job import Limits, Result, Wish
from adaloraqat.serve.jobs import Jobs
from adaloraqat.serve.runner import Runner
from adaloraqat.serve.settings import ServerSettings

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills groups of processes")

ARCHIVE = ["--jobs-dir", "J", "--dicom-port", "0", "--stow-url"]
OVERLAY = "image/vnd.adaloraqat.overlay+png"


class Server:
    """`adaloraqat serve --jobs-dir` on one port and one folder, also after it was killed."""

    def __init__(self, bundle: Path, folder: Path, *options: object) -> None:
        self.port = free_port()
        self.jobs_dir = folder / "jobs"
        self.log = folder / "log"
        command = [sys.executable, "-m", "adaloraqat", "serve", "--model", bundle, "--port", self.port]
        self.command = list(map(str, [*command, "--jobs-dir", self.jobs_dir, *(options or ("--workers", 2))]))
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=120)
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                self.command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )
        assert self.process.stdout is not None
        assert "http://" in self.process.stdout.readline(), self.log.read_text()
        self.process.stdout.close()

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            kill_group(self.process)

    def close(self) -> None:
        self.kill()
        self.client.close()

    def end(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def post(self, films: list[tuple[str, bytes]], **fields: str) -> httpx.Response:
        return self.client.post("/jobs", files=[("film", film) for film in films], data=fields)

    def events(self, job: str, last: int = 0) -> Iterator[tuple[str, str | None, Any]]:
        """The kind, the number and the document of each event, as they come."""
        headers = {"Last-Event-ID": str(last)} if last else {}
        with self.client.stream("GET", f"/jobs/{job}/events", headers=headers) as answer:
            assert answer.status_code in (200, 204)
            fields: dict[str, str] = {}
            for line in answer.iter_lines():
                if line and not line.startswith(":"):
                    key, _, value = line.partition(": ")
                    fields[key] = value
                elif fields:
                    yield fields["event"], fields.get("id"), json.loads(fields["data"])
                    fields = {}

    def rows(self, question: str) -> list[Any]:
        connection = sqlite3.connect(self.jobs_dir / "jobs.sqlite3")
        try:
            return connection.execute(question).fetchall()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def running(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    one = Server(bundle, tmp_path_factory.mktemp("server"), "--max-mb", 1, "--workers", 1)
    one.start()
    yield one
    one.close()


def png(width: int, height: int = 90) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(two_lungs(width, height)).save(stream, "PNG")
    return stream.getvalue()


def films(count: int) -> list[tuple[str, bytes]]:
    return [(f"film{number}.png", png(80 + number)) for number in range(count)]


def test_results_come_one_by_one_and_events_resume(running: Server) -> None:
    sent = [*films(3), ("../Musterfrau.png", b"no film")]
    answer = running.post(sent, outputs="mask,overlay")
    assert answer.status_code == 202
    job = answer.json()["job"]
    assert answer.headers["Location"] == f"/jobs/{job}"
    *results, (kind, _, end) = running.events(job)
    assert (kind, end) == ("end", {"job": job, "deleted": False})
    told = {document["number"]: document for _, _, document in results}
    assert sorted(told) == [0, 1, 2, 3]
    assert [told[number]["failed"] for number in range(4)] == [False, False, False, True]
    assert [told[number]["entry"]["path"] for number in range(3)] == [name for name, _ in sent[:3]]
    later = [number for _, number, _ in running.events(job, int(results[1][1] or 0))]
    assert later == [number for _, number, _ in results[2:]] + [None]
    last = running.client.get(f"/jobs/{job}/events", headers={"Last-Event-ID": str(results[-1][1])})
    assert last.status_code == 204
    state = running.client.get(f"/jobs/{job}").json()
    assert (state["state"], state["done"], state["failed"]) == ("finished", 3, 1)
    assert "Musterfrau" not in running.log.read_text()


def test_no_result_is_lost_between_two_looks(jobs_dir: Path) -> None:
    """The last result is recorded in the moment after the results were read."""
    background = Background(jobs_dir, cast(Any, None), limits=Limits(free_bytes=0))
    store = background.store
    job = store.add([("film.png", io.BytesIO(b"film"))], Wish())
    read = store.results

    def results(*asked: Any) -> list[Result]:
        found = read(*asked)
        film = store.take()
        if film is not None:
            store.record(film, {"path": film.name}, {})
        return found

    store.results = results  # type: ignore[method-assign]
    jobs = Jobs(background, cast(Any, SimpleNamespace(bundles={})), ServerSettings(), "onnxruntime")

    async def events() -> list[str]:
        return [text async for text in jobs._stream(job, 0)]

    kinds = [text.partition("data:")[0].splitlines()[-1] for text in asyncio.run(events())]
    assert kinds == ["event: result", "event: end"]


def test_a_film_that_cannot_be_read_for_now_keeps_its_turn(jobs_dir: Path) -> None:
    """Too many files are open: the film was not removed."""
    background = Background(jobs_dir, cast(Any, None), limits=Limits(free_bytes=0))
    store = background.store
    job = store.add([("a.png", io.BytesIO(b"film"))], Wish())
    pool = SimpleNamespace(workers=1, check_room=lambda deadline: None)
    runner = Runner(store, cast(Any, pool))

    def data(film: object) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files")

    store.data = data  # type: ignore[method-assign,assignment]
    with pytest.raises(OSError, match="Too many"):
        runner._fill()
    assert store.results(job) == []
    taken = store.take()
    assert taken is not None
    assert taken.tries == 0
    store.give_back(taken)

    def damaged(film: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    store.data = damaged  # type: ignore[method-assign,assignment]
    runner._fill()
    [result] = store.results(job)
    assert result.failed
    assert "Input/output error" in result.entry["error"]


def test_a_restart_with_another_model(bundle: Path, tmp_path: Path) -> None:
    """Results keep the name of the model that made them, and say where it is gone; a HEAD fetches nothing."""
    one = Server(bundle, tmp_path, "--workers", 1)
    one.start()
    try:
        job = one.post(films(1), outputs="mask").json()["job"]
        list(one.events(job))
        place = f"/jobs/{job}/results/0"
        assert one.client.get(place).json()["model"] == "tiny"
        assert one.client.head(place, headers={"Accept": "image/png"}).status_code == 200
        assert one.rows("SELECT count(*) FROM outputs WHERE fetched IS NOT NULL") == [(0,)]
        assert one.end() == 0
        write_tiny_bundle(tmp_path / "other", weights=1, name="other")
        one.command[one.command.index(str(bundle))] = str(tmp_path / "other")
        one.start()
        answer = one.client.get(place)
        assert answer.status_code == 410
        assert "model tiny of this job" in answer.json()["detail"]
        assert one.client.get(place, headers={"Accept": "image/png"}).status_code == 200
    finally:
        one.close()


def test_a_result_is_what_segment_answers(running: Server) -> None:
    name, content = "film.png", png(100)
    job = running.post([(name, content)], outputs="mask,overlay").json()["job"]
    list(running.events(job))
    place = f"/jobs/{job}/results/0"
    for accept in ("application/json", "image/png", OVERLAY):
        direct = running.client.post("/segment", files={"film": (name, content)}, headers={"Accept": accept})
        found = running.client.get(place, headers={"Accept": accept})
        assert (found.status_code, found.headers["Content-Type"]) == (200, direct.headers["Content-Type"])
        if accept == "application/json":
            assert found.json()["results"][0]["area_px"] == direct.json()["results"][0]["area_px"] > 0
            assert {**found.json(), "results": 0} == {**direct.json(), "results": 0}
        else:
            assert found.content == direct.content
            assert json.loads(found.headers["Adaloraqat-Result"])["area_px"] > 0
    seg = running.client.get(place, headers={"Accept": "application/dicom"})
    assert (seg.status_code, seg.headers["Content-Type"]) == (406, "application/problem+json")
    assert running.rows("SELECT kind FROM outputs WHERE fetched AND job = '" + job + "' ORDER BY kind") == [
        ("mask",),
        ("overlay",),
    ]


def test_a_dicom_films_segmentation(running: Server, tmp_path: Path) -> None:
    import pydicom

    film = write_film(tmp_path / "film.dcm")
    job = running.post([("film.dcm", film.read_bytes())], outputs="seg").json()["job"]
    list(running.events(job))
    found = running.client.get(f"/jobs/{job}/results/0", headers={"Accept": "application/dicom"})
    assert found.headers["Content-Type"] == "application/dicom"
    assert pydicom.dcmread(io.BytesIO(found.content)).Modality == "SEG"


def test_a_deleted_job_is_gone(running: Server) -> None:
    job = running.post(films(2)).json()["job"]
    assert running.client.delete(f"/jobs/{job}").status_code == 204
    for path in (f"/jobs/{job}", f"/jobs/{job}/events", f"/jobs/{job}/results/0"):
        assert running.client.get(path).status_code == 404
    assert running.client.delete(f"/jobs/{job}").status_code == 404
    time.sleep(0.5)
    assert list(running.jobs_dir.rglob(f"{job}*")) == []


@pytest.mark.parametrize(
    ("sent", "fields", "status", "sentence"),
    [
        ([], {}, 400, "cannot be parsed|no film"),
        ([("a.png", b"x")], {"outputs": "everything"}, 400, "no such output"),
        ([("a.png", b"x")], {"model": "unknown"}, 422, "choose one of tiny"),
        ([("a.png", b"x")], {"patient": "Musterfrau"}, 400, "unknown field"),
        ([("a.png", bytes(3 << 20))], {}, 413, "more than 1 MiB"),
        ([("a.png", b"x")] * 1001, {}, 400, "at most 1000 films"),
    ],
)
def test_what_is_refused(
    running: Server, sent: list[tuple[str, bytes]], fields: dict[str, str], status: int, sentence: str
) -> None:
    import re

    before = running.rows("SELECT count(*) FROM jobs")
    answer = running.post(sent, **fields)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert re.search(sentence, answer.json()["detail"])
    assert running.rows("SELECT count(*) FROM jobs") == before


def test_a_server_that_stops_ends_its_streams(bundle: Path, tmp_path: Path) -> None:
    """Streams of events would go on; films that are not done wait for the next start."""
    one = Server(bundle, tmp_path, "--workers", 1)
    one.start()
    try:
        big = np.random.default_rng(0).integers(0, 255, (1200, 1200), np.uint8)
        stream = io.BytesIO()
        Image.fromarray(big).save(stream, "PNG", compress_level=0)
        job = one.post([("a.png", stream.getvalue())] * 12).json()["job"]
        events = one.events(job)
        seen = [next(events)]
        assert one.end() == 0
        seen += list(events)
        waiting = one.rows("SELECT count(*) FROM films WHERE waiting")[0][0]
        assert 0 < waiting < 12
        assert one.rows("SELECT sum(tries) FROM films WHERE waiting") == [(0,)]  # no film is suspected
        one.start()
        seen += list(one.events(job, int(seen[-1][1])))
        assert sorted(document["number"] for kind, _, document in seen if kind == "result") == list(range(12))
    finally:
        one.close()


@pytest.mark.parametrize("kills", [2, pytest.param(30, marks=pytest.mark.slow)])
def test_each_accepted_film_ends_with_one_result(bundle: Path, tmp_path: Path, kills: int) -> None:
    """The whole group of processes is killed at random moments, while films come in and are in work."""
    one = Server(bundle, tmp_path)
    chance = random.Random(kills)
    accepted: list[str] = []
    ended = threading.Event()
    told: dict[str, list[tuple[int, int]]] = {}

    def send() -> None:
        while not ended.is_set():
            try:
                answer = one.post([*films(5), ("bad.png", b"no film")])
                accepted.append(answer.json()["job"])
            except (httpx.HTTPError, ValueError):
                time.sleep(0.05)
            time.sleep(0.1)

    def follow(job: str) -> None:
        """Collect a job's events, also over the server's ends."""
        seen = told[job] = []
        while not ended.is_set():
            try:
                for kind, number, document in one.events(job, seen[-1][0] if seen else 0):
                    if kind == "end":
                        return
                    seen.append((int(number or 0), document["number"]))
            except (httpx.HTTPError, AssertionError):
                time.sleep(0.05)

    one.start()
    threads = [threading.Thread(target=send, daemon=True)]
    threads[0].start()
    try:
        for _ in range(kills):
            time.sleep(chance.uniform(0.0, 2.0))
            one.kill()
            one.start()
            fresh = [job for job in accepted if job not in told]
            threads += [threading.Thread(target=follow, args=(job,), daemon=True) for job in fresh[:2]]
            for thread in threads:
                if thread.ident is None:
                    thread.start()
        ended.set()
        threads[0].join(120)
        end = time.monotonic() + 300
        while "\nadaloraqat_jobs_waiting_films 0.0\n" not in one.client.get("/metrics").text:
            assert time.monotonic() < end
            time.sleep(0.2)
        assert one.end() == 0
        assert len(accepted) > kills // 2
        count = Counter(one.rows("SELECT job, number FROM results"))
        for job in accepted:
            assert [count[job, number] for number in range(6)] == [1] * 6
        failed = one.rows("SELECT number, entry FROM results WHERE failed")
        assert {number for number, _ in failed} == {5}  # the bad one, and no good film is suspected
        assert all("ended" not in entry for _, entry in failed)
        for seen in told.values():
            assert len(seen) == len(set(seen)) == len({number for _, number in seen})  # nothing told twice
        assert os.listdir(one.jobs_dir / "films") == []
    finally:
        ended.set()
        for thread in threads:
            thread.join(10)
        one.close()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--dicom-port", "0"], "--dicom-port needs --jobs-dir"),
        (["--stow-url", "http://127.0.0.1"], "need --dicom-port"),
        ([*ARCHIVE, "ftp://x"], "--stow-url is not the address"),
        ([*ARCHIVE, "http://x", "--dicom", "ct"], "does not know 'ct'"),
        ([*ARCHIVE, "http://x", "--dicom-host", "0.0.0.0"], "name each sender's AE title"),
    ],
)
def test_options_that_do_not_fit(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], sentence: str
) -> None:
    from typer.testing import CliRunner

    from adaloraqat.cli.main import app

    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(app, ["serve", "--model", str(bundle), *options])
    assert (ended.exit_code, sentence in ended.stderr) == (2, True), ended.stderr
    assert ended.stderr.count("\n") == 1


def test_jobs_are_described_and_measured(running: Server) -> None:
    described = running.client.get("/openapi.json").json()["paths"]
    assert {path: sorted(methods) for path, methods in described.items() if path.startswith("/jobs")} == {
        "/jobs": ["post"],
        "/jobs/{job}": ["delete", "get"],
        "/jobs/{job}/events": ["get"],
        "/jobs/{job}/results/{number}": ["get"],
    }
    running.client.get(f"/jobs/{'0' * 32}")
    measures = running.client.get("/metrics").text
    assert 'adaloraqat_requests_total{route="/jobs/{job}",status="404"}' in measures
    assert "adaloraqat_jobs_waiting_films 0.0" in measures
