"""What the page's server answers, whom it answers, and the sentences where there is no page to serve."""

import json
import shutil
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from adaloraqat.bundle.shipped import shipped_path
from adaloraqat.errors import AdaloraqatError, BundleError
from adaloraqat.page import PageServer, Site, open_site, site


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that offers a page, found as pip installs one; returns the page's folder."""
    folder = tmp_path / "drawn_page" / "site"
    folder.mkdir(parents=True)
    about = tmp_path / "drawn_page-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: drawn-page\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[drawn.page]\ndrawn = drawn_page\n")
    (tmp_path / "drawn_page/__init__.py").write_text("raise SystemExit('a page is never imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(site, "GROUP", "drawn.page")
    return folder


@pytest.fixture
def server(package: Path) -> Iterator[PageServer]:
    (package / "index.html").write_text("<title>Page</title>")
    (package / "assets").mkdir()
    (package / "assets/a.wasm").write_bytes(b"\0asm")
    with PageServer(open_site(), 0) as started:
        threading.Thread(target=started.serve_forever, daemon=True).start()
        yield started
        started.shutdown()


def get(server: PageServer, address: str, **headers: str) -> urllib.request.addinfourl:
    request = urllib.request.Request(server.url + address, headers=headers)
    return urllib.request.urlopen(request, timeout=30)  # type: ignore[no-any-return]


def test_the_page_and_the_installed_bundles_are_served_with_a_strict_policy(server: PageServer) -> None:
    with get(server, "") as answer:
        assert answer.read() == b"<title>Page</title>"
        headers = dict(answer.headers)
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert "unsafe-inline" not in headers["Content-Security-Policy"]
    with get(server, "assets/a.wasm") as answer:
        assert answer.headers["Content-Type"] == "application/wasm"
    assert "'unsafe-eval'" not in headers["Content-Security-Policy"]
    with get(server, "models.json") as answer:
        document = json.load(answer)
    names = {model["name"]: model for model in document["models"]}
    assert document["default"] == "lung-field-fast"
    assert set(names["lung-field"]["files"]) == {
        *("encoder.onnx", "decoder.onnx", "mask_prompt.onnx", "structures.onnx")
    }
    assert names["lung-open"]["licence"]
    with get(server, "models/lung-field-fast/decoder.onnx") as answer:
        assert answer.read() == (shipped_path("lung-field-fast") / "decoder.onnx").read_bytes()
        tag = answer.headers["ETag"]
    with pytest.raises(urllib.error.HTTPError) as unchanged:
        get(server, "models/lung-field-fast/decoder.onnx", **{"If-None-Match": tag})
    assert unchanged.value.code == 304
    unchanged.value.close()


@pytest.mark.parametrize(
    "address",
    ["../drawn_page/__init__.py", "..%2f__init__.py", "assets", "models/lung-field-fast/README.md", "%00"],
)
def test_nothing_else_is_served(server: PageServer, address: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(server, address)
    assert refused.value.code == 404
    refused.value.close()


def test_only_this_computers_own_names_are_answered(server: PageServer) -> None:
    port = server.server_address[1]
    for host in (f"localhost:{port}", f"127.0.0.1:{port}"):
        get(server, "", Host=host).close()
    for host in (f"films.example:{port}", "films.example", f"127.0.0.1.films.example:{port}"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(server, "", Host=host)
        assert refused.value.code == 421
        refused.value.close()
    assert server.server_address[0] == "127.0.0.1"


def test_posting_is_refused(server: PageServer) -> None:
    request = urllib.request.Request(server.url, data=b"film", method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    assert refused.value.code == 501
    refused.value.close()


def test_a_port_in_use_is_a_sentence() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(AdaloraqatError, match=f"Port {port} is in use: .*--port"):
            PageServer(Site({}), port)


def test_without_the_package_or_its_files_a_sentence_says_how_to_get_them(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BundleError, match="not built: run `make page`"):
        open_site()
    monkeypatch.setattr(site, "GROUP", "nobody.page")
    with pytest.raises(BundleError, match=r"not installed: .*adaloraqat_page"):
        open_site()


def test_a_bundle_of_ones_own_comes_first(package: Path, tmp_path: Path) -> None:
    (package / "index.html").write_text("")
    own = tmp_path / "own"
    shutil.copytree(shipped_path("lung-whole-fast"), own)
    document = json.loads((own / "bundle.json").read_text())
    (own / "bundle.json").write_text(json.dumps({**document, "name": "own"}))
    found = open_site(str(own))
    assert json.loads(found.documents["/models.json"])["default"] == "own"
    assert found.files["/models/own/encoder.onnx"] == own / "encoder.onnx"
