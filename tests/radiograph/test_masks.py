from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaloraqat.errors import FilmError, OutputError
from adaloraqat.radiograph import Box, Film, read_labels, read_mask, write_mask, write_overlay

MASK = np.zeros((40, 50), bool)
MASK[10:30, 5:20] = MASK[10:30, 30:45] = True


def test_a_mask_comes_back(tmp_path: Path) -> None:
    write_mask(tmp_path / "mask.png", MASK)
    with Image.open(tmp_path / "mask.png") as image:
        assert image.mode == "L"
        assert set(np.unique(np.asarray(image))) == {0, 255}
    assert (read_mask(tmp_path / "mask.png", (40, 50)) == MASK).all()
    write_mask(tmp_path / "empty.png", MASK & False)
    assert not read_mask(tmp_path / "empty.png").any()


@pytest.mark.parametrize("values", [(0, 1, 2), (0, 15, 3), (0, 128, 255), (0, 127, 255)])
def test_labels_and_two_grey_levels_are_both_set(tmp_path: Path, values: tuple[int, int, int]) -> None:
    none, right, left = values
    array = np.where(MASK, right, none).astype(np.uint8)
    array[:, 25:][MASK[:, 25:]] = left
    Image.fromarray(array).save(tmp_path / "mask.png")
    assert (read_mask(tmp_path / "mask.png") == MASK).all()


@pytest.mark.parametrize("mode", ["1", "RGB", "P", "RGBA", "I;16"])
def test_masks_of_every_mode(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(np.where(MASK, 255, 0).astype(np.uint8))
    image = Image.fromarray(MASK.astype(np.uint16) * 65535) if mode == "I;16" else image.convert(mode)
    image.save(tmp_path / "mask.png")
    assert (read_mask(tmp_path / "mask.png") == MASK).all()


def test_a_coloured_mask_and_the_ringing_of_jpeg(tmp_path: Path) -> None:
    Image.fromarray(MASK[..., None] * np.array([200, 0, 0], np.uint8)).save(tmp_path / "red.png")
    assert (read_mask(tmp_path / "red.png") == MASK).all()
    Image.fromarray(np.where(MASK, 255, 0).astype(np.uint8)).save(tmp_path / "mask.jpg", quality=60)
    assert (read_mask(tmp_path / "mask.jpg") != MASK).mean() < 0.01


def test_a_mask_of_another_size_is_refused_with_both_sizes(tmp_path: Path) -> None:
    write_mask(tmp_path / "mask.png", MASK)
    with pytest.raises(FilmError, match=r"mask\.png has 50 x 40 pixels and its film 512 x 400"):
        read_mask(tmp_path / "mask.png", (400, 512))


def test_labels(tmp_path: Path) -> None:
    labels = np.tile(np.arange(4, dtype=np.uint8), (20, 5))
    Image.fromarray(labels).save(tmp_path / "labels.png")
    assert (read_labels(tmp_path / "labels.png", (20, 20)) == labels).all()
    Image.fromarray(labels * 60).save(tmp_path / "grey.png")
    with pytest.raises(FilmError, match="above 3"):
        read_labels(tmp_path / "grey.png")


def test_an_overlay_shows_film_mask_and_box(tmp_path: Path) -> None:
    film = Film(np.full((40, 50), 0.5, np.float32))
    write_overlay(tmp_path / "overlay.png", film, MASK, Box(2, 3, 48, 37))
    with Image.open(tmp_path / "overlay.png") as image:
        picture = np.asarray(image).astype(int)
    assert picture.shape == (40, 50, 3)
    assert tuple(picture[3, 20]) == (255, 200, 0)  # the box
    assert tuple(picture[36, 47]) == (255, 200, 0)  # its last pixel: right and bottom are exclusive
    assert picture[20, 12, 2] > picture[20, 12, 0]  # inside: tinted
    assert picture[10, 12, 2] > picture[20, 12, 2]  # contour: full colour
    assert picture[20, 25, 0] == picture[20, 25, 2]  # between the lungs: grey
    with pytest.raises(FilmError, match="50 x 20"):
        write_overlay(tmp_path / "overlay.png", film, MASK[:20])


def test_a_mask_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        write_mask(tmp_path / "file" / "mask.png", MASK)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


HALVES = MASK * np.where(np.arange(50) < 25, 1, 2)


def palette(colours: list[int]) -> Image.Image:
    image = Image.fromarray(HALVES.astype(np.uint8)).convert("P")
    image.putdata(HALVES.ravel().tolist())
    image.putpalette(colours + [0] * (768 - len(colours)))
    return image


@pytest.mark.parametrize(
    "image",
    [
        palette([0, 0, 0, 128, 0, 0, 0, 128, 0]),
        palette([255, 255, 255, 200, 0, 0, 0, 0, 200]),  # drawn on white
        Image.fromarray((HALVES * 85).astype(np.uint8)),  # labels spread over the grey scale
        Image.fromarray(
            np.dstack([HALVES == 1, HALVES == 2, MASK & False]) * np.array([255, 90, 0], np.uint8)
        ),
        Image.fromarray(np.dstack([*[np.zeros_like(HALVES)] * 3, MASK * 255]).astype(np.uint8)),  # in alpha
        Image.fromarray(np.where(MASK, 255, 1).astype(np.uint8)),
    ],
)
def test_masks_drawn_in_other_ways(tmp_path: Path, image: Image.Image) -> None:
    image.save(tmp_path / "mask.png")
    assert (read_mask(tmp_path / "mask.png") == MASK).all()


def test_the_blur_of_an_edge_is_no_label(tmp_path: Path) -> None:
    soft = np.where(MASK, 255, 0).astype(np.uint8)
    soft[9, 5:20] = 100  # one row of half-covered pixels
    Image.fromarray(soft).save(tmp_path / "mask.png")
    assert (read_mask(tmp_path / "mask.png") == MASK).all()


def test_a_mask_in_an_archive(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "case.npz", imgs=np.zeros((40, 50)), gts=HALVES)
    assert (read_mask(tmp_path / "case.npz", (40, 50)) == MASK).all()
    np.savez(tmp_path / "volume.npz", gts=np.zeros((3, 40, 50)))
    with pytest.raises(FilmError, match="shape"):
        read_mask(tmp_path / "volume.npz")


def test_a_mask_of_probabilities_is_cut_at_half_and_one_with_nan_refused(tmp_path: Path) -> None:
    soft = np.zeros((8, 8), np.float32)
    soft[:4], soft[4:6] = 0.9, 0.1
    np.savez(tmp_path / "soft.npz", mask=soft)
    Image.fromarray(soft).save(tmp_path / "soft.tif")
    for name in ("soft.npz", "soft.tif"):
        assert np.array_equal(read_mask(tmp_path / name), soft > 0.5)
    soft[7, 7] = np.nan
    np.savez(tmp_path / "nan.npz", mask=soft)
    with pytest.raises(FilmError, match=r"nan\.npz holds NaN"):
        read_mask(tmp_path / "nan.npz")
