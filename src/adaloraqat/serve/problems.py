"""Errors as clients see them: a status and one sentence, as application/problem+json (RFC 9457)."""

import json
import math
from http import HTTPStatus

from starlette.responses import Response

from adaloraqat.errors import AdaloraqatError
from adaloraqat.serve.film import DeadlinePassed, QueueFull, TooLarge

PROBLEM_JSON = "application/problem+json"
_SHORTEST_RETRY_S, _LONGEST_RETRY_S = 1, 60


class Problem(AdaloraqatError):
    """A request that is not answered with what it asks for.

    Attributes:
        status: of HTTP.
        headers: to send along.
    """

    def __init__(self, status: int, sentence: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.headers = headers or {}


def problem_of(error: AdaloraqatError) -> Problem:
    """Return the answer for an error of this package: 422, unless its kind says otherwise."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, QueueFull):
        return busy(str(error), error.retry_after_s)
    if isinstance(error, DeadlinePassed):
        return busy(str(error), _SHORTEST_RETRY_S)
    return Problem(413 if isinstance(error, TooLarge) else 422, str(error))


def busy(sentence: str, retry_after_s: float = _SHORTEST_RETRY_S) -> Problem:
    """Return a 503 that says when to ask again."""
    seconds = min(_LONGEST_RETRY_S, max(_SHORTEST_RETRY_S, math.ceil(retry_after_s)))
    return Problem(503, sentence, {"Retry-After": str(seconds)})


def problem_body(status: int, sentence: str) -> bytes:
    """Return the document of a problem."""
    document = {"title": HTTPStatus(status).phrase, "status": status, "detail": sentence}
    return json.dumps(document).encode()


def problem_response(problem: Problem) -> Response:
    """Return a problem as a response."""
    return Response(
        problem_body(problem.status, str(problem)),
        problem.status,
        {**problem.headers, "Content-Type": PROBLEM_JSON},
    )
