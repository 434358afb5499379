from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import SamModel

from adaloraqat.bundle import Bundle
from adaloraqat.export.bundle_writer import export_bundle
from adaloraqat.models.sam import TINY, build_sam
from adaloraqat.quantize.calibration import calibrate
from adaloraqat.quantize.policy import POLICIES
from adaloraqat.quantize.preparation import prepare
from adaloraqat.radiograph import Preprocessing

PREPROCESSING = Preprocessing(image_size=64, channels=1)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small only wait for each other's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def sam() -> SamModel:
    return _sam()


@pytest.fixture(scope="session")
def batch() -> tuple[Tensor, Tensor]:
    """Two films with two boxes each."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 1, 64, 64, generator=generator)
    corners = torch.rand(2, 2, 2, 2, generator=generator).sort(dim=2).values * 64
    return images, corners.flatten(2)


@pytest.fixture(scope="session")
def calibrated(batch: tuple[Tensor, Tensor]) -> Callable[[str], SamModel]:
    """The calibrated model in a named policy; made once, not to be changed."""

    @cache
    def make(policy: str) -> SamModel:
        model = prepare(_sam(), POLICIES[policy])
        if POLICIES[policy].quantizes:
            calibrate(model, [batch])
        return model

    return make


@pytest.fixture(scope="session")
def exported(
    calibrated: Callable[[str], SamModel], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[SamModel, Bundle]]:
    """The calibrated model in a named policy and its bundle; made once, not to be changed."""

    @cache
    def export(policy: str) -> tuple[SamModel, Bundle]:
        model = calibrated(policy)
        return model, write(model, policy, tmp_path_factory.mktemp(policy) / "tiny")

    return export


@pytest.fixture(scope="session")
def write_as() -> Callable[..., Bundle]:
    return write


def write(model: SamModel, policy: str, folder: Path, **fields: object) -> Bundle:
    return export_bundle(
        model,
        folder,
        policy=POLICIES[policy],
        preprocessing=PREPROCESSING,
        name="tiny",
        outlines="lungs",
        **fields,  # type: ignore[arg-type]
    )


def _sam() -> SamModel:
    torch.manual_seed(0)
    return build_sam(TINY).eval()
