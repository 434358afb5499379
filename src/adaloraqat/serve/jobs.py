"""Jobs over HTTP: many films in one call, taken when they are on the disk; results come one by one.

`POST /jobs`, `GET /jobs/ID`, `GET /jobs/ID/events`, `GET /jobs/ID/results/N`, `DELETE /jobs/ID`.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from adaloraqat.errors import AdaloraqatError
from adaloraqat.serve.accept import chosen
from adaloraqat.serve.app import MEDIA_TYPES, Extension, Films
from adaloraqat.serve.background import Background
from adaloraqat.serve.body import read_films
from adaloraqat.serve.film import JSON, MASK, OVERLAY, SEG, FilmAnswer, FilmRequest
from adaloraqat.serve.job import JobState, Result, Wish
from adaloraqat.serve.jobs_openapi import paths
from adaloraqat.serve.pool import WorkerPool
from adaloraqat.serve.problems import Problem
from adaloraqat.serve.settings import ServerSettings

_KINDS = (JSON, MASK, OVERLAY, SEG)
_HEARTBEAT_S = 15.0
_AT_ONCE = 100  # results that are read together


class Jobs:
    """The routes of jobs; `stop` ends the streams of events, which would go on."""

    def __init__(
        self,
        background: Background,
        pool: WorkerPool,
        settings: ServerSettings,
        engine: str,
        notices: Sequence[str] = (),
    ) -> None:
        self._background = background
        self._store = background.store
        self._pool = pool
        self._settings = settings
        self._films = Films(pool, settings, engine, notices)
        self._stopping = False
        self._streams: set[asyncio.Event] = set()

    def extension(self) -> Extension:
        """Return what an application needs to have jobs."""
        routes = [
            Route("/jobs", self.create, methods=["POST"]),
            Route("/jobs/{job}", self.state, methods=["GET"]),
            Route("/jobs/{job}", self.delete, methods=["DELETE"]),
            Route("/jobs/{job}/events", self.events, methods=["GET"]),
            Route("/jobs/{job}/results/{number:int}", self.result, methods=["GET"]),
        ]
        return Extension(routes, paths(list(self._pool.bundles)), [_Measures(self._background)])

    def stop(self) -> None:
        """Begin no more films, and end all streams; clients come again with the last event's number."""
        self._background.runner.take_no_more()
        self._stopping = True
        for changed in tuple(self._streams):
            changed.set()

    async def create(self, request: Request) -> Response:
        """Take films; 202 when they and their rows are on the disk."""
        folder = self._store.database.folder / "films"
        films, fields = await read_films(request, folder, self._settings.max_bytes, self._settings.client_s)
        try:
            wish = self._wish(fields)
            named = [(film.filename or "film", film.file) for film in films]
            job = await run_in_threadpool(self._store.add, named, wish)
        finally:
            for film in films:
                await film.close()
        state = await run_in_threadpool(self._known, job)
        return JSONResponse(_document(state), 202, {"Location": f"/jobs/{job}"})

    def _wish(self, fields: dict[str, list[str]]) -> Wish:
        if set(fields) - {"model", "outputs"}:
            raise Problem(400, "The form has an unknown field: use only model, outputs.")
        models = fields.get("model", [])
        if len(models) > 1:
            raise Problem(400, "model is given several times: give it once.")
        if models and models[0] not in self._pool.bundles:
            raise Problem(
                422, f"This model is not served here: choose one of {', '.join(self._pool.bundles)}."
            )
        outputs = [
            one.strip() for text in fields.get("outputs", []) for one in text.split(",") if one.strip()
        ]
        if set(outputs) - set(_KINDS):
            raise Problem(400, f"There is no such output: choose from {', '.join(_KINDS)}.")
        # by name, so that the answer names it after a restart with another default too
        model = models[0] if models else next(iter(self._pool.bundles))
        return Wish(model, frozenset({JSON, *(outputs or (MASK,))}))

    async def state(self, request: Request) -> Response:
        """Return a job's progress."""
        return JSONResponse(_document(await run_in_threadpool(self._known, request.path_params["job"])))

    async def delete(self, request: Request) -> Response:
        """Delete a job with all that belongs to it."""
        if not await run_in_threadpool(self._store.delete, request.path_params["job"]):
            raise _unknown()
        return Response(status_code=204)

    async def events(self, request: Request) -> Response:
        """Send each result as it comes; a client that comes again names the last one that it has seen."""
        job = request.path_params["job"]
        last = request.headers.get("Last-Event-ID", "0")
        if not (last.isascii() and last.isdigit() and len(last) < 19):
            raise Problem(400, "Last-Event-ID is not the number of an event: send the last id received.")
        state = await run_in_threadpool(self._known, job)
        if state.finished and not await run_in_threadpool(self._store.results, job, int(last), 1):
            return Response(status_code=204)  # which tells an EventSource not to come again
        return StreamingResponse(self._stream(job, int(last)), media_type="text/event-stream")

    async def _stream(self, job: str, last: int) -> AsyncIterator[str]:
        changed = asyncio.Event()
        loop = asyncio.get_running_loop()

        def tell() -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(changed.set)

        self._streams.add(changed)
        try:
            with self._store.listening(tell):
                while not self._stopping:
                    changed.clear()
                    # Before the results: read after them it could count one that was recorded in between.
                    state = await run_in_threadpool(self._store.state, job)
                    found = await run_in_threadpool(self._store.results, job, last, _AT_ONCE)
                    for result in found:
                        last = result.event
                        yield _event("result", _told(job, result), last)
                    if found:
                        continue
                    if state is None or state.finished:
                        yield _event("end", {"job": job, "deleted": state is None})
                        return
                    try:
                        async with asyncio.timeout(_HEARTBEAT_S):
                            await changed.wait()
                    except TimeoutError:
                        yield ": still here\n\n"
        finally:
            self._streams.discard(changed)

    async def result(self, request: Request) -> Response:
        """Answer one film as /segment does; a file that was sent is deleted a minute later."""
        job, number = request.path_params["job"], request.path_params["number"]
        state = await run_in_threadpool(self._known, job)
        if number >= state.films:
            raise Problem(404, f"This job has {state.films} films: count from 0.")
        found = await run_in_threadpool(self._store.result, job, number)
        if found is None:
            raise Problem(404, f"Film {number} has no result yet: follow /jobs/{job}/events.")
        if found.failed:
            raise Problem(422, str(found.entry["error"]))
        kinds = [kind for kind in _KINDS if kind == JSON or kind in found.outputs]
        offers = [MEDIA_TYPES[kind] for kind in kinds]
        accepted = chosen(request.headers.getlist("Accept"), offers)
        if accepted is None:
            raise Problem(406, f"This result is there as {', '.join(offers)}: name one of these in Accept.")
        kind = kinds[offers.index(accepted)]
        model = await run_in_threadpool(self._store.model, job)
        if kind == JSON and model is not None and model not in self._pool.bundles:
            raise Problem(
                410,
                f"The model {model} of this job is served no more: serve it again, or send the film again.",
            )
        files = {}
        if kind != JSON:
            try:
                files[kind] = await run_in_threadpool(self._store.output, job, number, kind)
            except AdaloraqatError as error:
                raise Problem(410, str(error)) from error
        response = self._films.response(FilmRequest(b"", model=model), kind, FilmAnswer(found.entry, files))
        if files and request.method != "HEAD":
            response.background = BackgroundTask(run_in_threadpool, self._store.fetched, job, number, kind)
        return response

    def _known(self, job: str) -> JobState:
        state = self._store.state(job)
        if state is None:
            raise _unknown()
        return state


