import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tiny_bundle import write_tiny_bundle

from adaloraqat.bundle import Segmenter
from adaloraqat.bundle.runtimes import KEPT_MODELS, openvino_cache


def test_a_compiled_model_is_kept_and_read_back(tmp_path, monkeypatch):
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    monkeypatch.setenv("ADALORAQAT_CACHE", str(tmp_path / "cache"))
    write_tiny_bundle(tmp_path / "tiny")
    film = np.random.default_rng(0).random((70, 50)).astype(np.float32)
    first = Segmenter.load(tmp_path / "tiny", "openvino").segment(film)
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "openvino").rglob("*.blob")}
    assert len(kept) == 2
    again = Segmenter.load(tmp_path / "tiny", "openvino").segment(film)
    np.testing.assert_array_equal(first.probability, again.probability)
    after = (tmp_path / "cache" / "openvino").rglob("*.blob")
    assert {path.name: path.stat().st_mtime_ns for path in after} == kept


def test_only_the_last_used_models_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("ADALORAQAT_CACHE", str(tmp_path))
    for number in range(KEPT_MODELS + 3):
        folder = openvino_cache(f"{number:064d}"[::-1])
        os.utime(folder, (number, number))
    assert len(list((tmp_path / "openvino").iterdir())) == KEPT_MODELS


@pytest.mark.parametrize("value", ["off", "0", ""])
def test_the_cache_can_be_switched_off(monkeypatch, value):
    monkeypatch.setenv("ADALORAQAT_CACHE", value)
    assert openvino_cache("a" * 64) is None


def test_without_a_place_to_write_there_is_no_cache_and_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ADALORAQAT_CACHE", str(tmp_path / "file"))
    assert openvino_cache("a" * 64) is None


def test_it_lies_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("ADALORAQAT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert openvino_cache("a" * 64) == tmp_path / "adaloraqat" / "openvino" / ("a" * 32)
    assert os.listdir(tmp_path) == ["adaloraqat"]


def test_openvino_opens_one_graph_at_a_time(tmp_path, monkeypatch):
    """It changes the locale of the process meanwhile; two at once would leave it changed."""
    openvino = pytest.importorskip("openvino")
    monkeypatch.setenv("ADALORAQAT_CACHE", "off")
    write_tiny_bundle(tmp_path / "tiny")
    compile_model, opening, most = openvino.Core.compile_model, [], []

    def slowly(core, *given):
        opening.append(1)
        most.append(len(opening))
        time.sleep(0.05)
        opening.pop()
        return compile_model(core, *given)

    monkeypatch.setattr(openvino.Core, "compile_model", slowly)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: Segmenter.load(tmp_path / "tiny", engine="openvino"), range(3)))
    assert most == [1] * 6
