"""A Hugging Face Hub of one repository on this computer, for the real client: its listing, files and uploads.

Answers `/api/models/REPO/revision/REV` and `/REPO/resolve/REV/FILE` with the headers that `huggingface_hub`
reads, as the Hub does: a large file's ETag is its SHA-256, a small one's is Git's hash of it. What a client
sends goes the Hub's way too: the repository is created, the card validated, large files are put to storage,
and one commit brings all.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

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
        large: bytes from which a file is stored by its SHA-256.
        exists: whether the repository is there; a client may create it.
        private: whether it is.
        read_only: the token may not write.
        commits: the summary of every commit that was sent, and the names of its files.
        sent: the sizes of the objects that were put to storage, by SHA-256.
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
    large: int = LARGE
    exists: bool = True
    private: bool = False
    read_only: bool = False
    commits: list[tuple[str, list[str]]] = field(default_factory=list)
    sent: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def listing(self) -> dict[str, Any]:
        siblings = []
        for name, content in self.files.items():
            facts: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": git_hash(content)}
            if len(content) > self.large:
                digest = hashlib.sha256(content).hexdigest()
                facts["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 134}
            siblings.append(facts)
        return {
            "id": self.repository,
            "sha": self.commit,
            "siblings": siblings,
            "private": self.private,
            "tags": [],
        }

    def take(self, lines: list[dict[str, Any]]) -> None:
        """Commit the lines of a client's request, as the Hub does."""
        (summary,) = (line["value"]["summary"] for line in lines if line["key"] == "header")
        names = []
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.files[value["path"]] = self.sent[value["oid"]]
            else:
                continue
            names.append(value["path"])
        self.commits.append((summary, sorted(names)))
        self.commit = hashlib.sha1(json.dumps(lines).encode()).hexdigest()


LICENCES = ("apache-2.0", "cc-by-4.0", "mit", "other")


def faults_of_card(content: str) -> list[str]:
    """What the Hub refuses in the front matter of a README.md, by its published rules, as far as needed."""
    front = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
    if front is None:
        return ["no front matter"]
    data = yaml.safe_load(front[1])
    faults = []
    if data.get("license") not in LICENCES:
        faults.append(f"license {data.get('license')!r} is not one of the Hub's")
    if data.get("license") == "other":
        if not re.fullmatch("[a-z0-9.-]+", str(data.get("license_name"))):
            faults.append("license_name must be an identifier")
        if not re.fullmatch("LICENSE(.md)?|https://.+", str(data.get("license_link"))):
            faults.append("license_link must be LICENSE, LICENSE.md or an address")
    if not all(isinstance(tag, str) for tag in data.get("tags", [])):
        faults.append("tags must be texts")
    for model in data.get("model-index", []):
        for result in model["results"]:
            if not result["dataset"]["type"] or not result["dataset"]["name"]:
                faults.append("a result needs dataset.type and dataset.name")
            faults += ["a metric needs a value" for metric in result["metrics"] if metric["value"] is None]
    return faults


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

        def do_POST(self) -> None:
            path, content = self.path.partition("?")[0], self.read()
            stub.asked.append(("POST", path))
            if stub.failing is not None:
                return self.refuse(stub.failing, "")
            if path == "/api/validate-yaml":
                faults = faults_of_card(json.loads(content)["content"])
                answer = {"errors": [{"message": fault} for fault in faults], "warnings": []}
                return self.send(json.dumps(answer).encode(), {}, True, status=400 if faults else 200)
            if stub.token is None or self.headers.get("Authorization") != f"Bearer {stub.token}":
                return self.refuse(401, "")
            if stub.read_only:
                return self.refuse(403, "")
            if path == "/api/repos/create":
                return self.create(json.loads(content))
            if not stub.exists:
                return self.refuse(404, "RepoNotFound")
            action, _, revision = path.removeprefix(f"/api/models/{stub.repository}/").partition("/")
            if action == "branch":
                known = revision in stub.revisions
                stub.revisions = (*stub.revisions, *(() if known else (revision,)))
                return self.send(b"{}", {}, True, status=409 if known else 200)
            if action == "preupload" and revision in stub.revisions:
                modes = [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["path"].endswith(".onnx") else "regular",
                        "shouldIgnore": False,
                    }
                    for file in json.loads(content)["files"]
                ]
                return self.send(json.dumps({"files": modes}).encode(), {}, True)
            if action == "commit" and revision in stub.revisions:
                stub.take([json.loads(line) for line in content.splitlines()])
                address = f"{self.address}/{stub.repository}/commit/{stub.commit}"
                answer = {"success": True, "commitOid": stub.commit, "commitUrl": address}
                return self.send(json.dumps(answer).encode(), {}, True)
            if path == f"/{stub.repository}.git/info/lfs/objects/batch":
                objects = [
                    {**file, "actions": {"upload": {"href": f"{self.address}/storage/{file['oid']}"}}}
                    for file in json.loads(content)["objects"]
                ]
                return self.send(json.dumps({"objects": objects, "transfer": "basic"}).encode(), {}, True)
            return self.refuse(404, "RevisionNotFound")

        def do_PUT(self) -> None:
            content, oid = self.read(), self.path.rpartition("/")[2]
            if hashlib.sha256(content).hexdigest() != oid:
                return self.refuse(400, "")
            stub.sent[oid] = content
            return self.send(b"", {}, True)

        def create(self, asked: dict[str, Any]) -> None:
            if f"{asked['organization']}/{asked['name']}" != stub.repository:
                return self.refuse(403, "")
            address = json.dumps({"url": f"{self.address}/{stub.repository}"}).encode()
            if stub.exists:
                return self.send(address, {}, True, status=409)
            stub.exists, stub.private = True, asked.get("visibility") == "private"
            return self.send(address, {}, True)

        @property
        def address(self) -> str:
            return f"http://127.0.0.1:{server.server_port}"

        def read(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            content = b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content

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
            if path == f"/api/models/{stub.repository}":
                path = f"{listing}main"
            if not stub.exists or not path.startswith((listing, files)):
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
            large = len(content) > stub.large
            tag = hashlib.sha256(content).hexdigest() if large else git_hash(content)
            headers = {"X-Repo-Commit": stub.commit, "ETag": f'"{tag}"'}
            if large:
                headers |= {"X-Linked-ETag": f'"{tag}"', "X-Linked-Size": str(len(content))}
                content = stub.swapped if stub.swapped is not None else content
            self.send(content, headers, body, stub.cut if large else None)

        def send(
            self,
            content: bytes,
            headers: dict[str, str],
            body: bool,
            cut: int | None = None,
            status: int = 200,
        ) -> None:
            self.send_response(status)
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
