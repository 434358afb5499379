"""Which CPU this is, and whether it multiplies 8-bit integers without overflow.

Without VNNI, ONNX Runtime and OpenVINO add pairs of u8 x s8 products in 16 bits, saturating: weights that use
the full 8-bit range then give wrong answers in silence. Weights kept to 7 bits are exact everywhere.
"""

import platform
from functools import cache
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_VNNI_FLAGS = ("avx512_vnni", "avx_vnni", "avx512vnni", "avxvnni")
# ARM multiplies s8 x s8 into 32 bits (SDOT/UDOT/SMMLA); there is no 16-bit step that could saturate.
_EXACT_MACHINES = ("aarch64", "arm64")


@cache
def cpu_name() -> str:
    """Name of this CPU as the system gives it, or its architecture where it gives none."""
    return _cpuinfo("model name") or platform.processor() or platform.machine() or "unknown"


@cache
def has_vnni() -> bool | None:
    """Whether full-range 8-bit weights are exact on this CPU; None where the system does not tell."""
    if platform.machine().lower() in _EXACT_MACHINES:
        return True
    flags = _cpuinfo("flags")
    return None if flags is None else bool(set(flags.split()) & set(_VNNI_FLAGS))


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


def _cpuinfo(key: str) -> str | None:
    """What Linux tells of the first CPU; None where it does not."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in pairs if name.strip() == key), None)
