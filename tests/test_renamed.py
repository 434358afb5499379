"""What was renamed answers to its old name for a version, with a warning that gives the new one."""

import sys
from importlib import import_module

import pytest

from adaloraqat.challenge.phantoms import write_case_phantoms
from adaloraqat.evaluate.films import choose_scored
from adaloraqat.renamed import MODULES


@pytest.mark.parametrize("old", MODULES)
def test_a_module_imports_under_its_old_name(old: str) -> None:
    new, names = MODULES[old]
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=new):
        module = import_module(old)
    for before, after in names.items():
        assert getattr(module, before) is getattr(import_module(new), after)
    sys.modules.pop(old)  # so that the next import warns again


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("bundle.plausibility", "doubts", "plausibility_warnings"),
        ("datasets.listing", "Outline", "MaskSource"),
        ("export.layer_parity", "products_only", "extract_subgraph"),
        ("models.published", "TABLE", "PUBLISHED_WEIGHTS"),
        ("report.pictures", "Outline", "Contour"),
        ("report.pictures", "draw_outlines", "draw_contours"),
    ],
)
def test_a_name_works_under_its_old_name(module: str, old: str, new: str) -> None:
    found = import_module(f"adaloraqat.{module}")
    with pytest.warns(DeprecationWarning, match=new):
        assert getattr(found, old) is getattr(found, new)
    with pytest.raises(AttributeError, match="nowhere"):
        found.nowhere  # noqa: B018


def test_a_progress_callback_of_before_still_counts(tmp_path) -> None:
    counted = []

    def track(items):
        for item in items:
            counted.append(item)
            yield item

    with pytest.warns(DeprecationWarning, match=r"write_case_phantoms\(progress=\)"):
        write_case_phantoms(tmp_path, {"US": 2}, size=64, track=track)
    assert len(counted) == 2
    assert choose_scored(tmp_path / "manifest.csv", "all")


def test_a_model_still_knows_its_measures() -> None:
    from adaloraqat.models.lite_medsam import build_lite_medsam
    from adaloraqat.models.registry import architecture

    config = architecture("lite_medsam_tiny")
    model = build_lite_medsam(config)
    with pytest.warns(DeprecationWarning, match="lite_medsam_config"):
        assert model.measures == config
