"""What SAM ViT-B at 1024 px weighs as files, by the command that the README names."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SIZES = Path(__file__).parents[2] / "benchmarks/sizes.py"


@pytest.mark.slow
def test_sam_vit_b_is_as_much_smaller_as_the_readme_says(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(SIZES), "--out", str(tmp_path / "sizes.json")], check=True)
    smaller = json.loads((tmp_path / "sizes.json").read_text())["times_smaller"]
    assert smaller["paper"] >= 2.24
    assert smaller["int8"] >= 3.7
