import numpy as np
import pydicom
import pytest
from PIL import Image

from adaloraqat.datasets.manifest import read_manifest
from adaloraqat.datasets.phantom import PHANTOM_SITES, draw_phantom, write_phantoms
from adaloraqat.errors import FilmError, ManifestError
from adaloraqat.radiograph import read_film

SITES = sorted(PHANTOM_SITES)


@pytest.fixture(scope="module", params=SITES)
def phantoms(request):
    return request.param, [draw_phantom(seed, 128, request.param) for seed in range(16)]


def test_shapes_ranges_and_kinds(phantoms):
    _, films = phantoms
    for film in films:
        assert film.pixels.shape == film.mask.shape == film.labels.shape == (128, 128)
        assert (film.pixels.dtype, film.mask.dtype, film.labels.dtype) == (np.float32, np.bool_, np.uint8)
        assert np.isfinite(film.pixels).all()
        assert 0 <= film.pixels.min() < film.pixels.max() <= 1
        assert (film.mask == np.isin(film.labels, (1, 2))).all()
        assert all(0.5 < spacing * 128 / 350 < 2 for spacing in film.spacing_mm)


def test_anatomy_is_where_it_belongs(phantoms):
    _, films = phantoms
    for film in films:
        centres = {label: np.argwhere(film.labels == label).mean(0) for label in (1, 2, 3)}
        areas = {label: (film.labels == label).mean() for label in (1, 2, 3)}
        assert (
            centres[1][1] < centres[3][1] < centres[2][1]
        )  # right lung, heart, left lung from left to right
        assert centres[3][0] > max(centres[1][0], centres[2][0])  # the heart lies low
        assert 0.05 < areas[1] < 0.3
        assert 0.04 < areas[2] < 0.3
        assert film.pixels[film.mask].mean() < film.pixels[film.labels == 3].mean()  # air is dark


def test_each_lung_is_one_piece(phantoms):
    _, films = phantoms
    for film in films:
        for label in (1, 2):
            assert largest_part(film.labels == label) > 0.97


def largest_part(mask):
    """Share of the largest 4-connected part, by flooding from its seeds."""
    left, best = mask.copy(), 0
    while left.any():
        part = np.zeros_like(mask)
        part[tuple(np.argwhere(left)[0])] = True
        while True:
            grown = part.copy()
            grown[1:] |= part[:-1]
            grown[:-1] |= part[1:]
            grown[:, 1:] |= part[:, :-1]
            grown[:, :-1] |= part[:, 1:]
            grown &= mask
            if (grown == part).all():
                break
            part = grown
        best = max(best, part.sum())
        left &= ~part
    return best / mask.sum()


def test_films_vary(phantoms):
    _, films = phantoms
    areas = [film.mask.mean() for film in films]
    assert max(areas) > 1.15 * min(areas)
    assert len({film.pixels.tobytes() for film in films}) == len(films)


@pytest.mark.parametrize("site", SITES)
def test_same_seed_same_film_at_any_size(site):
    first, again = draw_phantom(11, 96, site), draw_phantom(11, 96, site)
    assert first.pixels.tobytes() == again.pixels.tobytes()
    assert (first.labels == again.labels).all()
    larger = draw_phantom(11, 192, site)
    assert (larger.mask[::2, ::2] == first.mask).mean() > 0.98  # the same chest on a finer grid


def test_the_whole_lung_reaches_behind_the_heart():
    by_convention = {}
    for whole in (False, True):
        site = PHANTOM_SITES["bedside"]
        changed = type(site)(**{**vars(site), "whole_lung": whole})
        by_convention[whole] = draw_phantom(4, 128, changed)
    field, whole = by_convention[False], by_convention[True]
    assert (field.pixels == whole.pixels).all()
    assert not (field.mask & ~whole.mask).any()
    assert (whole.mask & (field.labels == 3)).sum() > 0.15 * (field.labels == 3).sum()
    assert whole.mask.sum() > 1.1 * field.mask.sum()


def test_two_films_of_a_patient_share_the_anatomy():
    site = PHANTOM_SITES["standard"]
    still = type(site)(**{**vars(site), "angle": (0, 0), "zoom": (1, 1), "shift": (0, 0), "stretch": (1, 1)})
    first, second = (draw_phantom(seed, 96, still, patient_seed=5) for seed in (1, 2))
    assert (first.labels == second.labels).all()
    assert not (first.pixels == second.pixels).all()
    assert not (draw_phantom(1, 96, still, patient_seed=6).labels == first.labels).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 8), "size from 32"),
        ((0, 5000), "size from 32"),
        ((-1, 64), "negative"),
        ((0, 64, "moon"), "bedside, standard"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(FilmError, match=message):
        draw_phantom(*arguments)


def test_writes_a_data_set_that_reads_back(tmp_path):
    entries = write_phantoms(tmp_path / "a", 20, seed=3, size=64)
    write_phantoms(tmp_path / "b", 20, seed=3, size=64)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) == 61
    assert all((tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes() for path in files)
    read = read_manifest(tmp_path / "a" / "manifest.csv")
    assert [(e.id, e.split, e.patient_id) for e in read] == [(e.id, e.split, e.patient_id) for e in entries]
    assert {e.split for e in read} == {"train", "val", "test"}
    assert {e.source for e in read} == {"phantom-standard"}
    films = [sum(e.patient_id == patient for e in read) for patient in {e.patient_id for e in read}]
    assert set(films) == {1, 2}
    mask, labels = (np.asarray(Image.open(p)) for p in (read[0].path_mask, read[0].path_labels))
    assert set(np.unique(mask)) == {0, 255}
    assert ((mask == 255) == np.isin(labels, (1, 2))).all()


def test_dicom_films_hold_the_same_picture(tmp_path):
    write_phantoms(tmp_path / "png", 8, seed=1, size=128)
    entries = write_phantoms(tmp_path / "dcm", 8, seed=1, size=128, dicom=True)
    kinds = set()
    for entry in entries:
        dataset = pydicom.dcmread(entry.path_image)
        kinds.add(dataset.PhotometricInterpretation)
        values = (dataset.pixel_array - float(dataset.WindowCenter) + 0.5) / (
            float(dataset.WindowWidth) - 1
        ) + 0.5
        film = 1 - values if dataset.PhotometricInterpretation == "MONOCHROME1" else values
        png = np.asarray(Image.open(tmp_path / "png" / "images" / f"{entry.id}.png")) / 255
        assert np.abs(film - png).max() < 0.003
        # a reader may place an inverted film's zero at its own densest pixel: a constant, no other picture
        assert np.ptp(read_film(entry.path_image).pixels - png) < 0.006
        assert read_film(entry.path_image).spacing_mm == pytest.approx(entry.spacing_mm, abs=1e-3)
    assert kinds == {"MONOCHROME1", "MONOCHROME2"}


@pytest.mark.parametrize(("count", "seed", "error"), [(0, 0, ManifestError), (1, -1, FilmError)])
def test_bad_orders_write_nothing(tmp_path, count, seed, error):
    with pytest.raises(error):
        write_phantoms(tmp_path / "out", count, seed, size=64)
    assert not (tmp_path / "out").exists()