def _unknown() -> Problem:
    return Problem(404, "There is no such job: it was deleted, or is older than a day, or never existed.")


def _document(state: JobState) -> dict[str, Any]:
    return {
        "job": state.job,
        "state": "finished" if state.finished else "working",
        "films": state.films,
        "done": state.done,
        "failed": state.failed,
        "created": round(state.created, 3),
        "expires": round(state.expires, 3),
        "events": f"/jobs/{state.job}/events",
        "results": f"/jobs/{state.job}/results/{{number}}",
    }


def _told(job: str, result: Result) -> dict[str, Any]:
    """Return a result as events tell it: the entry, and where its files are."""
    return {
        "number": result.number,
        "failed": result.failed,
        "url": f"/jobs/{job}/results/{result.number}",
        "outputs": list(result.outputs),
        "entry": result.entry,
    }


def _event(kind: str, document: dict[str, Any], number: int | None = None) -> str:
    identity = "" if number is None else f"id: {number}\n"
    return f"{identity}event: {kind}\ndata: {json.dumps(document)}\n\n"


class _Measures(Collector):
    def __init__(self, background: Background) -> None:
        self._background = background

    def collect(self) -> Iterable[Metric]:
        here = self._background
        yield GaugeMetricFamily(
            "adaloraqat_jobs_waiting_films", "Films of jobs without a result.", here.store.waiting()
        )
        counts = [
            ("jobs_done_films", "Films of jobs with a result, since the start.", here.runner.done),
            ("jobs_failed_films", "Films of jobs that failed, since the start.", here.runner.failed),
        ]
        if here.node is not None and here.sender is not None:
            node = here.node.counts
            waiting = here.sender.queue.waiting()
            yield GaugeMetricFamily(
                "adaloraqat_archive_waiting_objects", "Results not yet delivered to the archive.", waiting
            )
            reachable = float(here.sender.reachable)
            yield GaugeMetricFamily(
                "adaloraqat_archive_reachable", "Whether the archive accepted the last result.", reachable
            )
            counts += [
                ("dicom_films", "Films received by C-STORE.", node.films),
                ("dicom_repeated_films", "Films received again.", node.again),
                ("dicom_other_objects", "Objects received that are not films; dropped.", node.others),
                ("dicom_refused_objects", "Objects that were refused.", node.refused),
                ("archive_stored_objects", "Results that the archive accepted.", here.sender.stored),
                (
                    "archive_given_up_objects",
                    "Results that the archive refused for a day.",
                    here.sender.given_up,
                ),
            ]
        for name, text, value in counts:
            yield CounterMetricFamily(f"adaloraqat_{name}", text, value)
