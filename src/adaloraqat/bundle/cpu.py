"""Which CPU this is, whether it multiplies 8-bit integers without overflow, and whether it knows bfloat16.

Without VNNI, ONNX Runtime and OpenVINO add pairs of u8 x s8 products in 16 bits, saturating: weights that use
the full 8-bit range then give wrong answers in silence. Weights kept to 7 bits are exact everywhere.

archspec asks the processor: /proc/cpuinfo on Linux, sysctl on macOS, the CPUID instruction on Windows.
"""

import platform
import warnings
from functools import cache

_VNNI_FEATURES = {"avx512_vnni", "avx_vnni", "avx512vnni", "avxvnni"}  # of Linux and Windows; of macOS
# ARM multiplies s8 x s8 into 32 bits (SDOT/UDOT/SMMLA); there is no 16-bit step that could saturate.
_EXACT_MACHINES = ("aarch64", "arm64")
_BFLOAT16_FEATURES = {"avx512_bf16", "amx_bf16", "bf16"}  # the last is ARM's


@cache
def cpu_name() -> str:
    """Name of this CPU as the system gives it, or its architecture where it gives none."""
    from archspec.cpu import brand_string

    try:
        name = (brand_string() or "").strip()
    except Exception:  # it runs machine code or a program; a system may refuse both in many ways
        name = ""
    return name or platform.processor() or platform.machine() or "unknown"


@cache
def has_vnni() -> bool | None:
    """Whether full-range 8-bit weights are exact on this CPU; None where the system does not tell."""
    if platform.machine().lower() in _EXACT_MACHINES:
        return True
    features = _features()
    return bool(features & _VNNI_FEATURES) if features else None


@cache
def has_bfloat16() -> bool | None:
    """Whether this CPU computes in bfloat16, which others imitate slowly; None where no one can tell."""
    features = _features()
    return bool(features & _BFLOAT16_FEATURES) if features else None


def _features() -> set[str]:
    """Return what this very CPU has, not the known kind of CPU that is most like it: a virtual machine may
    lack or add a feature.
    """
    from archspec.cpu.detect import detected_info

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # archspec warns where it cannot tell, and gives no features
        return set(detected_info().features)


def weight_range_warning(weight_range: str) -> str | None:
    """Return a warning ("code: sentence") where a bundle's weight range does not fit this CPU, else None."""
    known = full_range_doubt(weight_range)
    if known is None:
        return None
    return (
        f"full-range-weights: this bundle uses the full 8-bit weight range and this CPU {known}, so its "
        f"masks may be wrong; export it again with --weight-range portable."
    )


def full_range_doubt(weight_range: str) -> str | None:
    """Return why this CPU may not execute a weight range exactly ("has no VNNI"), or None."""
    if weight_range != "full" or has_vnni():
        return None
    return "has no VNNI" if has_vnni() is False else "may have no VNNI"
