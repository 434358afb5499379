"""Malformed annotations: a sentence or a result, never another exception."""

import json
from contextlib import suppress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from miniature import GREY, save

from adaloraqat.datasets.index import index_films
from adaloraqat.datasets.siim_acr import RunLengths
from adaloraqat.datasets.sources import find_source
from adaloraqat.errors import AdaloraqatError, FilmError

QUIET = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NUMBERS = st.one_of(st.floats(), st.integers(), st.text(max_size=3), st.none())
POINTS = st.lists(st.fixed_dictionaries({"x": NUMBERS, "y": NUMBERS}), max_size=4)
VALID = [{"x": 1, "y": 1}, {"x": 9, "y": 1}, {"x": 9, "y": 9}]
KEYS = st.sampled_from(["path", "paths", "x", "y", "polygon", "name"])
ANYTHING = st.recursive(
    NUMBERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
PATHS = st.one_of(st.just(VALID), POINTS, st.lists(POINTS, max_size=2), ANYTHING)
SHAPES = st.fixed_dictionaries({}, optional={"path": PATHS, "paths": PATHS, "additional_paths": PATHS})
LUNGS = st.one_of(
    st.fixed_dictionaries({"name": st.just("Lung"), "polygon": SHAPES}),
    st.fixed_dictionaries({"name": st.just("Lung"), "complex_polygon": SHAPES}),
    ANYTHING,
)
IMAGES = st.one_of(
    st.fixed_dictionaries({"filename": st.just("film.png")}, optional={"width": NUMBERS, "height": NUMBERS}),
    ANYTHING,
)


@QUIET
@given(image=IMAGES, annotations=st.one_of(st.lists(LUNGS, max_size=3), ANYTHING))
def test_darwin_json(tmp_path, image, annotations):
    save(tmp_path / "v7" / "images" / "film.png", GREY)
    document = {"image": image, "annotations": annotations}
    (tmp_path / "v7" / "film.json").write_text(json.dumps(document))
    with suppress(AdaloraqatError):
        listing = find_source("v7_covid19").listing(tmp_path / "v7")
        (entry,) = index_films(listing, tmp_path / "films.csv").entries
        assert entry.path_mask.is_file()


@QUIET
@given(text=st.one_of(st.text(max_size=20), st.lists(st.integers(-3, 500), max_size=8).map(
    lambda numbers: " ".join(map(str, numbers)))))  # fmt: skip
def test_run_lengths(text):
    with suppress(FilmError):
        assert RunLengths("film.dcm", (text,)).draw((20, 10)).mask.shape == (20, 10)


DESCRIPTIONS = st.fixed_dictionaries(
    {"labels": ANYTHING, "file_ending": st.just(".png")}, optional={"channel_names": ANYTHING}
)


@QUIET
@given(document=st.one_of(ANYTHING, DESCRIPTIONS))
def test_nnunet_description(tmp_path, document):
    root = tmp_path / "Dataset001_X"
    save(root / "imagesTr" / "a_0000.png", GREY)
    save(root / "labelsTr" / "a.png", GREY // 128)
    (root / "dataset.json").write_text(json.dumps(document))
    with suppress(AdaloraqatError):
        index_films(find_source("nnunet").listing(root), tmp_path / "films.csv")
