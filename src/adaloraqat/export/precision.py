"""Bringing a trained model into the precision it is exported in."""

from __future__ import annotations

import copy
from collections.abc import Iterable

from torch import Tensor
from transformers import SamModel

from adaloraqat.quantize import PrecisionPolicy, calibrate, is_prepared, prepare, restore


def in_precision(
    model: SamModel,
    policy: PrecisionPolicy,
    trained: PrecisionPolicy | None,
    batches: Iterable[tuple[Tensor, Tensor]] = (),
) -> tuple[SamModel, bool]:
    """Return the model as `policy` deploys it, and whether that is post-training quantisation.

    Args:
        model: trained in float or fake-quantised; not changed.
        policy: the precision to export in.
        trained: the policy stage 2 trained with, or None.
        batches: calibration films, images (B, C, S, S) and boxes (B, N, 4); used only where `policy` is
        another
            than `trained`.

    Returns:
        a model ready for `convert`, and True where it never trained with the rounding it is exported with.

    Raises:
        RecipeError: the policy needs calibration and there is no film.
    """
    if trained == policy and is_prepared(model):
        return model, False
    other = restore(copy.deepcopy(model)).eval()
    prepare(other, policy)
    if policy.quantizes:
        calibrate(other, batches)
    return other, policy.quantizes
