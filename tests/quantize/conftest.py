import pytest
import torch
from transformers import SamModel

from adaloraqat.models.sam import TINY, build_sam


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
