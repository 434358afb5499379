"""MONAI's metrics on random shapes: equal where the definitions are; elsewhere near on these, not on all."""

import sys
from pathlib import Path

import numpy as np
import pytest

from adaloraqat.measure.film_scores import score_film

sys.path.insert(0, str(Path(__file__).parent))
from outlines_by_hand import blobs

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # MONAI's own warnings


@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_monai(seed):
    pytest.importorskip("monai", reason="MONAI is not installed")
    import torch
    from monai.metrics import (
        DiceMetric,
        compute_average_surface_distance,
        compute_hausdorff_distance,
        compute_iou,
        compute_surface_dice,
    )

    random = np.random.default_rng(seed)
    shape = tuple(random.integers(40, 90, 2))
    spacing = tuple(float(side) for side in random.uniform(0.4, 2.0, 2))
    if seed % 2:
        spacing = (spacing[0], spacing[0])
    prediction, truth = blobs(random, shape), blobs(random, shape)
    row = score_film(prediction, truth, spacing, tolerances=(2.0,)).to_dict()
    p, t = (torch.tensor(mask[None, None].astype(np.float32)) for mask in (prediction, truth))
    assert row["dice"] == pytest.approx(float(DiceMetric()(p, t)), abs=1e-6)
    assert row["iou"] == pytest.approx(float(compute_iou(p, t)), abs=1e-6)
    settings = {"include_background": True, "spacing": spacing}
    nsd = compute_surface_dice(p, t, class_thresholds=[2.0], use_subvoxels=True, **settings)
    assert row["nsd_2"] == pytest.approx(float(nsd), abs=1e-5)  # the same definition
    if spacing[0] != spacing[1]:
        return
    # MONAI takes border PIXELS and weighs them alike, whatever length of outline they stand for. These twenty
    # shapes lie within a pixel's diagonal; others do not (`test_specks_count_by_their_outline`)
    pixel = float(np.hypot(*spacing))
    assert row["hd95"] == pytest.approx(
        float(compute_hausdorff_distance(p, t, percentile=95, **settings)), abs=pixel
    )
    assd = compute_average_surface_distance(p, t, symmetric=True, **settings)
    assert row["assd"] == pytest.approx(float(assd), abs=pixel)


def test_specks_count_by_their_outline():
    """Two far pixels of 78 lie above MONAI's 95th percentile, but are 6 % of the outline: 126 px and 0."""
    pytest.importorskip("monai", reason="MONAI is not installed")
    import torch
    from monai.metrics import compute_hausdorff_distance

    truth = np.zeros((160, 160), bool)
    truth[5:25, 5:25] = True
    found = truth.copy()
    found[150, 20] = found[155, 10] = True
    p, t = (torch.tensor(mask[None, None].astype(np.float32)) for mask in (found, truth))
    assert float(compute_hausdorff_distance(p, t, include_background=True, percentile=95)) == 0
    assert score_film(found, truth).to_dict()["hd95"] == pytest.approx(126, abs=1)
