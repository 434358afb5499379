"""Which parts gain from INT8 beyond the linear layers: attention products and convolutions, in both engines.

    python benchmarks/integer_parts.py [--architecture lite_medsam_small ...] [--turns 15] [--threads 1]

A model with random weights (values do not change the speed), integers in its linear layers only, and the same
with one more kind of product in integers; encoder and decoder timed in turns (A B A B). Writes
benchmarks/results/integer_parts.json. The policy `int8` takes what gains in both engines.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine
from parts_of_tiny_vit import DEPTHWISE, DOWNSAMPLING, NECK, PATCHES, POINTWISE, convolutions

from adaloraqat.bundle.runtimes import onnxruntime_session, openvino_model
from adaloraqat.bundle.timing import interleaved, median_ratio
from adaloraqat.export.onnx_export import export_decoder, export_encoder
from adaloraqat.models.families import build
from adaloraqat.models.registry import architecture
from adaloraqat.quantize.calibration import in_precision
from adaloraqat.quantize.integer import convert
from adaloraqat.quantize.policy import PrecisionPolicy, policy_named

LINEAR_ONLY = tuple(
    (pattern, "float16 storage") for pattern in ("*.patch_embed.projection", "vision_encoder.*.c", *NECK)
)
MORE: dict[str, tuple[tuple[str, str], ...]] = {
    "linear layers": (),
    "encoder attention": (
        ("vision_encoder.*.scores", "int8 product"),
        ("vision_encoder.*.mixture", "int8 product"),
    ),
    "decoder attention": (
        ("mask_decoder.*.scores", "int8 product"),
        ("mask_decoder.*.mixture", "int8 product"),
    ),
    "pointwise convolutions": convolutions(*POINTWISE),
    "depthwise convolutions": convolutions(*DEPTHWISE),
    "convolutions between stages": convolutions(*DOWNSAMPLING),
    "neck": convolutions(*NECK),
    "patch embedding": (*convolutions(*PATCHES), ("*.patch_embed.projection", "int8 per channel")),
    "pointwise, neck and patches": (
        *convolutions(*POINTWISE, *NECK, *PATCHES),
        ("*.patch_embed.projection", "int8 per channel"),
    ),
    "all convolutions": (
        *convolutions(*POINTWISE, *DEPTHWISE, *DOWNSAMPLING, *NECK, *PATCHES),
        ("*.patch_embed.projection", "int8 per channel"),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", nargs="+", default=["lite_medsam_small", "small"])
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runners = {name: export(name, Path(folder, name)) for name in options.architecture}
        ratios = {name: timed(*found, options) for name, found in runners.items()}
    result = {
        "speed_against_linear_layers_only": ratios,
        "machine": machine(),
        "command": "python benchmarks/integer_parts.py",
    }
    (Path(__file__).parent / "results/integer_parts.json").write_text(json.dumps(result, indent=1) + "\n")


def export(name: str, folder: Path) -> tuple[Path, list[str], int]:
    """Write encoder and decoder of each trial that concerns the architecture; return where, which and size."""
    folder.mkdir()
    torch.manual_seed(0)
    model = build(architecture(name).to_dict()).eval()
    size, channels = architecture(name).image_size, architecture(name).channels
    images = torch.rand(4, channels, size, size)
    boxes = torch.tensor([[[0.0, 0.0, size, size]]]).expand(4, 1, 4)
    base, seen, names = policy_named("int8"), set(), []
    for trial, rules in MORE.items():
        policy = PrecisionPolicy("trial", (*rules, *LINEAR_ONLY, *base.rules), base.weight_range)
        described = json.dumps(policy.describe(model))
        if described in seen:
            continue  # nothing of this kind in the architecture
        seen.add(described)
        names.append(trial)
        rounded, _ = in_precision(model, policy, None, [(images, boxes)])
        integer = convert(rounded)
        export_encoder(integer, folder / f"{trial} encoder.onnx")
        export_decoder(integer, folder / f"{trial} decoder.onnx")
    return folder, names, size


def timed(folder: Path, names: list[str], size: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return {part, engine: {trial: times faster than with the linear layers alone}}."""
    ratios: dict[str, Any] = {}
    for part in ("encoder", "decoder"):
        for engine in ("onnxruntime", "openvino"):
            runs = {
                name: runner(folder / f"{name} {part}.onnx", engine, options.threads, size) for name in names
            }
            times = interleaved(runs, options.turns)
            ratios[f"{part}, {engine}"] = {
                name: round(median_ratio(times, name, "linear layers"), 3) for name in names
            }
            print(folder.name, part, engine, ratios[f"{part}, {engine}"], flush=True)
    return ratios


def runner(path: Path, engine: str, threads: int, size: int) -> Any:
    """Return a function that runs one ONNX file once on fixed inputs."""
    draw = np.random.default_rng(0)
    if engine == "onnxruntime":
        session = onnxruntime_session(path, threads)
        shapes = {i.name: [1 if isinstance(n, str) else n for n in i.shape] for i in session.get_inputs()}
    else:
        compiled = openvino_model(path, threads)
        shapes = {
            i.get_any_name(): [1 if d.is_dynamic else d.get_length() for d in i.partial_shape]
            for i in compiled.inputs
        }
    inputs = {name: draw.random(shape, dtype=np.float32) for name, shape in shapes.items()}
    if "boxes" in inputs:
        inputs["boxes"] = np.array([[0, 0, size, size]], dtype=np.float32)
    if engine == "onnxruntime":
        return lambda: session.run(None, inputs)
    return lambda: compiled(inputs)


if __name__ == "__main__":
    main()
