"""Films in memory: sides of the lungs, batches without state, errors that name the film."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from adaloraqat.datasets.manifest import Entry, read_manifest
from adaloraqat.errors import FilmError, ManifestError
from adaloraqat.radiograph import Preprocessing
from adaloraqat.training.films import draw_indices, load_films, lung_sides, normalise

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
