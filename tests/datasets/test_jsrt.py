"""JSRT and SCR, in miniature as the archive has it."""

from pathlib import Path

import numpy as np
import pytest
from miniature import GREY, block, indexed, save

from adaloraqat.errors import ManifestError
from adaloraqat.radiograph import read_labels, read_mask


def scr(root: Path, stem: str, fold: int) -> None:
    """The masks of one film as SCR has them: GIF, half the film's size, the right lung at the left."""
    parts = {
        "right lung": block(2, 1, 12, 6, 16),
        "left lung": block(2, 9, 12, 15, 16),
        "heart": block(6, 5, 14, 11, 16),
        "left clavicle": block(0, 9, 2, 15, 16),
        "right clavicle": block(0, 1, 2, 6, 16),
    }
    for name, mask in parts.items():
        save(root / "scratch" / f"fold{fold}" / "masks" / name / f"{stem}.gif", mask)


@pytest.fixture
def jsrt(tmp_path):
    root = tmp_path / "JSRT"
    for number, stem in enumerate(("JPCLN001", "JPCLN002", "JPCNN001"), start=1):
        save(root / "images" / f"{stem}.png", GREY)
        scr(root, stem, fold=1 if number % 2 else 2)
    save(root / "images" / "JPCNN002.png", GREY)
    (root / "images" / "CLNDAT_EN.TXT").write_text("a table")
    save(root / "__MACOSX" / "images" / "JPCLN001.png", GREY)
    return root


def test_jsrt_joins_the_lungs_on_the_films_grid_and_labels_them(jsrt, tmp_path):
    entries, said = indexed("jsrt", jsrt, tmp_path / "out")
    assert list(entries) == ["JPCLN001", "JPCLN002", "JPCNN001"]
    film = entries["JPCLN001"]
    assert (film.outlines, film.diagnosis, film.view) == ("lung-field", "lung nodule", "PA")
    assert entries["JPCNN001"].diagnosis == "no nodule"
    assert film.spacing_mm == pytest.approx((11.2, 11.2))  # 2048 * 0.175 mm over 32 px
    assert "citation" in film.licence
    mask = read_mask(film.path_mask, (32, 32))
    assert mask[4:24, 2:12].all()  # the right lung, rows 2-12 of 16 doubled
    assert mask[4:24, 18:30].all()
    assert mask.sum() == 20 * 10 + 20 * 12
    labels = read_labels(film.path_labels, (32, 32))
    assert (labels[8, 5], labels[8, 25], labels[26, 15]) == (1, 2, 3)
    assert (mask == np.isin(labels, (1, 2))).all()  # the lungs lie over the heart
    assert film.path_mask.parent == tmp_path / "out" / "films_masks"
    assert any("1 film is skipped, without a mask: JPCNN002." in word for word in said)
    assert any("3 films with masks were found, 244 fewer than the 247" in word for word in said)


def test_jsrt_heart_and_clavicles(jsrt, tmp_path):
    entries, _ = indexed("jsrt", jsrt, tmp_path / "out", "heart")
    assert read_mask(entries["JPCLN002"].path_mask).sum() == 4 * 8 * 6
    assert entries["JPCLN002"].path_labels is None
    entries, _ = indexed("jsrt", jsrt, tmp_path / "out", "clavicles")
    assert read_mask(entries["JPCLN002"].path_mask).sum() == 4 * 2 * (6 + 5)


def test_jsrt_takes_the_raw_film_before_its_copy(jsrt, tmp_path):
    raw = np.full((2048, 2048), 2000, dtype=">u2")
    raw[600:1400, 300:800] = 3000
    (jsrt / "All247images").mkdir()
    raw.tofile(jsrt / "All247images" / "JPCLN001.IMG")
    entries, _ = indexed("jsrt", jsrt, tmp_path / "out")
    film = entries["JPCLN001"]
    assert film.path_image.name == "JPCLN001.IMG"
    assert film.spacing_mm == (0.175, 0.175)
    assert read_mask(film.path_mask).shape == (2048, 2048)
    assert entries["JPCLN002"].path_image.suffix == ".png"


def test_jsrt_without_scr_or_with_half_of_it(jsrt, tmp_path):
    (jsrt / "scratch" / "fold2" / "masks" / "left lung" / "JPCLN002.gif").unlink()
    entries, said = indexed("jsrt", jsrt, tmp_path / "out")
    assert "JPCLN002" not in entries  # half a mask is no mask
    assert any("2 films are skipped" in word for word in said)
    save(tmp_path / "plain" / "JPCLN001.png", GREY)
    with pytest.raises(ManifestError, match="fold1 and fold2"):
        indexed("jsrt", tmp_path / "plain", tmp_path / "out")
