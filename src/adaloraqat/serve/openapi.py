"""The server described: as an OpenAPI document with examples, and as a page of links."""

from collections.abc import Sequence
from html import escape
from typing import Any

import adaloraqat
from adaloraqat.bundle.segmenter import PROMPTS
from adaloraqat.serve.film import MOST_BOXES, MOST_POINTS
from adaloraqat.serve.problems import PROBLEM_JSON
from adaloraqat.serve.settings import ServerSettings

NOT_A_DEVICE = "Not a medical device: for research, never for diagnosis."

_NUMBER = {"type": ["number", "null"]}
_BOX = {"type": "string", "pattern": r"^\d{1,5}(\.\d+)?(,\d{1,5}(\.\d+)?){3}$", "example": "120,80,900,1000"}
_POINT = {"type": "string", "pattern": r"^\d{1,5}(\.\d+)?,\d{1,5}(\.\d+)?,[01]$", "example": "400,520,1"}
_PROBLEMS = {
    400: (
        "The request cannot be understood.",
        "A box is not X0,Y0,X1,Y1: give four numbers separated by commas.",
    ),
    401: ("No token, or a wrong one.", "This server requires a token: send Authorization: Bearer TOKEN."),
    403: ("Another host or origin.", "A web page of another origin may not call this server."),
    406: ("No such answer.", "This is answered as application/json, image/png: name one of these in Accept."),
    408: ("The body came too slowly.", "The body did not arrive within 20 seconds: send it faster."),
    413: ("Too many bytes or pixels.", "The body has more than 64 MiB, the limit of this server."),
    415: ("A compressed body.", "A compressed body is not accepted: send the film as it is."),
    422: (
        "The film cannot be used, or not with these prompts.",
        "film is damaged or truncated: export or copy the film again.",
    ),
    503: (
        "Busy; Retry-After says when to try again.",
        "The queue is full: try again in a moment.",
    ),
}
_UNUSABLE = {
    "a damaged film": _PROBLEMS[422][1],
    "a point outside the film": "The point (400, 520) lies outside the film of 256 x 256 pixels: give "
    "pixels of the original film, counted from 0.",
    "an invalid label": "point 400,520,2 is not X,Y,LABEL: give a pixel of the film, and 1 if it lies "
    "inside the target or 0 if outside.",
    "a mask of another size": "The mask mask.png has 96 x 96 pixels and its film 256 x 256: give a mask on "
    "the film's own grid.",
}


def document(models: Sequence[str], settings: ServerSettings) -> dict[str, Any]:
    """Return the OpenAPI document of a server."""
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "adaloraqat serve",
            "version": adaloraqat.__version__,
            "description": f"Outlines the lungs in chest X-rays. {NOT_A_DEVICE}",
        },
        "paths": {
            "/segment": {"post": _segment(models)},
            "/segment_boxes": {"post": _segment_boxes(models)},
            "/models": {"get": _get("models", "The models that are served.", _json(_ref("Models")))},
            "/healthz": {"get": _get("healthz", "Whether the server is alive.", _text("alive\n"))},
            "/readyz": {"get": _get("readyz", "Whether a worker is ready.", _text("ready\n"), 503)},
            "/metrics": {"get": _get("metrics", "Measures, in Prometheus' text format.", _text())},
            "/openapi.json": {"get": _get("openapi", "This document.", _json({"type": "object"}))},
            "/": {"get": _get("links", "A page of links.", {"text/html": {"schema": {"type": "string"}}})},
        },
        "components": {"schemas": _SCHEMAS},
    }
    if settings.token is not None:
        found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{"token": []}]
        for path in ("/healthz", "/readyz"):
            found["paths"][path]["get"]["security"] = []
    return found


def page(models: Sequence[str]) -> str:
    """Return the page of links."""
    links = "".join(
        f'<li><a href="{path}">{path}</a>: {text}</li>'
        for path, text in (
            ("/openapi.json", "the API, with examples"),
            ("/models", "the models that are served"),
            ("/healthz", "whether the server is alive"),
            ("/readyz", "whether a worker is ready"),
            ("/metrics", "measures"),
        )
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>adaloraqat</title>'
        "<style>body{font:16px/1.5 sans-serif;max-width:40em;margin:2em auto;padding:0 1em}</style>"
        f"<h1>adaloraqat {escape(adaloraqat.__version__)}</h1>"
        f"<p>Outlines the lungs in chest X-rays with {escape(', '.join(models))}. {NOT_A_DEVICE}</p>"
        "<p>Send a film to <code>POST /segment</code>; it is not kept.</p>"
        f"<ul>{links}</ul></html>"
    )


