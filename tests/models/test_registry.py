import subprocess
import sys

import pytest

from adaloraqat.errors import RecipeError
from adaloraqat.models import registry, sam


def test_names():
    assert registry.architecture("small") == sam.SMALL
    assert registry.architecture("vit_b") == sam.VIT_B
    with pytest.raises(RecipeError, match=r"'vit_x'.*small, tiny, vit_b, vit_l, vit_h"):
        registry.architecture("vit_x")


def test_the_registry_needs_no_torch():
    code = (
        "import sys, adaloraqat.models.registry as r; r.architecture('vit_b').to_dict();"
        "sys.exit(any(m in sys.modules for m in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
