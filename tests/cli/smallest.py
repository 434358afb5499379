"""The smallest network that has every part; a test costs what torch traces and the engines compile of it."""

from typing import Any

ARCHITECTURE: dict[str, Any] = {
    "image_size": 32, "patch_size": 8, "hidden_size": 32, "num_layers": 1, "num_heads": 2, "window_size": 4,
    "global_attention_layers": [0], "use_rel_pos": False, "channels": 1, "prompt_dim": 16,
    "decoder_mlp_dim": 32, "decoder_layers": 1, "decoder_heads": 2, "mask_input_channels": 4,
    "iou_head_hidden_dim": 16,
}  # fmt: skip
