"""Models that share a name are scored each under a name of its own."""

import shutil
from pathlib import Path

from adaloraqat.cli.evaluate import load_models


def test_no_model_takes_the_name_and_the_place_of_another(bundle: Path, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a/m", "a/m-2", "b/m", "c/m")]
    for folder in folders:
        shutil.copytree(bundle, folder)
    assert list(load_models(list(map(str, folders)), "onnxruntime")) == ["m", "m-2", "m-1", "m-3"]
