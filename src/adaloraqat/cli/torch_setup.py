"""What every command that trains or exports does before its first tensor."""

import logging
import os


def set_up_torch(threads: int | None = None) -> None:
    """Silence the libraries' chatter, never ask a network for weights, and set the number of CPU threads."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    import torch

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    if threads is not None:
        torch.set_num_threads(threads)
