"""One DICOM object to an archive by DICOMweb's STOW-RS (PS3.18 10.5), and what the answer means for a retry.

A request holds one object, so that its answer is about that object alone. dicomweb-client would decode and
encode it again, has no time limit, and follows redirects with the token.
"""

import http.client
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from adaloraqat.errors import AdaloraqatError

TIMEOUT_S = 60.0
_MOST_ANSWERED = 1 << 20  # bytes of an answer that are read
_FAILED, _REASON = "00081198", "00081197"
_DUPLICATE = 0x0111  # the archive has this very object
_MOMENTARY = (0x0110, *range(0xA700, 0xA800))  # processing failure, out of resources
_OF_THE_OBJECT = (400, 409, 413, 415, 422)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Outcome(Enum):
    """What became of one try."""

    STORED = "stored"
    REFUSED = "refused"
    """By the object's fault: every try ends so, until somebody changes the archive."""
    FAILED = "failed"
    """The archive answered, but cannot store now."""
    UNREACHABLE = "unreachable"
    """The archive did not answer, or not as an archive."""


@dataclass(frozen=True)
class Answer:
    """An outcome and the archive's words for it, which name no patient."""

    outcome: Outcome
    why: str = ""


class StowClient:
    """Stores objects in one archive.

    Args:
        url: of its DICOMweb service ("https://pacs.example/dicom-web").
        token_file: file with a bearer token, read at each request, so that it can be renewed; None: no token.

    Raises:
        AdaloraqatError: it is no such address, the token cannot be read, or others could read it.
    """

    def __init__(self, url: str, token_file: Path | None = None, timeout_s: float = TIMEOUT_S) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
            raise AdaloraqatError(
                "--stow-url is not the address of an archive: give it as https://HOST/dicom-web, and a "
                "token with --stow-token-file."
            )
        if token_file is not None and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise AdaloraqatError(
                "--stow-token-file needs an https:// address: over http others could read the token."
            )
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, port
        path = parts.path.rstrip("/")
        self._path = path if path.endswith("/studies") else f"{path}/studies"
        self._token_file = token_file
        self._timeout = timeout_s
        self._headers()

    def _headers(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        try:
            token = self._token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeError) as error:
            raise AdaloraqatError(
                f"{self._token_file.name} cannot be read: give --stow-token-file the archive's token."
            ) from error
        return {"Authorization": f"Bearer {token}"}

    def store(self, data: bytes) -> Answer:
        """Send one DICOM file; whatever happens on the way is an answer, never an exception."""
        boundary = secrets.token_hex(16)
        body = (
            f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
            + data
            + f"\r\n--{boundary}--\r\n".encode()
        )
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=self._timeout)
        try:
            headers = {
                "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
                "Accept": "application/dicom+json",
                **self._headers(),
            }
            connection.request("POST", self._path, body, headers)
            response = connection.getresponse()
            return judged(response.status, response.read(_MOST_ANSWERED))
        except AdaloraqatError as error:
            return Answer(Outcome.UNREACHABLE, str(error))
        except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: a token of two lines
            return Answer(Outcome.UNREACHABLE, type(error).__name__)
        finally:
            connection.close()


def judged(status: int, body: bytes) -> Answer:
    """Return what an archive's answer to one object means; `body` is DICOM JSON, or XML of older archives."""
    reasons = _reasons(body)
    words = f"HTTP {status}" + "".join(f", failure reason {reason:#06x}" for reason in reasons)
    if _DUPLICATE in reasons:
        return Answer(Outcome.STORED, words)
    if status in (200, 202) and not reasons:
        return Answer(Outcome.STORED)
    if status in (200, 202, 409) and any(reason in _MOMENTARY for reason in reasons):
        return Answer(Outcome.FAILED, words)
    if status in (200, 202) or status in _OF_THE_OBJECT:
        return Answer(Outcome.REFUSED, words)
    if status == 500:
        return Answer(Outcome.FAILED, words)
    return Answer(Outcome.UNREACHABLE, words)  # not permitted, not found, moved, busy


def _reasons(body: bytes) -> list[int]:
    """Return the reasons in the sequence of failed objects; 0 where one has no readable reason."""
    if _FAILED.encode() not in body:
        return []
    parse: Callable[[bytes], Any] = json.loads
    try:
        document = parse(body)
        first = document[0] if isinstance(document, list) else document
        items = first[_FAILED].get("Value", [])
        return [int(item[_REASON]["Value"][0]) for item in items]
    except (ValueError, LookupError, TypeError, AttributeError):
        return [0]
