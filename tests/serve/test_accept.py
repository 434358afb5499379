import pytest
from served import Served

from adaloraqat.serve.accept import chosen

JSON, PNG, OVERLAY = "application/json", "image/png", "image/vnd.adaloraqat.overlay+png"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ([], JSON),
        ([""], JSON),
        (["*/*"], JSON),
        (["image/*"], PNG),
        ([OVERLAY], OVERLAY),
        (["IMAGE/PNG"], PNG),
        (["text/html, image/png;q=0.3, application/json;q=0.2"], PNG),
        (["image/png", "application/json;q=0.9"], PNG),
        (["*/*, image/png;q=0"], JSON),
        (["image/*, image/png;q=0"], OVERLAY),
        (["application/json;q=0, */*;q=0.1"], PNG),
        (["*/*, image/png"], PNG),
        (["image/png;level=1;q=0.4, application/json;q=0.5"], JSON),
        (["text/html"], None),
        (["application/json;q=0"], None),
        (["application/json;q=2"], None),
        (["nonsense"], None),
        (["nonsense, image/png"], PNG),
    ],
)
def test_what_the_client_likes_best(accept: list[str], expected: str | None) -> None:
    assert chosen(accept, [JSON, PNG, OVERLAY]) == expected


def test_nothing_that_the_client_takes(server: Served, film: bytes) -> None:
    refused = server.post("/segment", film, "text/html")
    assert refused.status_code == 406
    assert "image/png" in refused.json()["detail"]