def _segment(models: Sequence[str]) -> dict[str, Any]:
    prompt = {"type": "string", "enum": list(PROMPTS), "default": PROMPTS[0]}
    points = {
        "type": "array",
        "items": _POINT,
        "maxItems": MOST_POINTS,
        "description": "X,Y,LABEL each, in pixels of the film; label 1: inside the target, 0: outside. "
        "Points and masks need a model that accepts points.",
        "example": ["400,520,1", "700,980,0"],
    }
    mask = {
        "type": "string",
        "format": "binary",
        "description": "An earlier mask of the film's size, PNG, to correct with points or a box.",
    }
    fields = {"model": _model(models), "box": _BOX, "point": points, "prompt": prompt}
    problems = problem_responses(400, 403, 406, 408, 413, 415, 422, 503)
    del problems["422"]["content"][PROBLEM_JSON]["example"]
    problems["422"]["content"][PROBLEM_JSON]["examples"] = {
        name: {"value": {"title": "Unprocessable Entity", "status": 422, "detail": detail}}
        for name, detail in _UNUSABLE.items()
    }
    return {
        "operationId": "segment",
        "summary": "Outline the lungs of one film, or the target of a box, points or an earlier mask.",
        "parameters": [_query(name, schema) for name, schema in fields.items()],
        "requestBody": _body({**fields, "mask": mask}),
        "responses": {
            "200": {
                "description": "The film's entry as `segment --json` has it, its mask, an overlay, or a "
                "DICOM segmentation (of a DICOM film): what Accept asks for.",
                "headers": {
                    "Adaloraqat-Result": {
                        "description": "With a picture: the entry, warnings included, as JSON.",
                        "schema": {"type": "string"},
                    }
                },
                "content": {
                    "application/json": {"schema": _ref("Answer"), "example": _ANSWER},
                    "image/png": _BINARY,
                    "image/vnd.adaloraqat.overlay+png": _BINARY,
                    "application/dicom": _BINARY,
                },
            },
            **problems,
        },
    }


def _segment_boxes(models: Sequence[str]) -> dict[str, Any]:
    boxes = {"type": "array", "items": _BOX, "minItems": 1, "maxItems": MOST_BOXES}
    return {
        "operationId": "segmentBoxes",
        "summary": "Outline what each of several boxes encloses.",
        "parameters": [_query("model", _model(models)), _query("box", boxes)],
        "requestBody": _body({"model": _model(models), "box": boxes}),
        "responses": {
            "200": {
                "description": "Area and quality of each box, or a picture with the number of the last box "
                "that encloses a pixel.",
                "content": {
                    "application/json": {"schema": _ref("BoxesAnswer")},
                    "image/png": _BINARY,
                },
            },
            **problem_responses(400, 403, 406, 408, 413, 415, 422, 503),
        },
    }


def _get(name: str, summary: str, content: dict[str, Any], *problems: int) -> dict[str, Any]:
    responses = {"200": {"description": summary, "content": content}, **problem_responses(403, *problems)}
    return {"operationId": name, "summary": summary, "responses": responses}


def problem_responses(*statuses: int) -> dict[str, Any]:
    """Return the responses that an operation may give as problems; 400 and 401 always."""
    found = {}
    for status in sorted({400, 401, *statuses}):
        text, example = _PROBLEMS[status]
        content = {"schema": _ref("Problem"), "example": {"title": "", "status": status, "detail": example}}
        found[str(status)] = {"description": text, "content": {PROBLEM_JSON: content}}
        if status == 503:
            retry = {"schema": {"type": "integer"}, "description": "Seconds after which to try again."}
            found["503"]["headers"] = {"Retry-After": retry}
    return found


