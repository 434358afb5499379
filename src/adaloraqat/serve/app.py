"""The routes: what each call takes and gives. See `openapi` for the same as a document."""

import asyncio
import importlib.util
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from prometheus_client.registry import Collector
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, Router

from adaloraqat.bundle.prompts import Point, point_of
from adaloraqat.bundle.segmenter import PROMPTS, bundle_warnings
from adaloraqat.serve.accept import chosen
from adaloraqat.serve.body import MASK as MASK_FIELD
from adaloraqat.serve.body import Bytes, Form, read_form
from adaloraqat.serve.film import (
    JSON,
    MASK,
    MOST_BOXES,
    MOST_POINTS,
    OVERLAY,
    SEG,
    BoxLike,
    FilmAnswer,
    FilmRequest,
)
from adaloraqat.serve.guard import TEXT, Guard, Metrics
from adaloraqat.serve.openapi import document, page
from adaloraqat.serve.pool import WorkerPool
from adaloraqat.serve.problems import Problem
from adaloraqat.serve.settings import ServerSettings

MEDIA_TYPES = {
    JSON: "application/json",
    MASK: "image/png",
    OVERLAY: "image/vnd.adaloraqat.overlay+png",
    SEG: "application/dicom",
}
"""What each output is called in Accept and Content-Type."""

RESULT_HEADER = "Adaloraqat-Result"
"""Carries a film's entry beside a picture, so that its warnings are not lost; JSON in ASCII."""

_BODIES_AT_ONCE = 8  # of the largest size that may be in memory together
_LONGEST_HEADER = 6000  # characters: clients refuse long ones


class Films:
    """Answers `POST /segment` and `POST /segment_boxes` from a pool of workers."""

    def __init__(
        self, pool: WorkerPool, settings: ServerSettings, engine: str, notices: Sequence[str]
    ) -> None:
        self._pool = pool
        self._notices = list(notices)
        self._settings = settings
        self._engine = engine
        self._bodies = Bytes(_BODIES_AT_ONCE * settings.max_bytes)
        self._warnings = {name: bundle_warnings(bundle) for name, bundle in pool.bundles.items()}
        there = importlib.util.find_spec("highdicom") is not None
        self._outputs = (JSON, MASK, OVERLAY, *((SEG,) if there else ()))

    async def segment(self, request: Request) -> Response:
        """Outline the lungs of one film."""
        output = _output(request, self._outputs)
        with self._bodies.held() as share:
            form = await self._form(request, share, ("model", "box", "point", "prompt"), takes_mask=True)
            boxes = _boxes(form)
            if len(boxes) > 1:
                raise Problem(400, "Several boxes are given: give one, or call /segment_boxes.")
            prompt = _one(form, "prompt") or PROMPTS[0]
            if prompt not in PROMPTS:
                raise Problem(400, f"There is no such prompt: choose one of {', '.join(PROMPTS)}.")
            asked = FilmRequest(
                form.film,
                form.name,
                _one(form, "model"),
                box=boxes[0] if boxes else None,
                points=_points(form),
                mask=form.mask,
                mask_name=form.mask_name,
                prompt=prompt,
                outputs=frozenset({output}),
            )
            return self.response(asked, output, await self._answer(request, asked))

    async def segment_boxes(self, request: Request) -> Response:
        """Outline what each of several boxes encloses."""
        output = _output(request, (JSON, MASK))
        with self._bodies.held() as share:
            form = await self._form(request, share, ("model", "box"))
            boxes = _boxes(form)
            if not 0 < len(boxes) <= MOST_BOXES:
                raise Problem(400, f"Give 1 to {MOST_BOXES} boxes, each as box=X0,Y0,X1,Y1.")
            asked = FilmRequest(
                form.film, form.name, _one(form, "model"), boxes=boxes, outputs=frozenset({output})
            )
            return self.response(asked, output, await self._answer(request, asked))

    async def _form(
        self, request: Request, share: Any, known: Sequence[str], takes_mask: bool = False
    ) -> Form:
        self._pool.check_room(self._settings.deadline_s)  # before the body: it may be long
        form = await read_form(request, share, self._settings.max_bytes, self._settings.client_s)
        if takes_mask and MASK_FIELD in form.fields:
            raise Problem(400, "The mask is not a file: send it as a file in the form's field mask.")
        if any(key not in known for key in form.fields) or (form.mask is not None and not takes_mask):
            raise Problem(400, f"The form has an unknown field: use only {', '.join(known)}.")
        return form

    async def _answer(self, request: Request, asked: FilmRequest) -> FilmAnswer:
        """Have the pool do a film; one whose client has gone leaves the queue."""
        future = asyncio.wrap_future(self._pool.submit(asked, self._settings.deadline_s))
        gone = asyncio.create_task(_gone(request))
        try:
            await asyncio.wait((future, gone), return_when=asyncio.FIRST_COMPLETED)
            if not future.done():
                raise ClientDisconnect
            return future.result()
        finally:
            gone.cancel()
            future.cancel()

    def response(self, asked: FilmRequest, output: str, answer: FilmAnswer) -> Response:
        """Return one output of an answer, with the entry beside a picture."""
        if output == JSON:
            return JSONResponse(self._document(asked, answer))
        result = json.dumps({key: value for key, value in answer.entry.items() if key != "path"})
        headers = {RESULT_HEADER: result} if len(result) <= _LONGEST_HEADER else {}
        return Response(answer.files[output], headers=headers, media_type=MEDIA_TYPES[output])

    def _document(self, asked: FilmRequest, answer: FilmAnswer) -> dict[str, Any]:
        """Return what `segment --json` prints for one film."""
        name = asked.model or next(iter(self._pool.bundles))
        return {
            "model": name,
            "outlines": self._pool.bundles[name].outlines,
            "engine": self._engine,
            "warnings": self._warnings[name],
            "notices": self._notices,
            "results": [answer.entry],
        }


