from collections.abc import Callable

import pytest
import torch
from transformers import SamModel

from adaloraqat.models.sam import TINY, build_sam
from adaloraqat.quantize import POLICIES, calibrate, prepare


@pytest.fixture
def sam() -> SamModel:
    torch.manual_seed(0)
    return build_sam(TINY).eval()


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Two films with two boxes each."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 1, 64, 64, generator=generator)
    corners = torch.rand(2, 2, 2, 2, generator=generator).sort(dim=2).values * 64
    return images, corners.flatten(2)


@pytest.fixture
def prepared(sam: SamModel, batch: tuple[torch.Tensor, torch.Tensor]) -> Callable[[str], SamModel]:
    """The model in a named policy, calibrated."""

    def prepare_as(policy: str) -> SamModel:
        return calibrate(prepare(sam, POLICIES[policy]), [batch])

    return prepare_as
