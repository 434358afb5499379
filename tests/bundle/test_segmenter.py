import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_bundle import two_lungs, write_tiny_bundle

import adaloraqat
from adaloraqat import Segmenter
from adaloraqat.bundle import engine as engines
from adaloraqat.bundle.cpu import weight_range_warning
from adaloraqat.bundle.segmenter import second_box
from adaloraqat.errors import BundleError, FilmError
from adaloraqat.radiograph import Box, Film, Frame

ENGINES = ["onnxruntime", "openvino"]
HALF = (0, 0, 64, 128)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    write_tiny_bundle(folder)
    return folder


@pytest.fixture(scope="module")
def segmenter(folder: Path) -> Segmenter:
    return Segmenter.load(folder, threads=1)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.mark.parametrize("shape", [(128, 128), (100, 150), (211, 97), (1000, 900), (40, 33)])
def test_whole_film_on_its_own_grid(segmenter: Segmenter, shape: tuple[int, int]) -> None:
    film = two_lungs(*shape)
    result = segmenter.segment(film)
    assert result.mask.shape == result.probability.shape == shape
    assert result.mask.dtype == bool
    assert result.probability.dtype == np.float32
    assert np.array_equal(result.mask, result.probability > 0.5)
    assert dice(result.mask, film < 100) > 0.85  # the grid is coarse
    assert result.box == (0, 0, shape[1], shape[0])
    assert result.box_source == "whole film"
    assert result.area_px == result.mask.sum()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_box_is_obeyed(folder: Path, engine: str) -> None:
    segmenter = Segmenter.load(folder, engine=engine)
    film = two_lungs()
    left = segmenter.segment(film, HALF)
    right = segmenter.segment(film, Box(64, 0, 128, 128))
    assert left.box_source == right.box_source == "given"
    assert left.mask[:, :64].sum() > 1000 < right.mask[:, 64:].sum()
    assert not left.mask[:, 66:].any()
    assert not right.mask[:, :62].any()
    assert left.warnings == []  # one lung is what was asked for


def test_engines_agree(folder: Path) -> None:
    film = two_lungs(90, 120)
    a, b = (Segmenter.load(folder, engine=name).segment(film) for name in ENGINES)
    assert np.abs(a.probability - b.probability).max() < 1e-5


def test_paths_films_and_arrays_give_the_same(segmenter: Segmenter, tmp_path: Path) -> None:
    film = two_lungs()
    Image.fromarray(film).save(tmp_path / "film.png")
    masks = [
        segmenter.segment(given).mask
        for given in (film, tmp_path / "film.png", str(tmp_path / "film.png"), Film(film / np.float32(255)))
    ]
    assert all(np.array_equal(masks[0], mask) for mask in masks[1:])


def test_spacing_gives_the_area_in_mm2(segmenter: Segmenter) -> None:
    result = segmenter.segment(Film(two_lungs() / np.float32(255), spacing_mm=(0.5, 0.25)))
    assert result.area_mm2 == pytest.approx(result.area_px * 0.125)
    assert segmenter.segment(two_lungs()).area_mm2 is None


def prompted(tmp_path: Path, **settings: object) -> Segmenter:
    prompt = {"second_pass": True, "quality_trained": True}
    write_tiny_bundle(tmp_path / "prompted", **{"prompt": prompt, **settings})  # type: ignore[arg-type]
    return Segmenter.load(tmp_path / "prompted")


