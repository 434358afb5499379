"""Sizes of SAM ViT-B at 1024 px as files: FP32, `paper` and `int8`, with adapters folded in.

    python benchmarks/sizes.py [--out benchmarks/results/sizes.json]

Weights are random: their values do not change what a file weighs. Needs about 3 GB of memory and two minutes.
"""

import argparse
import copy
import tempfile
from pathlib import Path

import torch
from adaptation import machine

from adaloraqat.export.onnx_export import export_decoder, export_encoder
from adaloraqat.files import write_json
from adaloraqat.lowrank import add_adapters
from adaloraqat.models.sam import VIT_B, build_sam
from adaloraqat.quantize.fake_quantize import ActivationQuantizer
from adaloraqat.quantize.integer import convert
from adaloraqat.quantize.policy import POLICIES
from adaloraqat.quantize.preparation import fake_quantized_layers, prepare

REQUIRED = {"paper": 2.24, "int8": 3.7}


def measure(policies: tuple[str, ...] = ("fp32", "paper", "int8")) -> dict[str, dict[str, int]]:
    """Return {policy: {"encoder": bytes, "decoder": bytes, "total": bytes}} of the ONNX files."""
    torch.manual_seed(0)
    model = build_sam(VIT_B).eval()
    add_adapters(model, r_max=32, seed=0)
    return {policy: _files(copy.deepcopy(model), policy) for policy in policies}


def _files(model: torch.nn.Module, policy: str) -> dict[str, int]:
    prepare(model, POLICIES[policy])
    for layer in fake_quantized_layers(model).values():
        for quantizer in layer.modules():
            if isinstance(quantizer, ActivationQuantizer):
                quantizer.set_range(torch.tensor(-1.0), torch.tensor(1.0))
    converted = convert(model)
    with tempfile.TemporaryDirectory() as folder:
        encoder, decoder = Path(folder, "encoder.onnx"), Path(folder, "decoder.onnx")
        export_encoder(converted, encoder)
        export_decoder(converted, decoder)
        sizes = {"encoder": encoder.stat().st_size, "decoder": decoder.stat().st_size}
    return sizes | {"total": sum(sizes.values())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "sizes.json")
    out = parser.parse_args().out
    sizes = measure()
    ratios = {policy: sizes["fp32"]["total"] / sizes[policy]["total"] for policy in REQUIRED}
    document = {
        "model": "SAM ViT-B, 1024 px",
        "bytes": sizes,
        "times_smaller": ratios,
        "required": REQUIRED,
        "machine": machine(),
        "command": "python benchmarks/sizes.py",
    }
    write_json(out, document)
    for policy, ratio in ratios.items():
        print(f"{policy}: {sizes[policy]['total'] / 1e6:.1f} MB, {ratio:.2f} times smaller")


if __name__ == "__main__":
    main()
