"""What an archive's answers mean for an object that waits, over real connections."""

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from archive import free_port, wait_for

from adaloraqat.errors import AdaloraqatError
from adaloraqat.serve.job import Wish
from adaloraqat.serve.sender import GIVEN_UP_AFTER, OutgoingQueue, Sender
from adaloraqat.serve.store import Store
from adaloraqat.serve.stow import Outcome, StowClient

WISH = Wish(outputs=frozenset({"json", "seg"}), archived=True)


def failed(reason: int) -> bytes:
    item = {"00081197": {"vr": "US", "Value": [reason]}}
    return json.dumps({"00081198": {"vr": "SQ", "Value": [item]}}).encode()


class Answering:
    """An HTTP server that notes what comes and answers by its list, the last answer again and again."""

    def __init__(self, port: int = 0) -> None:
        self.answers: list[tuple[int, bytes]] = [(200, b"{}")]
        self.came: list[tuple[str, dict[str, str], bytes]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.came.append((self.path, dict(self.headers), body))
                status, answer = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/dicom-web"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def archive() -> Iterator[Answering]:
    one = Answering()
    yield one
    one.close()


def test_one_object_goes_as_multipart_related(archive: Answering, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret-one\n")
    client = StowClient(archive.url, tmp_path / "token")
    data = bytes(range(256)) * 9 + b"\r\n--"
    assert client.store(data).outcome is Outcome.STORED
    (tmp_path / "token").write_text("secret-two\n")  # renewed
    client.store(data)
    (path, headers, body), (_, second, _) = archive.came
    assert path == "/dicom-web/studies"
    assert (headers["Authorization"], second["Authorization"]) == ("Bearer secret-one", "Bearer secret-two")
    assert headers["Accept"] == "application/dicom+json"
    message = message_from_bytes(f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + body)
    assert (message.get_content_type(), message.get_param("type")) == (
        "multipart/related",
        "application/dicom",
    )
    [part] = message.get_payload()  # type: ignore[misc]
    assert part.get_content_type() == "application/dicom"  # type: ignore[union-attr]
    assert data in body


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, b"{}", Outcome.STORED),
        (200, b"", Outcome.STORED),
        (202, b"{}", Outcome.STORED),
        (200, failed(0xC000), Outcome.REFUSED),
        (202, failed(0xA900), Outcome.REFUSED),
        (409, failed(0x0122), Outcome.REFUSED),
        (409, failed(0x0111), Outcome.STORED),  # it has this very object
        (409, failed(0xA700), Outcome.FAILED),
        (200, b'<DicomAttribute tag="00081198">', Outcome.REFUSED),
        (400, b"no", Outcome.REFUSED),
        (500, b"no", Outcome.FAILED),
        (301, b"moved", Outcome.UNREACHABLE),
        (401, b"no", Outcome.UNREACHABLE),
        (404, b"no", Outcome.UNREACHABLE),
        (503, b"busy", Outcome.UNREACHABLE),
    ],
)
def test_answers(archive: Answering, status: int, body: bytes, outcome: Outcome) -> None:
    archive.answers = [(status, body)]
    assert StowClient(archive.url).store(b"DICM").outcome is outcome


def test_nobody_there_and_nobody_who_answers(tmp_path: Path) -> None:
    import socket

    assert StowClient(f"http://127.0.0.1:{free_port()}").store(b"x").outcome is Outcome.UNREACHABLE
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = StowClient(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.2)
        assert client.store(b"x").outcome is Outcome.UNREACHABLE


@pytest.mark.parametrize(
    "url", ["", "archive", "ftp://a/b", "http://", "http://a:b:c", "http://u:secret@a/b"]
)
def test_addresses_that_are_refused(url: str) -> None:
    with pytest.raises(AdaloraqatError, match="--stow-url is not the address") as refused:
        StowClient(url)
    assert "secret" not in str(refused.value)


def test_a_token_is_not_sent_in_the_clear(tmp_path: Path) -> None:
    with pytest.raises(AdaloraqatError, match="cannot be read"):
        StowClient("https://archive.example", tmp_path / "token")
    (tmp_path / "token").write_text("secret")
    with pytest.raises(AdaloraqatError, match="needs an https:// address"):
        StowClient("http://archive.example", tmp_path / "token")


def put(store: Store, *names: str) -> None:
    for name in names:
        store.receive(name, name.encode(), name.encode(), WISH)
        film = store.take()
        assert film is not None
        store.record(film, {}, {"seg": f"<{name}>".encode()})


def sent(archive: Answering) -> list[str]:
    return [body.split(b"<")[1].split(b">")[0].decode() for _, _, body in archive.came]


def test_a_dead_archive_loses_nothing(open_store: Callable[..., Store]) -> None:
    """Also over an end of the server; each object goes once."""
    port = free_port()
    store = open_store()
    put(store, "a", "b", "c")
    sender = Sender(store, StowClient(f"http://127.0.0.1:{port}/dicom-web"))
    sender.start()
    wait_for(lambda: not sender.reachable)
    sender.stop()
    store = open_store()
    archive = Answering(port)
    sender = Sender(store, StowClient(archive.url))
    sender.start()
    wait_for(lambda: sender.stored == 3)
    sender.stop()
    archive.close()
    assert sorted(sent(archive)) == ["a", "b", "c"]
    assert sender.queue.waiting() == 0
    assert list((store.database.folder / "results").iterdir()) == []


def test_a_refused_object_holds_up_no_other(open_store: Callable[..., Store], archive: Answering) -> None:
    store = open_store()
    put(store, "bad", "b", "c")
    archive.answers = [(409, failed(0xC000)), (200, b"{}")]
    sender = Sender(store, StowClient(archive.url))
    sender.start()
    wait_for(lambda: sender.stored == 3)  # the refused one is tried again, after the others
    sender.stop()
    assert sent(archive) == ["bad", "b", "c", "bad"]


def test_only_what_is_refused_for_itself_is_given_up(open_store: Callable[..., Store]) -> None:
    store = open_store()
    put(store, "refused", "failed")
    queue = OutgoingQueue(store.database)
    start = time.time()
    for refused in (True, False):
        one = queue.due(start + 1)
        assert one is not None
        assert queue.postpone(one, refused, start)
        assert queue.postpone(one, refused, start + GIVEN_UP_AFTER - 1)
        assert queue.postpone(one, refused, start + GIVEN_UP_AFTER + 1) is not refused
        assert one.path.exists() is not refused
    assert queue.waiting() == 1