class Extension(NamedTuple):
    """What a server has besides: routes, their part of the OpenAPI document, and measures."""

    routes: Sequence[Route] = ()
    paths: Mapping[str, Any] = {}
    collectors: Sequence[Collector] = ()


def create_app(
    pool: WorkerPool,
    settings: ServerSettings,
    engine: str,
    notices: Sequence[str] = (),
    extension: Extension | None = None,
) -> Guard:
    """Return the application of a server, behind its guard.

    Args:
        pool: started, or about to be.
        settings: of the server.
        engine: what the pool's models run on, as answers name it.
        notices: what stood in where no model was named.
        extension: what else there is.
    """
    more = extension or Extension()
    films = Films(pool, settings, engine, notices)
    metrics = Metrics(pool)
    for collector in more.collectors:
        metrics.registry.register(collector)

    async def models(request: Request) -> Response:
        return JSONResponse({"models": [_model(name, pool) for name in pool.bundles]})

    async def health(request: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def ready(request: Request) -> Response:
        if not pool.ready_workers:
            raise Problem(503, "No worker is ready: try again in a moment.", {"Retry-After": "1"})
        return PlainTextResponse("ready\n")

    async def measures(request: Request) -> Response:
        text = await run_in_threadpool(metrics.text)  # some measures wait for the database
        return Response(text, headers={"Content-Type": TEXT})

    async def described(request: Request) -> Response:
        found = document(list(pool.bundles), settings)
        found["paths"].update(more.paths)
        return JSONResponse(found)

    async def links(request: Request) -> Response:
        policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return HTMLResponse(page(list(pool.bundles)), headers=policy)

    router = Router(
        [
            Route("/", links),
            Route("/segment", films.segment, methods=["POST"]),
            Route("/segment_boxes", films.segment_boxes, methods=["POST"]),
            Route("/models", models),
            Route("/healthz", health),
            Route("/readyz", ready),
            Route("/metrics", measures),
            Route("/openapi.json", described),
            *more.routes,
        ],
        redirect_slashes=False,
    )
    return Guard(router, settings, metrics)


def _output(request: Request, outputs: Sequence[str]) -> str:
    offers = [MEDIA_TYPES[output] for output in outputs]
    found = chosen(request.headers.getlist("Accept"), offers)
    if found is None:
        raise Problem(406, f"This is answered as {', '.join(offers)}: name one of these in Accept.")
    return outputs[offers.index(found)]


def _one(form: Form, key: str) -> str | None:
    values = form.fields.get(key, [])
    if len(values) > 1:
        raise Problem(400, f"{key} is given several times: give it once.")
    return values[0] if values else None


def _boxes(form: Form) -> tuple[BoxLike, ...]:
    return tuple(_box(text) for text in form.fields.get("box", ()))


def _points(form: Form) -> tuple[Point, ...]:
    given = form.fields.get("point", ())
    if len(given) > MOST_POINTS:
        raise Problem(400, f"Give at most {MOST_POINTS} points.")
    return tuple(point_of(text, "point", ",") for text in given)


def _box(text: str) -> BoxLike:
    try:
        x_min, y_min, x_max, y_max = map(float, text.split(","))
    except ValueError as error:
        raise Problem(400, "A box is not X0,Y0,X1,Y1: give four numbers separated by commas.") from error
    box = (x_min, y_min, x_max, y_max)
    if not all(map(math.isfinite, box)):
        raise Problem(400, "A box has a side that is not a finite number: give pixels of the film.")
    return box


async def _gone(request: Request) -> None:
    """Return when the client has closed the connection; its body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _model(name: str, pool: WorkerPool) -> dict[str, Any]:
    bundle = pool.bundles[name]
    return {
        "name": name,
        "default": name == next(iter(pool.bundles)),
        "outlines": bundle.outlines,
        "licence": bundle.licence,
        "intended_use": bundle.intended_use,
        "accepts_box": bundle.prompt.accepts_box,
        "accepts_points": bundle.accepts_points,
        "policy": bundle.precision.policy,
        "warnings": bundle_warnings(bundle),
    }
