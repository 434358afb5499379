"""Who may call, how much is taken, and what is told of it."""

import zlib
from pathlib import Path

import pytest
from PIL import Image
from served import Served, noise

TOKEN = "correct-horse-battery-staple"


@pytest.mark.parametrize("host", ["127.0.0.1:1", "LOCALHOST", "[::1]:8000", "127.9.9.9"])
def test_names_of_this_computer(server: Served, host: str) -> None:
    assert server.client.get("/models", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "[", "", "a b"])
def test_other_names_are_refused(server: Served, host: str) -> None:
    """Else a page could read answers through a name of its own that it lets point to this computer."""
    for path in ("/models", "/healthz"):
        refused = server.client.get(path, headers={"Host": host})
        assert refused.status_code in (400, 403)
        assert refused.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_pages_of_other_origins_are_refused(server: Served, film: bytes, headers: dict[str, str]) -> None:
    refused = server.post("/segment", film, headers=headers)
    assert refused.status_code == 403
    assert "another origin" in refused.json()["detail"]
    assert not [name for name in refused.headers if name.startswith("access-control")]


def test_a_page_of_its_own_origin_may_call(server: Served, film: bytes) -> None:
    headers = {"Origin": server.url, "Sec-Fetch-Site": "same-origin"}
    assert server.post("/segment", film, headers=headers).status_code == 200


def test_token(bundle: Path, film: bytes) -> None:
    environment = {"ADALORAQAT_TOKEN": TOKEN}
    with Served("--model", bundle, "--workers", 1, "--host", "0.0.0.0", environment=environment) as server:
        server.client.base_url = f"http://127.0.0.1:{server.port}"
        for path in ("/healthz", "/readyz"):
            assert server.client.get(path).status_code == 200
        wrong = ("", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer", "Bearer é")
        for given in wrong:
            headers = {"Authorization": given.encode("latin-1")} if given else {}
            for call in (("GET", "/models"), ("GET", "/metrics"), ("POST", "/segment")):
                refused = server.client.request(*call, headers=headers)
                assert refused.status_code == 401
                assert refused.headers["WWW-Authenticate"] == "Bearer"
        right = {"Authorization": f"Bearer {TOKEN}"}
        assert server.post("/segment", film, headers=right).status_code == 200
        assert server.client.get("/models", headers={**right, "Host": "films.example"}).status_code == 200
        assert TOKEN not in server.log()
        schema = server.client.get("/openapi.json", headers=right).json()
        assert schema["security"] == [{"token": []}]


def test_a_film_with_too_many_bytes(server: Served) -> None:
    film = noise(1100)
    assert len(film) > 1 << 20
    declared = server.post("/segment", film)
    chunked = server.client.post("/segment", content=iter([film[:1000], film[1000:]]))
    for refused in (declared, chunked):
        assert refused.status_code == 413
        assert "1 MiB" in refused.json()["detail"]


def test_a_film_with_too_many_pixels_is_not_decoded(server: Served, tmp_path: Path) -> None:
    Image.new("L", (4000, 4000)).save(tmp_path / "film.png")
    damaged = bytearray((tmp_path / "film.png").read_bytes())
    damaged[-30:-20] = bytes(10)  # decoding would refuse it as damaged
    refused = server.post("/segment", bytes(damaged))
    assert refused.status_code == 413
    assert "film has 4000 x 4000 pixels: this server takes films of at most 1 megapixels." in refused.text


def test_an_error_is_told_at_once(server: Served, film: bytes) -> None:
    """Only where a body was not read to its end may an answer wait for what is left of it."""
    for body in (b"no film", film[:500]):
        refused = [server.post("/segment", body) for _ in range(5)]
        assert {answer.status_code for answer in refused} == {422}
        assert min(answer.elapsed.total_seconds() for answer in refused) < 1.5


def test_a_compressed_body(server: Served, film: bytes) -> None:
    refused = server.post("/segment", zlib.compress(film), headers={"Content-Encoding": "deflate"})
    assert refused.status_code == 415


def test_nothing_there_and_no_such_method(server: Served) -> None:
    assert server.client.get("/segments").status_code == 404
    refused = server.client.get("/segment")
    assert (refused.status_code, refused.headers["Allow"]) == (405, "POST")
    assert refused.headers["Content-Type"] == "application/problem+json"


def test_nothing_of_a_film_is_logged(server: Served, film: bytes, tmp_path: Path) -> None:
    from dicom_films import write_film

    path = write_film(tmp_path / "f.dcm", PatientName="Secret^Name", PatientID="SECRET-1", BitsStored=99)
    server.client.post("/segment", files={"film": ("Secret-Name.png", film)})
    server.client.post("/segment", files={"film": ("Secret-Name.png", film[:900])})
    server.post("/segment?model=Secret", path.read_bytes())
    server.post("/segment", path.read_bytes(), "application/dicom")
    server.client.get("/Secret/1.2.840?Secret=1", headers={"User-Agent": "Secret", "Referer": "Secret"})
    metrics = server.client.get("/metrics").text
    log = server.log()
    assert "POST /segment 200" in log
    assert "- other 404" in log
    assert "secret" not in (log + metrics).lower()
    assert "1.2.840" not in log + metrics
    assert all(len(line.split()) == 5 for line in log.splitlines()[1:])  # nothing but lines of calls


def test_the_page_and_metrics(server: Served) -> None:
    page = server.client.get("/")
    assert "Not a medical device" in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for link in ("/openapi.json", "/models", "/healthz", "/readyz", "/metrics"):
        assert f'href="{link}"' in page.text
        found = server.client.get(link)
        assert (found.status_code, found.headers["Cache-Control"]) == (200, "no-store")
    assert server.metric("adaloraqat_ready_workers") == 1
    assert "adaloraqat_request_seconds_bucket" in server.client.get("/metrics").text
