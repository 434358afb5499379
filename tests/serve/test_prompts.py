"""SAM's prompts over HTTP: points, a box and an earlier mask mean what they mean in the shell."""

import io
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_films import write_film
from PIL import Image
from pydicom import dcmread
from served import Served, phantom
from typer.testing import CliRunner

from adaloraqat.cli.main import app

CLICKS = "lung-open"  # a model that takes points
SIDE = 192
POINTS = [(60.0, 90.5, 1), (96.0, 100.0, 0)]
PICTURE = {"Accept": "image/png"}
BOX = (20.0, 20.0, 92.0, 170.0)


@pytest.fixture(scope="module")
def clicks() -> Iterator[Served]:
    """A server whose model takes points."""
    with Served("--model", CLICKS, "--workers", 1, "--max-megapixels", 1) as one:
        yield one


@pytest.fixture(scope="module")
def chest() -> bytes:
    return phantom(SIDE)


@pytest.fixture
def shell(tmp_path: Path, chest: bytes) -> Callable[..., tuple[int, str]]:
    """Run `segment` on the film; return the exit code and what it said on stderr; results in `out`."""
    film = tmp_path / "film.png"
    film.write_bytes(chest)

    def call(*options: object) -> tuple[int, str]:
        arguments = ["segment", film, "--out", tmp_path / "out", *options]
        ended = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
        return ended.exit_code, ended.stderr.strip()

    return call


