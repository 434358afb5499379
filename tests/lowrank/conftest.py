from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import SamConfig, SamModel


def build_tiny_sam(seed: int = 0) -> SamModel:
    """A SAM of two blocks and width 32 at 64 px, its weights large enough for logits of order 1."""
    config = SamConfig(
        vision_config={
            "hidden_size": 32,
            "output_channels": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 16,
            "window_size": 3,
            "global_attn_indexes": [1],
            "num_pos_feats": 16,
            "mlp_dim": 64,
        },
        prompt_encoder_config={
            "hidden_size": 32,
            "image_size": 64,
            "patch_size": 16,
            "mask_input_channels": 4,
        },
        mask_decoder_config={
            "hidden_size": 32,
            "mlp_dim": 64,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 32,
        },
    )
    model = SamModel(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0, 0.2, generator=generator)
    return model


def logits_of(model: nn.Module) -> Tensor:
    """(1, 1, 16, 16) logits for one fixed image and box."""
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(7))
    boxes = torch.tensor([[[4.0, 4.0, 50.0, 60.0]]])
    return model(pixel_values=image, input_boxes=boxes, multimask_output=False).pred_masks[:, 0]


@pytest.fixture
def sam() -> SamModel:
    return build_tiny_sam()


@pytest.fixture
def make_sam() -> Callable[[], SamModel]:
    return build_tiny_sam


@pytest.fixture
def logits() -> Callable[[nn.Module], Tensor]:
    return logits_of
