"""Films for training: sides of the lungs, errors that name the film, and a cache that changes no number."""

import errno
import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from adaloraqat.datasets.manifest import Entry, read_manifest
from adaloraqat.errors import FilmError, ManifestError
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training import films as films_module
from adaloraqat.training.batches import draw_indices
from adaloraqat.training.films import FilmSet, load_films, lung_sides, normalise
from adaloraqat.training.recipe import Recipe
from adaloraqat.training.train import train

SHAPE = (40, 60)


def entry(folder: Path, mask: np.ndarray, labels: np.ndarray | None = None) -> Entry:
    film = np.random.default_rng(0).integers(0, 255, SHAPE, dtype=np.uint8)
    Image.fromarray(film).save(folder / "film.png")
    Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "mask.png")
    if labels is not None:
        Image.fromarray(labels.astype(np.uint8)).save(folder / "labels.png")
    path = folder / "labels.png" if labels is not None else None
    return Entry("film", "films", "film", "train", folder / "film.png", folder / "mask.png", path)


def blank() -> np.ndarray:
    return np.zeros(SHAPE, bool)


def two_lungs() -> tuple[np.ndarray, np.ndarray]:
    right, left = blank(), blank()
    right[5:35, 5:25] = True
    left[8:30, 38:55] = True
    return right, left


def test_sides_from_labels(tmp_path: Path) -> None:
    right, left = two_lungs()
    labels = right * 1 + left * 2
    labels[20:25, 28:34] = 3  # the heart is no side
    found = lung_sides(entry(tmp_path, right | left, labels), SHAPE)
    for side, wanted in zip(found, (right, left, right | left), strict=True):
        np.testing.assert_array_equal(side, wanted)


def test_sides_from_the_two_parts_of_a_mask(tmp_path: Path) -> None:
    right, left = two_lungs()
    speck = blank()
    speck[0, 59] = True
    found = lung_sides(entry(tmp_path, right | left | speck), SHAPE)
    for side, wanted in zip(found, (right, left, right | left | speck), strict=True):
        np.testing.assert_array_equal(side, wanted)


def one_part() -> np.ndarray:
    return two_lungs()[0]


def touching() -> np.ndarray:
    mask = two_lungs()[0] | two_lungs()[1]
    mask[20, 20:45] = True
    return mask


def small_second_part() -> np.ndarray:
    mask = two_lungs()[0]
    mask[10:14, 50:54] = True
    return mask


def one_above_the_other() -> np.ndarray:
    mask = blank()
    mask[2:15, 5:40] = mask[20:35, 8:42] = True
    return mask


@pytest.mark.parametrize("mask", [blank, one_part, touching, small_second_part, one_above_the_other])
def test_sides_that_cannot_be_told_are_empty(mask, tmp_path: Path) -> None:
    right, left, both = lung_sides(entry(tmp_path, mask()), SHAPE)
    assert not right.any()
    assert not left.any()
    np.testing.assert_array_equal(both, mask())


def test_phantoms_have_sides(manifest: Path) -> None:
    films = load_films(read_manifest(manifest), Preprocessing(32))
    sums = films.targets.float().sum(dim=(2, 3))
    assert bool((sums[:, :2] > 0).all())
    assert torch.allclose(sums[:, 0] + sums[:, 1], sums[:, 2], rtol=0.02)
    columns = torch.arange(32).float()
    centres = (films.targets.float().sum(dim=2) * columns).sum(dim=-1) / sums
    assert bool((centres[:, 0] < centres[:, 1]).all())


def test_batches_are_what_inference_sees(tmp_path: Path) -> None:
    right, left = two_lungs()
    row = entry(tmp_path, right | left)
    preprocessing = Preprocessing(30)
    films = load_films([row], preprocessing)
    images, targets, valid = films.batch([0, 0])
    assert images.shape == valid.shape == (2, 1, 30, 30)
    assert targets.shape == (2, 3, 30, 30)
    assert float(valid[0].sum()) == 30 * 20  # 60 x 40 on a square of 30
    wanted, frame = preprocessing(np.asarray(Image.open(row.path_image), np.float32) / 255)
    assert films.frames == (frame, frame)[:1]
    ours = normalise(images, valid, preprocessing)[0]
    assert float((ours - torch.from_numpy(wanted)).abs().max()) < 0.5 / 255 / 0.25 + 1e-4  # 8 bits are kept


@pytest.mark.parametrize(("count", "batch"), [(10, 5), (10, 3), (7, 16)])
def test_every_film_once_per_pass(count: int, batch: int) -> None:
    stream = [index for step in range(count) for index in draw_indices(count, batch, step, [3, 1])]
    assert len(stream) == count * batch
    passes = [tuple(stream[start : start + count]) for start in range(0, len(stream), count)]
    assert all(sorted(turn) == list(range(count)) for turn in passes)
    assert len(set(passes)) > 1  # each pass in its own order
    assert Counter(stream) == dict.fromkeys(range(count), batch)


def test_any_step_can_be_drawn_alone() -> None:
    steps = [draw_indices(9, 4, step, [0, 1]) for step in range(12)]
    assert draw_indices(9, 4, 7, [0, 1]) == steps[7]
    assert draw_indices(9, 4, 7, [1, 1]) != steps[7]


def test_no_film_is_refused() -> None:
    with pytest.raises(ManifestError, match="no film"):
        load_films([], Preprocessing(32))


def test_a_mask_of_another_size_is_named(tmp_path: Path) -> None:
    row = entry(tmp_path, two_lungs()[0])
    Image.fromarray(np.zeros((41, 60), np.uint8)).save(row.path_mask)
    with pytest.raises(FilmError, match=r"mask\.png has 60 x 41 pixels and its film 60 x 40"):
        load_films([row], Preprocessing(32))


# ---- the cache ---------------------------------------------------------------------------------------


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
        "other sizes": content.replace(b"[40, 60, ", b"[60, 40, "),
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

    monkeypatch.setattr(films_module, "_write", full)
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
