"""Many films through one Segmenter, and one Segmenter in many processes."""

import json
import pickle
import threading
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_bundle import two_lungs, write_tiny_bundle

import adaloraqat
from adaloraqat import FilmError, OutputError, Segmentation, Segmenter
from adaloraqat.errors import BundleError
from adaloraqat.radiograph import read_mask


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    write_tiny_bundle(folder)
    return folder


@pytest.fixture(scope="module")
def segmenter(folder: Path) -> Segmenter:
    return Segmenter.load(folder, threads=1)


def test_a_pickled_segmenter_gives_the_same_mask_in_another_process(segmenter: Segmenter) -> None:
    film = two_lungs()
    raw = pickle.dumps(segmenter)
    assert len(raw) < 1000  # the path and the settings, not the weights
    with get_context("spawn").Pool(1) as pool:
        [result] = pool.map(segmenter.segment, [film])
    assert (result.mask == segmenter.segment(film).mask).all()
    assert result.mask.any()
    copy = pickle.loads(raw)
    assert copy.engine.settings == segmenter.engine.settings == ("onnxruntime", 1)


def test_a_pickle_whose_bundle_has_gone_is_refused(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "tiny")
    raw = pickle.dumps(Segmenter.load(tmp_path / "tiny"))
    (tmp_path / "tiny/encoder.onnx").write_bytes(b"another")
    with pytest.raises(BundleError, match="damaged"):
        pickle.loads(raw)


def test_an_engine_without_a_bundle_is_not_pickled(segmenter: Segmenter) -> None:
    other = Segmenter(segmenter.bundle, SimpleNamespace(name="pytorch"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="pytorch cannot be pickled"):
        pickle.dumps(other)


def test_many_films_come_in_order(segmenter: Segmenter) -> None:
    films = [two_lungs(100 + number, 90) for number in range(9)]
    results = list(segmenter.segment_many(films, box=(0, 0, 50, 90)))
    for film, result in zip(films, results, strict=True):
        assert isinstance(result, Segmentation)
        assert (result.mask == segmenter.segment(film, (0, 0, 50, 90)).mask).all()


def test_a_bad_film_raises_or_takes_its_place(segmenter: Segmenter, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no film")
    films = [two_lungs(), tmp_path / "bad.png", two_lungs()]
    given = list(segmenter.segment_many(films, errors="return"))
    assert [type(one).__name__ for one in given] == ["Segmentation", "FilmError", "Segmentation"]
    raising = segmenter.segment_many(films)
    next(raising)
    with pytest.raises(FilmError):
        next(raising)
    with pytest.raises(ValueError, match="return"):
        segmenter.segment_many(films, errors="ignore")


def test_films_before_an_error_of_the_source_are_segmented(segmenter: Segmenter) -> None:
    def source() -> Iterator[np.ndarray]:
        yield two_lungs()
        yield two_lungs()
        raise LookupError("the source ends badly")

    many = segmenter.segment_many(source())
    assert [type(next(many)).__name__ for _ in range(2)] == ["Segmentation", "Segmentation"]
    with pytest.raises(LookupError, match="ends badly"):
        next(many)


@pytest.mark.parametrize("box", [(0, 0, 50), "box", (0, 0, None, 90), 7])
def test_what_is_no_box_takes_the_films_place(segmenter: Segmenter, box: object) -> None:
    [error] = segmenter.segment_many([two_lungs()], box=box, errors="return")  # type: ignore[arg-type]
    assert isinstance(error, FilmError)
    assert "four numbers" in str(error)


def test_a_name_that_no_file_can_have_takes_the_films_place(segmenter: Segmenter) -> None:
    [error] = segmenter.segment_many(["film\0.png"], errors="return")
    assert isinstance(error, FilmError)


def test_films_are_taken_only_a_little_ahead(segmenter: Segmenter) -> None:
    taken = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        while True:
            taken += 1
            yield two_lungs()

    many = segmenter.segment_many(endless())
    for done in range(1, 6):
        next(many)
        assert taken <= done + ahead()
    many.close()


def ahead() -> int:
    from adaloraqat.radiograph.formats import READ_AHEAD

    return READ_AHEAD


def test_reading_goes_on_beside_inference(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the first film is in the network, another thread has read the next one."""
    from adaloraqat.radiograph import formats as module

    real_read, real_embed = module.as_film, Segmenter.embed
    read: list[tuple[int, ...]] = []
    second = threading.Event()

    def reading(film: np.ndarray) -> object:
        if threading.current_thread().name.startswith("adaloraqat-reader"):
            read.append(film.shape)
        if len(read) == 2:
            second.set()
        return real_read(film)

    def embedding(self: Segmenter, pixels: np.ndarray, aspect: float) -> object:
        assert second.wait(10), "the next film was not read meanwhile"
        return real_embed(self, pixels, aspect)

    monkeypatch.setattr(module, "as_film", reading)
    monkeypatch.setattr(Segmenter, "embed", embedding)
    many = segmenter.segment_many([two_lungs(), two_lungs()])
    next(many)
    many.close()


def test_a_result_saves_and_tells_itself(segmenter: Segmenter, tmp_path: Path) -> None:
    result = segmenter.segment(two_lungs(100, 140))
    result.save(tmp_path / "sub/mask.png")
    assert (read_mask(tmp_path / "sub/mask.png") == result.mask).all()
    with pytest.raises(OutputError, match=r"\.png"):
        result.save(tmp_path / "mask.jpg")
    told = json.loads(json.dumps(result.to_dict()))
    assert told["width"] == 140
    assert told["height"] == 100
    assert told["area_px"] == int(result.mask.sum())
    assert told["box"] == [0, 0, 140, 100]
    assert "mask" not in told
    assert "array" not in repr(result)


def test_names_at_the_top(segmenter: Segmenter) -> None:
    assert repr(segmenter) == "Segmenter('tiny', engine='onnxruntime', outlines='dark pixels')"
    assert {"Segmenter", "Segmentation", "FilmError", "BundleError", "OutputError"} <= set(dir(adaloraqat))
    assert adaloraqat.FilmError is FilmError
    assert issubclass(adaloraqat.BundleError, adaloraqat.AdaloraqatError)
    for name in adaloraqat.__all__:
        assert getattr(adaloraqat, name)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = adaloraqat.Nothing


@pytest.mark.parametrize(
    ("engine", "sentence"),
    [
        ("tensorrt", "choose one of onnxruntime, openvino"),
        ("onnxruntime:tpu", "choose one of cpu, cuda, directml, coreml"),
        ("onnxruntime:directml", "finds no directml on this computer: use onnxruntime"),
        ("openvino:npu", "choose one of cpu, gpu"),
    ],
)
def test_engines_that_are_not_there_are_refused(folder: Path, engine: str, sentence: str) -> None:
    with pytest.raises(BundleError, match=sentence):
        Segmenter.load(folder, engine)


def test_openvino_without_a_gpu_is_refused(folder: Path) -> None:
    openvino = pytest.importorskip("openvino", reason="openvino is not installed")
    if any(device.startswith("GPU") for device in openvino.Core().available_devices):
        pytest.skip("this computer has a GPU for OpenVINO")
    with pytest.raises(BundleError, match="openvino finds no gpu on this computer: use openvino"):
        Segmenter.load(folder, "openvino:gpu")


def test_the_cpu_can_be_named(folder: Path) -> None:
    assert Segmenter.load(folder, "onnxruntime:cpu").engine.name == "onnxruntime"
