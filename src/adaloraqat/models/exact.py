"""Sums that must not round."""

from torch import Tensor


def exact(values: Tensor) -> Tensor:
    """Return `values` in float64, on the CPU where the device has no float64 (Apple's GPUs)."""
    return (values.cpu() if values.device.type == "mps" else values).double()
