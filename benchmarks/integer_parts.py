"""Which parts gain from INT8 beyond the linear layers: attention products and convolutions, in both engines.

    python benchmarks/integer_parts.py [--turns 15] [--threads 1]

The small SAM with random weights (values do not change the speed), the policy int8 and the same with one more
kind of product in integers; encoder and decoder timed in turns (A B A B). Writes
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

from adaloraqat.bundle.engine import onnxruntime_session, openvino_model
from adaloraqat.bundle.timing import interleaved, median_ratio
from adaloraqat.export import export_decoder, export_encoder
from adaloraqat.export.precision import in_precision
from adaloraqat.models.registry import architecture
from adaloraqat.models.sam import build_sam
from adaloraqat.quantize import PrecisionPolicy, convert, policy_named

MORE: dict[str, tuple[tuple[str, str], ...]] = {
    "int8": (),
    "encoder attention": (
        ("vision_encoder.*.scores", "int8 product"),
        ("vision_encoder.*.mixture", "int8 product"),
    ),
    "decoder attention": (
        ("mask_decoder.*.scores", "int8 product"),
        ("mask_decoder.*.mixture", "int8 product"),
    ),
    "encoder convolutions": (
        ("vision_encoder.patch_embed.projection", "int8 per channel"),
        ("vision_encoder.neck.conv?", "int8 convolution"),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = build_sam(architecture("small")).eval()
    size = model.config.vision_config.image_size
    images, boxes = torch.rand(4, 1, size, size), torch.tensor([[[0.0, 0.0, size, size]]]).expand(4, 1, 4)
    ratios: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, rules in MORE.items():
            base = policy_named("int8")
            policy = PrecisionPolicy("trial", rules + base.rules, base.weight_range)
            rounded, _ = in_precision(model, policy, None, [(images, boxes)])
            integer = convert(rounded)
            export_encoder(integer, Path(folder, f"{name} encoder.onnx"))
            export_decoder(integer, Path(folder, f"{name} decoder.onnx"))
        for part in ("encoder", "decoder"):
            for engine in ("onnxruntime", "openvino"):
                runs = {
                    name: runner(Path(folder, f"{name} {part}.onnx"), engine, options.threads, size)
                    for name in MORE
                }
                times = interleaved(runs, options.turns)
                ratios[f"{part}, {engine}"] = {
                    name: round(median_ratio(times, name, "int8"), 3) for name in MORE
                }
                print(part, engine, ratios[f"{part}, {engine}"], flush=True)
    result = {
        "speed_against_int8": ratios,
        "machine": machine(),
        "command": "python benchmarks/integer_parts.py",
    }
    (Path(__file__).parent / "results/integer_parts.json").write_text(json.dumps(result, indent=1) + "\n")


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
