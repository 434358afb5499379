"""The part of the OpenAPI document that describes jobs."""

from collections.abc import Sequence
from typing import Any

from adaloraqat.serve.openapi import problem_responses

_COUNT = {"type": "integer", "minimum": 0}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_JOB = "4f0c6a1e9b2d4c7f8a3e5d6b7c8f9a01"
_STATE = {
    "type": "object",
    "required": ["job", "state", "films", "done", "failed", "created", "expires", "events", "results"],
    "properties": {
        "job": {"type": "string"},
        "state": {"type": "string", "enum": ["working", "finished"]},
        "films": _COUNT,
        "done": _COUNT,
        "failed": _COUNT,
        "created": {"type": "number", "description": "Seconds since 1970."},
        "expires": {"type": "number", "description": "When the job is deleted."},
        "events": {"type": "string"},
        "results": {"type": "string"},
    },
    "example": {
        "job": _JOB,
        "state": "working",
        "films": 3,
        "done": 1,
        "failed": 0,
        "created": 1796000000.0,
        "expires": 1796086400.0,
        "events": f"/jobs/{_JOB}/events",
        "results": f"/jobs/{_JOB}/results/{{number}}",
    },
}
_NAME = {
    "name": "job",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
}
_NUMBER = {"name": "number", "in": "path", "required": True, "schema": {**_COUNT, "maximum": 999}}
_LAST = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "schema": {"type": "integer", "minimum": 0},
}


def paths(models: Sequence[str]) -> dict[str, Any]:
    """Return the paths of jobs for a server of these models."""
    form = {
        "type": "object",
        "required": ["film"],
        "properties": {
            "film": {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}},
            "model": {"type": "string", "enum": list(models), "default": models[0]},
            "outputs": {
                "type": "string",
                "description": "Which files to make beside the JSON: some of mask, overlay, seg.",
                "default": "mask",
                "example": "mask,overlay",
            },
        },
        "additionalProperties": False,
    }
    create = {
        "operationId": "createJob",
        "summary": "Submit many films; the answer comes once they are safe on the server's disk.",
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}},
        "responses": {"202": _answer("The job.", _STATE), **problem_responses(403, 408, 413, 415, 422, 503)},
    }
    state = {
        "operationId": "job",
        "summary": "A job's progress.",
        "parameters": [_NAME],
        "responses": {"200": _answer("The job.", _STATE), **problem_responses(403), **_not_found()},
    }
    delete = {
        "operationId": "deleteJob",
        "summary": "Delete a job with its films and results.",
        "parameters": [_NAME],
        "responses": {"204": {"description": "Deleted."}, **problem_responses(403), **_not_found()},
    }
    events = {
        "operationId": "jobEvents",
        "summary": "Results as they come, as server-sent events; Last-Event-ID resumes.",
        "parameters": [_NAME, _LAST],
        "responses": {
            "200": {
                "description": "An event `result` for each film, then `end`.",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            },
            "204": {"description": "No more events will come."},
            **problem_responses(403),
            **_not_found(),
        },
    }
    result = {
        "operationId": "jobResult",
        "summary": "One film's result, as /segment answers; a file that was fetched is deleted.",
        "parameters": [_NAME, _NUMBER],
        "responses": {
            "200": {
                "description": "What Accept asks for, of the outputs that the job was to have.",
                "content": {
                    "application/json": {"schema": {"$ref": "#/components/schemas/Answer"}},
                    "image/png": _BINARY,
                    "image/vnd.adaloraqat.overlay+png": _BINARY,
                    "application/dicom": _BINARY,
                },
            },
            **problem_responses(403, 406, 422),
            **_not_found(),
            "410": _refusal("The file was fetched and deleted."),
        },
    }
    return {
        "/jobs": {"post": create},
        "/jobs/{job}": {"get": state, "delete": delete},
        "/jobs/{job}/events": {"get": events},
        "/jobs/{job}/results/{number}": {"get": result},
    }


def _answer(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _not_found() -> dict[str, Any]:
    return {"404": _refusal("There is no such job or film, or no result yet.")}


def _refusal(text: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": text, "content": {"application/problem+json": {"schema": schema}}}
