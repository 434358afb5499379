import platform
from pathlib import Path

import pytest
from archspec.cpu import detect

from adaloraqat.bundle.cpu import cpu_name, full_range_doubt, has_bfloat16, has_vnni

CPUINFO = Path("/proc/cpuinfo")
VNNI = ("avx512_vnni", "avx_vnni")
BFLOAT16 = ("avx512_bf16", "amx_bf16")
intel_linux = pytest.mark.skipif(
    not CPUINFO.exists() or platform.machine() != "x86_64", reason="an x86 processor under Linux is needed"
)


def kernel(key: str) -> str:
    """What the kernel says of the first processor."""
    line = next(line for line in CPUINFO.read_text().splitlines() if line.startswith(key))
    return line.partition(":")[2].strip()


@intel_linux
def test_this_cpu_is_what_the_kernel_says() -> None:
    assert cpu_name() == kernel("model name")
    flags = kernel("flags").split()
    assert has_vnni() == any(flag in flags for flag in VNNI)
    assert has_bfloat16() == any(flag in flags for flag in BFLOAT16)
    # so Windows is asked, where there is no kernel to compare with
    found = detect.CpuidInfoCollector().features
    for names in (VNNI, BFLOAT16):
        assert [flag in found for flag in names] == [flag in flags for flag in names]


def intel_mac(leaf_7: str) -> detect.Microarchitecture:
    return detect._sysctl_info_x86_64({"machdep.cpu.leaf7_features": leaf_7})


@pytest.mark.parametrize(
    ("found", "vnni", "doubt"),
    [
        (detect.partial_uarch(features={"avx2", "avx512_vnni"}), True, None),
        (detect.partial_uarch(features={"avx2", "avx_vnni"}), True, None),
        (detect.partial_uarch(features={"avx2", "avx512f"}), False, "has no VNNI"),
        (detect.partial_uarch(), None, "may have no VNNI"),
        (intel_mac("AVX2 AVX512F AVX512VNNI"), True, None),
        (intel_mac("AVX2 BMI2"), False, "has no VNNI"),
    ],
)
def test_vnni_is_told_by_the_features_of_any_system(
    monkeypatch: pytest.MonkeyPatch, found: detect.Microarchitecture, vnni: bool | None, doubt: str | None
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(detect, "detected_info", lambda: found)
    monkeypatch.setattr("adaloraqat.bundle.cpu.has_vnni", has_vnni.__wrapped__)
    assert has_vnni.__wrapped__() is vnni
    assert full_range_doubt("full") == doubt
    assert full_range_doubt("portable") is None


@pytest.mark.parametrize("machine", ["arm64", "aarch64", "ARM64"])
def test_arm_is_exact(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert has_vnni.__wrapped__() is True
