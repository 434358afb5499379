"""200 hostile requests, of every kind; `benchmarks/hostile_bodies.py` sends more."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dicom_films import write_film
from hostile import KINDS, answer, drawn
from served import PATIENCE, Served, phantom

COUNT = 200


def test_hostile_requests(server: Served, film: bytes, tmp_path: Path) -> None:
    films = [phantom(64), write_film(tmp_path / "film.dcm").read_bytes()]
    kinds = {drawn(seed, films).kind for seed in range(COUNT)}
    assert kinds == set(KINDS)
    with ThreadPoolExecutor(16) as threads:
        attacks = [drawn(seed, films) for seed in range(COUNT)]
        lines = list(threads.map(lambda hostile: answer(server.port, hostile, PATIENCE), attacks))
    for hostile, line in zip(attacks, lines, strict=True):
        assert line[9:12] in ("200", "400", "403", "406", "408", "413", "415", "422", "503", ""), (
            hostile,
            line,
        )
        assert line != "hung", hostile
        assert not hostile.told or line.startswith("HTTP/1.1 "), hostile
    assert "defect" not in server.log()
    assert server.post("/segment", film).status_code == 200
