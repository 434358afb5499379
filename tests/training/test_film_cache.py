"""Decoded films on disk: the same tensors, made again when anything they depend on has changed."""

import errno
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from adaloraqat.datasets.manifest import Entry
from adaloraqat.errors import FilmError
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training import film_cache
from adaloraqat.training.films import FilmSet, load_films
from adaloraqat.training.recipe import Recipe
from adaloraqat.training.train import train

SIZE = Preprocessing(32)


@pytest.fixture
def entries(tmp_path: Path) -> list[Entry]:
    """Three films of different shapes; the second has labels."""
    rows = []
    draw = np.random.default_rng(5)
    for number, shape in enumerate([(40, 60), (64, 50), (33, 33)]):
        image, mask = tmp_path / f"{number}.png", tmp_path / f"{number}_mask.png"
        Image.fromarray(draw.integers(0, 255, shape, dtype=np.uint8)).save(image)
        lungs = np.zeros(shape, np.uint8)
        lungs[5:25, 3:15], lungs[5:25, 20:30] = 1, 2
        Image.fromarray(np.where(lungs, 255, 0).astype(np.uint8)).save(mask)
        labels = None
        if number == 1:
            labels = tmp_path / "labels.png"
            Image.fromarray(lungs).save(labels)
        rows.append(Entry(str(number), "films", str(number), "train", image, mask, labels))
    return rows


def assert_same(one: FilmSet, other: FilmSet) -> None:
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.targets, other.targets)
    assert one.frames == other.frames
    for left, right in zip(one.batch([2, 0, 2]), other.batch([2, 0, 2]), strict=True):
        assert torch.equal(left, right)


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_made_once_then_mapped_bit_for_bit(
    entries: list[Entry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, cache = load_films(entries, SIZE), tmp_path / "cache"
    assert_same(load_films(entries, SIZE, cache), plain)
    (kept,) = files(cache)
    before = kept.stat().st_mtime_ns
    monkeypatch.setattr("adaloraqat.training.films.read_film", None)  # decoding again would fail
    mapped = load_films(entries, SIZE, cache)
    assert_same(mapped, plain)
    assert files(cache) == [kept]
    assert kept.stat().st_mtime_ns == before
    mapped.images.zero_()  # a slip of the caller never reaches the file
    assert_same(load_films(entries, SIZE, cache), plain)


@pytest.mark.parametrize("changed", ["path_image", "path_mask", "path_labels", "preprocessing", "order"])
def test_whatever_films_depend_on_makes_another_file(
    entries: list[Entry], tmp_path: Path, changed: str
) -> None:
    cache, preprocessing = tmp_path / "cache", SIZE
    load_films(entries, SIZE, cache)
    if changed == "preprocessing":
        preprocessing = Preprocessing(32, percentile_high=90)
    elif changed == "order":
        entries = entries[::-1]
    else:
        path = getattr(entries[1], changed)
        with Image.open(path) as image:
            Image.fromarray(np.asarray(image)[::-1].copy()).save(path)
    assert_same(load_films(entries, preprocessing, cache), load_films(entries, preprocessing))
    assert len(files(cache)) == 2


def damaged(content: bytes, how: str) -> bytes:
    middle = len(content) // 3
    return {
        "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "shorter": content[:-1],
        "cut": content[:middle],
        "longer": content + b"\0",
        "empty": b"",
        "other sizes": content.replace(b"[40, 60]", b"[60, 40]"),
        "other length": content[:-8] + (2**63 - 1).to_bytes(8, "little"),
    }[how]


@pytest.mark.parametrize(
    "how", ["flipped", "shorter", "cut", "longer", "empty", "other sizes", "other length"]
)
def test_a_damaged_file_is_made_again(
    entries: list[Entry], tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "cache"
    load_films(entries, SIZE, cache)
    (kept,) = files(cache)
    whole = kept.read_bytes()
    kept.write_bytes(damaged(whole, how))
    assert kept.read_bytes() != whole
    assert_same(load_films(entries, SIZE, cache), load_films(entries, SIZE))
    assert "damaged" in caplog.text
    assert kept.read_bytes() == whole
    assert files(cache) == [kept]


def test_without_space_training_goes_on_in_memory(
    entries: list[Entry], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert_same(load_films(entries, SIZE, tmp_path / "file"), load_films(entries, SIZE))
    assert "without a film cache" in caplog.text
    caplog.clear()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(film_cache, "_write", full)
    assert_same(load_films(entries, SIZE, tmp_path / "cache"), load_films(entries, SIZE))
    assert "No space is left" in caplog.text
    assert files(tmp_path / "cache") == []


def test_a_film_that_cannot_be_read_is_named_and_leaves_no_file(entries: list[Entry], tmp_path: Path) -> None:
    entries[2].path_image.write_bytes(b"no film")
    with pytest.raises(FilmError, match=r"2\.png"):
        load_films(entries, SIZE, tmp_path / "cache")
    assert files(tmp_path / "cache") == []


def test_progress_is_told(
    entries: list[Entry], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adaloraqat.training.films._REPORTED", 2)
    with caplog.at_level(logging.INFO):
        load_films(entries, SIZE)
    assert "2 of 3 films" in caplog.text


def test_several_trainings_may_make_it_at_once(entries: list[Entry], tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: load_films(entries, SIZE, tmp_path / "cache"), range(8)))
    for films in made:
        assert_same(films, load_films(entries, SIZE))
    assert len(files(tmp_path / "cache")) == 1


def test_a_training_with_a_cache_gives_the_same_numbers(
    both_stages: Any, manifest: Path, tmp_path: Path
) -> None:
    recipe, cache = Recipe.model_validate(both_stages()), tmp_path / "cache"
    results = []
    for number, folder in enumerate([None, cache, cache]):
        result = train(recipe, manifest, tmp_path / str(number), cache=folder)
        del result["timing"]
        results.append(result)
    assert results[0] == results[1] == results[2]
    assert len(files(cache)) == 2  # training and validation films
