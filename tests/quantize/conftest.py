from collections.abc import Iterator

import pytest
import torch
from transformers import SamModel

from adaloraqat.models.sam import TINY, build_sam


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small only wait for each other's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