def png(mask: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def left_half(side: int = SIDE) -> np.ndarray:
    mask = np.zeros((side, side), bool)
    mask[side // 5 : -side // 5, side // 6 : side // 2] = True
    return mask


def asked(
    points: list[tuple[float, float, int]] = POINTS, box: tuple[float, ...] | None = None
) -> dict[str, Any]:
    fields: dict[str, Any] = {"point": [",".join(map(str, point)) for point in points]}
    return fields | ({"box": ",".join(map(str, box))} if box else {})


@pytest.mark.parametrize(("box", "masked"), [(None, False), (BOX, True)], ids=["points", "points, box, mask"])
def test_the_same_as_in_the_shell(
    clicks: Served,
    chest: bytes,
    shell: Callable[..., tuple[int, str]],
    tmp_path: Path,
    box: tuple[float, ...] | None,
    masked: bool,
) -> None:
    earlier = tmp_path / "earlier.png"
    earlier.write_bytes(png(left_half()))
    options = [one for point in POINTS for one in ("--point", *point)]
    options += ["--box", *box] if box else []
    options += ["--mask", earlier] if masked else []
    assert shell("--model", CLICKS, *options)[0] == 0
    if masked:
        files = {"film": ("film.png", chest), "mask": ("film.png", png(left_half()))}
        found = clicks.client.post("/segment", files=files, data=asked(box=box), headers=PICTURE)
        alone = clicks.post("/segment", chest, params=asked(box=box), headers=PICTURE)
        assert alone.content != found.content  # the mask says something
    else:
        found = clicks.post("/segment", chest, params=asked(box=box), headers=PICTURE)
    assert found.content == (tmp_path / "out/film_mask.png").read_bytes()
    entry = json.loads(found.headers["Adaloraqat-Result"])
    assert entry["points"] == [list(point) for point in POINTS]
    assert entry["box_source"] == ("given" if box else "points")


def test_a_mask_alone(clicks: Served, chest: bytes) -> None:
    files = {"film": ("film.png", chest), "mask": ("mask.png", png(left_half()))}
    entry = clicks.client.post("/segment", files=files).json()["results"][0]
    assert (entry["box_source"], "points" in entry) == ("mask", False)


def test_sides_are_not_named_where_points_asked(clicks: Served, tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.dcm", PatientOrientation=["L", "F"])
    found = clicks.post(
        "/segment", film.read_bytes(), "application/dicom", params={"point": ["20,50,1", "60,50,1"]}
    )
    segments = dcmread(io.BytesIO(found.content)).SegmentSequence
    assert [segment.SegmentLabel for segment in segments] == ["Lung"]


@pytest.mark.parametrize(
    ("model", "point", "box"),
    [
        (CLICKS, (SIDE, 3, 1), None),
        (CLICKS, (-1, 3, 0), None),
        (CLICKS, ("nan", 3, 1), None),
        (CLICKS, (5, 3, 2), None),
        (CLICKS, (5, "x", 1), None),
        (CLICKS, (5, 3, 1), (9, 9, 1, 1)),
        ("tiny", (5, 3, 1), None),
    ],
)
def test_the_shells_sentences(
    clicks: Served,
    server: Served,
    bundle: Path,
    chest: bytes,
    shell: Callable[..., tuple[int, str]],
    model: str,
    point: tuple[object, ...],
    box: tuple[float, ...] | None,
) -> None:
    one, path = (clicks, CLICKS) if model == CLICKS else (server, bundle)
    code, told = shell("--model", path, "--point", *point, *(("--box", *box) if box else ()))
    data = {"point": ",".join(map(str, point)), **({"box": ",".join(map(str, box))} if box else {})}
    refused = one.client.post("/segment", files={"film": ("film.png", chest)}, data=data)
    assert (code, refused.status_code) == (2, 422)
    assert refused.headers["Content-Type"] == "application/problem+json"
    sentence = refused.json()["detail"]
    given, same = " ".join(map(str, point)), ",".join(map(str, point))
    assert told.removeprefix("film.png: ") == sentence.replace(
        f"point {same} is not X,Y,LABEL", f"--point {given} is not X Y LABEL"
    )


def hidden_picture() -> bytes:
    """A mask of 25 megapixels that holds fewer: decoded before its size is looked at it is damaged."""
    side = 5_000
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(1 << 20))),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


@pytest.mark.parametrize(
    ("mask", "status", "sentence"),
    [
        (png(left_half(96)), 422, "The mask old.png has 96 x 96 pixels and its film 192 x 192"),
        (hidden_picture(), 422, "The mask old.png has 5000 x 5000 pixels and its film 192 x 192"),
        (png(left_half())[:200], 422, "old.png is damaged or truncated"),
        (b"\xff\xd8\xff no png", 422, "The mask is not a PNG"),
        (b"", 422, "The mask is not a PNG"),
    ],
)
def test_masks_that_cannot_be_used(
    clicks: Served, chest: bytes, mask: bytes, status: int, sentence: str
) -> None:
    files = {"film": ("film.png", chest), "mask": ("dir/old.png", mask)}
    refused = clicks.client.post("/segment", files=files, data=asked())
    assert refused.status_code == status
    assert sentence in refused.json()["detail"]


@pytest.mark.parametrize(
    ("path", "form", "sentence"),
    [
        ("/segment", {"files": {"film": b"x"}, "data": {"mask": "0,1"}}, "send it as a file"),
        ("/segment", {"files": {"film": b"x"}, "data": {"point": ["1,1,1"] * 257}}, "at most 256 points"),
        ("/segment", {"files": {"mask": b"x"}}, "holds no film"),
        (
            "/segment_boxes?box=0,0,9,9",
            {"files": {"film": b"x", "mask": b"\x89PNG\r\n\x1a\n"}},
            "unknown field",
        ),
        ("/segment_boxes?box=0,0,9,9&point=1,1,1", {"files": {"film": b"x"}}, "unknown field"),
    ],
)
def test_what_no_call_takes(server: Served, path: str, form: dict[str, Any], sentence: str) -> None:
    refused = server.client.post(path, **form)
    assert refused.status_code == 400
    assert sentence in refused.json()["detail"]


def test_models_say_whether_they_take_points(clicks: Served, server: Served) -> None:
    told = [one.client.get("/models").json()["models"][0]["accepts_points"] for one in (clicks, server)]
    assert told == [True, False]
