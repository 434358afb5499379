"""The authors' checkpoint in its real measures: a file of SAM ViT-B at 1024 px, read and exported.

    python benchmarks/reference_checkpoint.py [--out benchmarks/results/reference_checkpoint.json]

Weights are random, and the file is written in the published naming by the tests' own writer (the real file is
not at hand): what is measured are counts, bytes, seconds, and how far integers and logits are from the
published forward pass. Activation ranges are set, not calibrated, for the sizes do not depend on them. Needs
about 6 GB of memory and a few minutes.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from adaptation import machine

from adaloraqat.export.checkpoint_sizes import rounded_layers, size_sentences, sizes
from adaloraqat.export.onnx_export import export_decoder, export_encoder
from adaloraqat.files import write_json
from adaloraqat.models.adalora_qat_checkpoint import read_adalora_qat
from adaloraqat.models.sam import decode, encode
from adaloraqat.quantize.fake_quantize import ActivationQuantizer
from adaloraqat.quantize.integer import convert
from adaloraqat.quantize.policy import policy_named
from adaloraqat.quantize.preparation import fake_quantized_layers, prepare, restore

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "models"))
from adalora_qat_reference import Reference, Small

VIT_B = Small(
    image_size=1024,
    hidden=768,
    blocks=12,
    heads=12,
    window=14,
    global_blocks=(2, 5, 8, 11),
    prompt=256,
    decoder_mlp=2048,
    rank=48,
    kept=(32, 32, 32),
    mlp=3072,
    quality_width=256,
)


def measure(folder: Path) -> dict[str, object]:
    reference = Reference(VIT_B, stage=2)
    path = reference.save(folder)
    draw = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, 1024, 1024, generator=draw)
    box = torch.tensor([[[200.0, 150.0, 820.0, 900.0]]])
    theirs, expected = reference.integers(), reference.logits(image, box)
    del reference
    start = time.perf_counter()
    checkpoint = read_adalora_qat(path)
    seconds = time.perf_counter() - start
    model = prepare(checkpoint.model, policy_named("reference-weights"))
    with torch.no_grad():
        found = decode(model, encode(model, image), box)[0]
    exact = _files(convert(model), folder / "weights")
    session = [onnxruntime.InferenceSession(exact / name) for name in ("encoder.onnx", "decoder.onnx")]
    (embedding,) = session[0].run(None, {"image": image.numpy()})
    in_engine, _ = session[1].run(None, {"embedding": embedding, "boxes": box[0].numpy()})
    del session
    model = prepare(restore(model), policy_named("reference"))
    for layer in fake_quantized_layers(model).values():
        for quantizer in layer.modules():
            if isinstance(quantizer, ActivationQuantizer):
                quantizer.set_range(torch.tensor(-1.0), torch.tensor(1.0))
    bundle = _files(convert(model), folder / "reference")
    restore(model)
    ours = _integers(bundle)
    bytes_of = sum(file.stat().st_size for file in bundle.iterdir())
    compared = sizes(checkpoint, path.stat().st_size, bytes_of)
    for sentence in size_sentences(path.name, compared):
        print(sentence)
    return {
        "layers": len(rounded_layers(model)),
        "layers_in_files": len(ours),
        "weights_compared": sum(matrix.size for matrix in ours.values()),
        "integers_that_differ": int(sum((theirs[n].numpy() != m.T).sum() for n, m in ours.items())),
        "logits_spread": float(expected.std()),
        "logits_differ_pytorch": float((found - expected).abs().max()),
        "logits_differ_onnxruntime": float(np.abs(in_engine - expected[0].numpy()).max()),
        "seconds_to_read": round(seconds, 1),
        "sizes": compared,
        "bytes_reference_weights": sum(file.stat().st_size for file in exact.iterdir()),
    }


def _files(converted: torch.nn.Module, folder: Path) -> Path:
    folder.mkdir()
    export_encoder(converted, folder / "encoder.onnx")
    export_decoder(converted, folder / "decoder.onnx")
    return folder


def _integers(folder: Path) -> dict[str, np.ndarray]:
    found = {}
    for file in folder.iterdir():
        for tensor in onnx.load(file).graph.initializer:
            if tensor.data_type == onnx.TensorProto.INT8 and tensor.name.endswith(".weight"):
                found[tensor.name.removesuffix(".weight")] = onnx.numpy_helper.to_array(tensor)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(__file__).parent / "results" / "reference_checkpoint.json"
    parser.add_argument("--out", type=Path, default=default)
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    document = {
        "model": "SAM ViT-B, 1024 px, random weights, in the published naming",
        **found,
        "machine": machine(),
        "command": "python benchmarks/reference_checkpoint.py",
    }
    write_json(out, document)
    print({key: value for key, value in found.items() if key != "sizes"})


if __name__ == "__main__":
    main()