def _body(fields: dict[str, Any]) -> dict[str, Any]:
    form = {
        "type": "object",
        "required": ["film"],
        "properties": {"film": {"type": "string", "format": "binary"}, **fields},
        "additionalProperties": False,
    }
    kinds = ("application/octet-stream", "application/dicom", "image/png", "image/jpeg", "image/tiff")
    return {
        "required": True,
        "description": (
            "The film: PNG, JPEG, TIFF, BMP, WebP, DICOM, NIfTI or npz, whatever its content type."
        ),
        "content": {"multipart/form-data": {"schema": form}, **dict.fromkeys(kinds, _BINARY)},
    }


def _query(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    several = {"explode": True} if schema["type"] == "array" else {}
    return {"name": name, "in": "query", "required": False, "schema": schema, **several}


def _model(models: Sequence[str]) -> dict[str, Any]:
    return {"type": "string", "enum": list(models), "default": models[0]}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _text(example: str | None = None) -> dict[str, Any]:
    schema = {"schema": {"type": "string"}}
    return {"text/plain": schema if example is None else {**schema, "example": example}}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_TEXTS = {"type": "array", "items": {"type": "string"}}
_NUMBERS = {"type": "array", "items": {"type": "number"}}
_SPACING = {"type": ["array", "null"], "items": {"type": "number"}}
_COUNT = {"type": "integer", "minimum": 0}
_STRING = {"type": "string"}
_ENVELOPE: dict[str, Any] = {
    "model": _STRING,
    "outlines": _STRING,
    "engine": _STRING,
    "warnings": _TEXTS,
    "notices": _TEXTS,
}
_ENTRY = _object(
    path=_STRING,
    width=_COUNT,
    height=_COUNT,
    box=_NUMBERS,
    box_source=_STRING,
    prompts={"type": "array", "items": _NUMBERS},
    proposer={"type": ["string", "null"]},
    quality=_NUMBER,
    quality_error=_NUMBER,
    area_px=_COUNT,
    area_mm2=_NUMBER,
    spacing_mm=_SPACING,
    milliseconds={"type": "number"},
    warnings=_TEXTS,
    notices=_TEXTS,
    measures={"type": ["object", "null"]},
)
_OBJECT = _object(
    label={"type": "integer", "minimum": 1},
    box=_NUMBERS,
    quality=_NUMBER,
    area_px=_COUNT,
    area_mm2=_NUMBER,
)
_ENTRY["properties"]["points"] = {  # there only where points were given
    "type": "array",
    "items": {**_NUMBERS, "minItems": 3, "maxItems": 3},
}
_BOXES_ENTRY = _object(
    path=_STRING,
    width=_COUNT,
    height=_COUNT,
    spacing_mm=_SPACING,
    objects={"type": "array", "items": _OBJECT},
    notices=_TEXTS,
)
_ONE_MODEL = _object(
    name=_STRING,
    default={"type": "boolean"},
    outlines=_STRING,
    licence=_STRING,
    intended_use=_STRING,
    accepts_box={"type": "boolean"},
    accepts_points={"type": "boolean"},
    policy=_STRING,
    warnings=_TEXTS,
)
_SCHEMAS = {
    "Problem": _object(title=_STRING, status={"type": "integer"}, detail=_STRING),
    "Answer": _object(**_ENVELOPE, results={"type": "array", "items": _ENTRY}),
    "BoxesAnswer": _object(**_ENVELOPE, results={"type": "array", "items": _BOXES_ENTRY}),
    "Models": _object(models={"type": "array", "items": _ONE_MODEL}),
}
_ANSWER = {
    "model": "lung-field",
    "outlines": "lung fields",
    "engine": "onnxruntime",
    "warnings": [],
    "notices": [],
    "results": [
        {
            "path": "film.png",
            "mask": None,
            "overlay": None,
            "dicom": None,
            "width": 1024,
            "height": 1024,
            "box": [0, 0, 1024, 1024],
            "box_source": "whole film",
            "prompts": [[0, 0, 1024, 1024]],
            "proposer": None,
            "quality": 0.97,
            "quality_error": 0.02,
            "area_px": 301200,
            "area_mm2": None,
            "spacing_mm": None,
            "milliseconds": 310.5,
            "warnings": [],
            "notices": [],
            "error": None,
            "labels": None,
            "measures": None,
        }
    ],
}
