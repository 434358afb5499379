"""The models that ship, as a user runs them: phantoms everywhere, real films where they are present."""

import csv
import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from adaloraqat import Segmenter
from adaloraqat.bundle import load_bundle, shipped_names
from adaloraqat.datasets.manifest import Entry, evenly_spread, read_manifest, select
from adaloraqat.datasets.phantom import PHANTOM_SITES, draw_phantom
from adaloraqat.datasets.split import assign_splits
from adaloraqat.measure.clinical import clinical_measures
from adaloraqat.measure.overlap import dice
from adaloraqat.radiograph import Box, Film, read_film, read_labels, read_mask
from adaloraqat.radiograph.film import Told

FILMS = os.environ.get("ADALORAQAT_FILMS")
real_films = pytest.mark.skipif(not FILMS, reason="ADALORAQAT_FILMS names no folder of real films")
RIGHT, LEFT = 1, 2


@pytest.fixture(scope="module")
def lung_field() -> Segmenter:
    return Segmenter.load()


def test_all_models_ship() -> None:
    assert shipped_names() == ("lung-field", "lung-field-fast", "lung-open", "lung-whole", "lung-whole-fast")


def test_what_the_first_wheel_carries_may_be_used_commercially_and_names_its_films() -> None:
    folder = load_bundle("lung-open").folder
    assert "Apache-2.0 AND CC-BY-4.0" in (folder / "bundle.json").read_text()
    with (folder / "FILMS.csv").open(newline="") as file:
        films = list(csv.DictReader(file))
    assert Counter(film["collection"] for film in films) == {"covid_v7": 66, "phantom-bedside": 24}
    for film in films:
        cc_by = re.fullmatch(r"image: CC BY [34]\.0; masks CC BY 4\.0", film["licence"])
        assert cc_by or film["licence"] == "drawn by this package: Apache-2.0"


def test_the_default_finds_the_lungs_of_phantoms_without_a_box(lung_field: Segmenter) -> None:
    scores = []
    for seed in range(4):
        phantom = draw_phantom(seed, size=320, site=PHANTOM_SITES["standard"])
        scores.append(dice(lung_field.segment(phantom.pixels).mask, phantom.mask))
    assert np.mean(scores) > 0.8  # trained on real films only: phantoms are foreign to it


def test_a_box_round_one_lung_of_a_phantom_gives_that_lung(lung_field: Segmenter) -> None:
    wanted, other = [], []
    for seed in range(4):
        phantom = draw_phantom(seed, size=320, site=PHANTOM_SITES["standard"])
        lungs = [phantom.labels == side for side in (RIGHT, LEFT)]
        found = lung_field.segment_boxes(phantom.pixels, [Box.around(lung) for lung in lungs])
        for (mask, _), lung, opposite in zip(found, lungs, reversed(lungs), strict=True):
            wanted.append(dice(mask, lung))
            other.append((mask & opposite).sum() / max(1, mask.sum()))
    assert np.mean(wanted) > 0.75
    assert np.mean(other) < 0.1  # a model that ignores the box would give half its mask to the other lung


def test_a_blank_film_is_answered_with_a_warning(lung_field: Segmenter) -> None:
    result = lung_field.segment(Film(pixels=np.full((400, 400), 0.5, np.float32)))
    assert any(warning.startswith("blank") for warning in result.warnings)


def test_a_lateral_film_has_no_certain_sides_and_no_ratio() -> None:
    pixels = draw_phantom(1, size=320, site=PHANTOM_SITES["standard"]).pixels
    fast = Segmenter.load("lung-field-fast")
    frontal, lateral = (
        clinical_measures(fast.segment(Film(pixels, told=Told(view)))) for view in ("frontal", "lateral")
    )
    assert frontal is not None
    assert frontal["lung_ratio"] is not None
    assert lateral is not None
    assert (lateral["cardiothoracic_ratio"], lateral["lung_ratio"]) == (None, None)
    assert lateral["sides_certain"] is False


def test_quality_is_a_trained_prediction(lung_field: Segmenter) -> None:
    result = lung_field.segment(draw_phantom(1, size=320, site=PHANTOM_SITES["standard"]).pixels)
    assert result.quality is not None
    assert 0.5 < result.quality <= 1


@pytest.mark.parametrize(
    ("model", "films"),
    [
        ("lung-field", 32),
        ("lung-field-fast", 32),
        ("lung-whole", 24),
        ("lung-whole-fast", 32),
        ("lung-open", 8),
    ],
)
def test_the_files_answer_as_the_trained_model_did(model: str, films: int) -> None:
    parity = load_bundle(model).parity
    for engine in ("onnxruntime", "openvino"):
        layers = parity["layers"][engine]  # of integers; the others multiply in floating point
        assert layers["layers"] == 0 or layers["worst_lsb"] <= 1 + 1e-4
        assert bool(layers["layers"]) == model.endswith("-fast")
        for prompt in ("true_box", "no_box"):
            assert parity[prompt]["films"] >= films
            assert parity[prompt][engine]["equal_pixels"] >= 0.998
            assert parity[prompt][engine]["dice"] >= 0.995


@pytest.fixture(scope="module")
def films_of_the_test_split() -> list[Entry]:
    """The films that took part in no choice: the split that the models were made with, made again."""
    entries = read_manifest(Path(str(FILMS), "cxr", "manifest.csv"))
    return select(assign_splits(entries, (0.7, 0.15, 0.15)), "test")


@real_films
@pytest.mark.parametrize("most", [12, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("model", "source", "floor", "worst"),
    [
        ("lung-field", "jsrt", 0.973, 0.90),
        ("lung-field-fast", "shenzhen", 0.960, 0.80),
        ("lung-whole", "covid_v7", 0.95, 0.85),
    ],
)
def test_dice_on_the_test_split_without_a_box(
    films_of_the_test_split: list[Entry], model: str, source: str, floor: float, worst: float, most: int
) -> None:
    segmenter = Segmenter.load(model)
    scores, specks = [], 0
    entries = [entry for entry in films_of_the_test_split if entry.source == source]
    for entry in evenly_spread(entries, min(most, len(entries))):
        film = read_film(entry.path_image)
        mask = segmenter.segment(film).mask
        scores.append(dice(mask, read_mask(entry.path_mask, film.shape)))
        specks += ndimage.label(mask)[1] > 2
    assert len(scores) >= min(most, 36)
    assert specks <= 0.05 * len(scores)
    assert np.mean(scores) >= floor - (0.01 if most < len(entries) else 0)  # a few films are not the mean
    assert min(scores) >= worst


@real_films
def test_a_box_round_one_lung_of_a_real_film_gives_that_lung(lung_field: Segmenter) -> None:
    entries = [e for e in read_manifest(Path(str(FILMS), "cxr", "manifest.csv")) if e.source == "jsrt"][::40]
    scores = []
    for entry in entries:
        film = read_film(entry.path_image)
        assert entry.path_labels is not None
        labels = read_labels(entry.path_labels, film.shape)
        for side in (RIGHT, LEFT):
            lung = labels == side
            scores.append(dice(lung_field.segment(film, Box.around(lung)).mask, lung))
    assert np.mean(scores) > 0.9