class Counting:
    """An engine that counts what the real one is asked."""

    def __init__(self, engine: engines.Engine) -> None:
        self.name, self._engine, self.encoded, self.boxes = engine.name, engine, 0, []

    def encode(self, image: np.ndarray) -> np.ndarray:
        self.encoded += 1
        return self._engine.encode(image)

    def decode(self, embedding: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.boxes.append(boxes.tolist())
        return self._engine.decode(embedding, boxes)


def test_second_pass_reuses_the_embedding_with_the_box_of_the_two_largest_parts(tmp_path: Path) -> None:
    film = np.full((128, 128), 200, np.uint8)
    film[32:96, 16:48] = film[24:88, 72:112] = 40
    film[120:124, 120:124] = 40  # a speck that must not widen the box
    loaded = prompted(tmp_path)
    counting = Counting(loaded.engine)
    result = Segmenter(loaded.bundle, counting).segment(film)
    assert counting.encoded == 1
    # the film is halved to 64 px; the decoder's cells are one model pixel; blocks of 4 px are uniform here
    assert counting.boxes == [[[0, 0, 64, 64]], [[8, 12, 56, 48]]]
    assert result.box == (16, 24, 112, 96)
    assert result.box_source == "second pass"
    assert not result.mask[115:, 115:].any()


def test_no_second_pass_with_a_box(tmp_path: Path) -> None:
    loaded = prompted(tmp_path)
    counting = Counting(loaded.engine)
    result = Segmenter(loaded.bundle, counting).segment(two_lungs(), HALF)
    assert len(counting.boxes) == 1
    assert result.box == HALF


def test_an_empty_first_mask_is_kept_and_flagged(tmp_path: Path) -> None:
    result = prompted(tmp_path, threshold=-9.0).segment(two_lungs())
    assert not result.mask.any()
    assert result.box_source == "whole film"
    assert [warning.split(":")[0] for warning in result.warnings] == ["empty-mask"]


@pytest.mark.parametrize(("shape", "size"), [((200, 100), (64, 32)), ((100, 200), (32, 64))])
def test_the_second_box_leaves_the_padding_out(shape: tuple[int, int], size: tuple[int, int]) -> None:
    frame = Frame.of(shape, 64)
    assert frame.resized == size
    logits = np.full((16, 16), -1.0, np.float32)  # a cell is 4 model pixels
    logits[2:4, 1:3] = logits[5:7, 4:6] = 1.0
    lungs = second_box(logits, frame)
    assert lungs == pytest.approx(tuple(edge * 4 * 200 / 64 for edge in (1, 2, 6, 7)))
    height, width = size[0] // 4, size[1] // 4
    logits[height:] = logits[:, width:] = 1.0  # all of the padding, larger than any lung
    assert second_box(logits, frame) == lungs
    logits[:height, :width] = -1.0
    assert second_box(logits, frame) is None


class Blind(Counting):
    """An engine that, asked a second time, finds nothing on the film; of the padding it says `padding`."""

    def __init__(self, engine: engines.Engine, padding: float) -> None:
        super().__init__(engine)
        self.padding = padding

    def decode(self, embedding: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, quality = super().decode(embedding, boxes)
        if len(self.boxes) > 1:
            logits, quality = np.full_like(logits, -1.0), quality / 2
            logits[..., logits.shape[-1] // 2 :] = self.padding
        return logits, quality


@pytest.mark.parametrize("padding", [-1.0, 1.0])
def test_a_second_pass_that_finds_nothing_does_not_undo_the_first(tmp_path: Path, padding: float) -> None:
    loaded, film = prompted(tmp_path), two_lungs(128, 64)
    once = Segmenter(loaded.bundle, loaded.engine).segment(film, (0, 0, 64, 128))
    blind = Blind(loaded.engine, padding)
    result = Segmenter(loaded.bundle, blind).segment(film)
    assert len(blind.boxes) == 2
    assert result.mask.any()
    assert np.array_equal(result.mask, once.mask)
    assert (result.box_source, result.box, result.quality) == ("whole film", (0, 0, 64, 128), once.quality)


@pytest.mark.parametrize(("raw", "expected"), [(0.875, 0.875), (1.7, 1.0), (-0.2, 0.0), (np.nan, None)])
def test_quality_is_clipped(tmp_path: Path, raw: float, expected: float | None) -> None:
    assert prompted(tmp_path, quality=raw).segment(two_lungs()).quality == expected


def test_quality_is_null_unless_trained(tmp_path: Path) -> None:
    prompt = {"second_pass": False, "quality_trained": False}
    assert prompted(tmp_path, prompt=prompt).segment(two_lungs()).quality is None


@pytest.mark.parametrize("box", [(10, 10, 5, 20), (200, 0, 300, 50), (0, 0, np.nan, 5)])
def test_bad_boxes(segmenter: Segmenter, box: tuple[float, ...]) -> None:
    with pytest.raises(FilmError, match="The box"):
        segmenter.segment(two_lungs(), box)


@pytest.mark.parametrize("film", [np.zeros((2, 3, 4, 5)), np.full((32, 32), np.nan), np.zeros((0, 5))])
def test_bad_arrays(segmenter: Segmenter, film: np.ndarray) -> None:
    with pytest.raises(FilmError):
        segmenter.segment(film)


def test_unknown_engine_and_threads(folder: Path) -> None:
    with pytest.raises(BundleError, match="choose one of onnxruntime, openvino"):
        Segmenter.load(folder, engine="tensorrt")
    with pytest.raises(BundleError, match="give 1 or more"):
        Segmenter.load(folder, threads=0)


def test_openvino_absent(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BundleError, match=r"pip install '\.\[openvino\]'"):
        Segmenter.load(folder, engine="openvino")


@pytest.mark.parametrize("engine", ENGINES)
def test_graphs_that_do_not_fit(tmp_path: Path, engine: str) -> None:
    bundle = write_tiny_bundle(tmp_path / "tiny")
    bundle.decoder.write_bytes(bundle.encoder.read_bytes())
    with pytest.raises(BundleError, match="does not have the inputs and outputs"):
        engines.load_engine(bundle, engine)
    bundle.decoder.write_bytes(b"no graph at all")
    with pytest.raises(BundleError, match=r"cannot open decoder\.onnx"):
        engines.load_engine(bundle, engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_preprocessing_that_does_not_fit(tmp_path: Path, engine: str) -> None:
    wrong = {**write_tiny_bundle(tmp_path / "a").preprocessing.to_dict(), "image_size": 96}
    write_tiny_bundle(tmp_path / "b", preprocessing=wrong)
    with pytest.raises(
        BundleError, match=r"takes images of 1 x 64 x 64 and its bundle\.json says 1 x 96 x 96"
    ):
        Segmenter.load(tmp_path / "b", engine=engine)


def test_full_weight_range_warns_without_vnni(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    precision = {"policy": "int8", "weight_range": "full", "modules": {}}
    write_tiny_bundle(tmp_path / "full", precision=precision)
    for vnni, count in ((True, 0), (False, 1), (None, 1)):
        monkeypatch.setattr("adaloraqat.bundle.cpu.has_vnni", lambda vnni=vnni: vnni)
        assert len(Segmenter.load(tmp_path / "full").warnings) == count
        assert weight_range_warning("portable") is None


def test_segmenting_from_python_never_imports_torch(folder: Path, tmp_path: Path) -> None:
    Image.fromarray(two_lungs()).save(tmp_path / "film.png")
    script = (
        "import sys, adaloraqat; assert 'numpy' not in sys.modules;"
        f"adaloraqat.Segmenter.load({str(folder)!r}).segment({str(tmp_path / 'film.png')!r});"
        "print([m for m in ('torch','transformers','peft','scipy','onnx','openvino','pydicom') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_package_names_its_segmenter() -> None:
    assert adaloraqat.Segmenter is Segmenter
    assert adaloraqat.Segmentation.__name__ == "Segmentation"
