"""A Hugging Face Hub of one repository on this computer, for the real client: its listing and its files.

Answers `/api/models/REPO/revision/REV` and `/REPO/resolve/REV/FILE` with the headers that `huggingface_hub`
reads, as the Hub does: a large file's ETag is its SHA-256, a small one's is Git's hash of it.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LARGE = 10_000  # bytes; what is stored by its SHA-256 on the Hub


@dataclass
class HubStub:
    """What the Hub holds, how it misbehaves, and what was asked of it.

    Attributes:
        repository: "owner/name".
        commit: what every known revision stands for.
        revisions: branches, tags and commits that exist.
        files: name -> content.
        token: without it every request is answered as for a private repository.
        gated: answer every file as one whose terms nobody accepted.
        cut: send only so many bytes of a large file.
        swapped: send this instead of a large file, under its announced hash.
        failing: answer everything with this status.
        asked: (method, path) of every request.
    """

    repository: str
    commit: str
    files: dict[str, bytes]
    revisions: tuple[str, ...] = ("main",)
    token: str | None = None
    gated: bool = False
    cut: int | None = None
    swapped: bytes | None = None
    failing: int | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)

    def listing(self) -> dict[str, Any]:
        siblings = []
        for name, content in self.files.items():
            facts: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": git_hash(content)}
            if len(content) > LARGE:
                digest = hashlib.sha256(content).hexdigest()
                facts["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 134}
            siblings.append(facts)
        return {"id": self.repository, "sha": self.commit, "siblings": siblings, "private": False, "tags": []}


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def serving(stub: HubStub) -> Iterator[str]:
    """Serve it on a free port; yields its address, for `HF_ENDPOINT`."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def log_message(self, *_: Any) -> None:
            pass

        def refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def answer(self, body: bool) -> None:
            path = self.path.partition("?")[0]
            stub.asked.append((self.command, path))
            if stub.failing is not None:
                return self.refuse(stub.failing, "")
            listing, files = f"/api/models/{stub.repository}/revision/", f"/{stub.repository}/resolve/"
            if not path.startswith((listing, files)):
                return self.refuse(401, "RepoNotFound")
            if stub.token is not None and self.headers.get("Authorization") != f"Bearer {stub.token}":
                return self.refuse(401, "RepoNotFound")
            if stub.gated:
                return self.refuse(403, "GatedRepo")
            revision, _, name = path.removeprefix(listing).removeprefix(files).partition("/")
            if revision not in (stub.commit, *stub.revisions):
                return self.refuse(404, "RevisionNotFound")
            if path.startswith(listing):
                return self.send(json.dumps(stub.listing()).encode(), {}, body)
            if name not in stub.files:
                return self.refuse(404, "EntryNotFound")
            return self.send_file(stub.files[name], body)

        def send_file(self, content: bytes, body: bool) -> None:
            large = len(content) > LARGE
            tag = hashlib.sha256(content).hexdigest() if large else git_hash(content)
            headers = {"X-Repo-Commit": stub.commit, "ETag": f'"{tag}"'}
            if large:
                headers |= {"X-Linked-ETag": f'"{tag}"', "X-Linked-Size": str(len(content))}
                content = stub.swapped if stub.swapped is not None else content
            self.send(content, headers, body, stub.cut if large else None)

        def send(self, content: bytes, headers: dict[str, str], body: bool, cut: int | None = None) -> None:
            self.send_response(200)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(content[:cut])
                self.close_connection = cut is not None or self.close_connection

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
