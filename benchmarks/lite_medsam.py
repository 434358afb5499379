"""LiteMedSAM's speed: PyTorch against ONNX Runtime and OpenVINO, FP32 and INT8, in one interleaved run.

    python benchmarks/lite_medsam.py [--threads 2] [--turns 5] [--out benchmarks/results/lite_medsam.json]

The same weights (random: their values do not change the speed) and the same 512×512 film with one box in every
candidate, in the published geometry and with stride 4. `--geometries lite-medsam:256 lite-medsam:224` takes the published
weights instead (`adaloraqat weights get lite-medsam`), at these image sizes. Baselines, both PyTorch FP32 in evaluation mode:
"published" writes attention out as the public code does (and keeps its batch norms); "sdpa" is the same model
with fused attention. INT8 is the policy qmedsam.

- film: a film from array to mask, everything loaded.
- start: a new Python process that reads the film from a PNG, loads the model, segments and ends. OpenVINO reads
  its compiled model from its cache, which an earlier process has filled; `first_start` is without a cache.
- slice: mean over a stack of slices, one box each, everything loaded.

Needs 3 GB of memory; five turns take about 15 minutes on two cores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

GEOMETRIES = ("lite_medsam", "lite_medsam_stride4")
BACKENDS = (
    "pytorch published",
    "pytorch sdpa",
    "onnxruntime fp32",
    "onnxruntime qmedsam",
    "openvino fp32",
    "openvino qmedsam",
    "onnxruntime w8",
    "openvino w8",
)
USUAL_BACKENDS = BACKENDS[:6]
SIDE = 512
BOX = (60.0, 50.0, 450.0, 470.0)
FILM = "film.png"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "lite_medsam.json")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--slices", type=int, default=64)
    parser.add_argument(
        "--geometries", nargs="+", default=list(GEOMETRIES), help="the first is the baseline's"
    )
    parser.add_argument("--backends", nargs="+", default=list(USUAL_BACKENDS), choices=BACKENDS)
    parser.add_argument("--only-parts", action="store_true", help="only encoder and decoder, processor time")
    parser.add_argument("--once", nargs=3, help=argparse.SUPPRESS)  # folder, geometry, backend
    arguments = parser.parse_args()
    if arguments.once:
        print(json.dumps(once(Path(arguments.once[0]), *arguments.once[1:], arguments.threads)))
        return
    with tempfile.TemporaryDirectory() as folder:
        document = measure(Path(folder), arguments)
    from adaloraqat.files import write_json

    write_json(arguments.out, document)
    for kind in ("encoder_and_decoder_processor", "film", "start", "slice"):
        for name, entry in document.get(kind, {}).items():
            print(f"{kind:6} {name:42} {entry['median_ms']:9.1f} ms  {entry['times_published']:6.2f}")


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    from machine import machine

    from adaloraqat.bundle.timing import interleaved

    policies = sorted(
        {"fp32", *(backend.split()[1] for backend in arguments.backends)} & {"fp32", "qmedsam", "w8"}
    )
    sizes = prepare_models(folder, arguments.geometries, policies)
    os.environ["ADALORAQAT_CACHE"] = str(folder / "cache")  # OpenVINO's compiled models, none from before
    candidates = [
        f"{geometry}, {backend}" for geometry in arguments.geometries for backend in arguments.backends
    ]
    segmenters = {name: load(folder, *name.split(", "), arguments.threads) for name in candidates}
    film = read(folder)
    processor = parts(segmenters, film, arguments.turns)
    document = {
        "encoder_and_decoder_processor": summary(
            {name: [sum(turn) for turn in turns] for name, turns in processor.items()}
        ),
        "parts_processor_ms": {
            name: {"encoder": median(t[0] for t in turns), "decoder": median(t[1] for t in turns)}
            for name, turns in processor.items()
        },
        "bytes": sizes,
        "threads": arguments.threads,
        "turns": arguments.turns,
        "machine": machine(),
        "command": " ".join(["python benchmarks/lite_medsam.py", *_without_out(sys.argv[1:])]),
        "note": "times_published is the median over turns of the published baseline's time by the "
        "candidate's; times_sdpa the same for the baseline with fused attention.",
    }
    if arguments.only_parts:
        return document
    runs = {name: _on(segmenter, film) for name, segmenter in segmenters.items()}
    film_times = interleaved(runs, arguments.turns, warmup=1)
    slices = stack_times(segmenters, arguments.slices)
    del segmenters, runs
    first = {name: started(folder, name, arguments.threads, cache=False) for name in candidates}
    starts: dict[str, list[float]] = {name: [] for name in candidates}
    inside: dict[str, Any] = {}
    for _ in range(arguments.turns):
        for name in candidates:
            milliseconds, inside[name] = started(folder, name, arguments.threads, cache=True)
            starts[name].append(milliseconds)
    return {
        "film": summary(film_times),
        "start": summary(starts),
        "slice": summary(slices),
        "slices": arguments.slices,
        "first_start_ms": {name: milliseconds for name, (milliseconds, _) in first.items()},
        "parts_of_a_start_ms": inside,
        **document,
    }


def _without_out(arguments: list[str]) -> list[str]:
    if "--out" not in arguments:
        return arguments
    place = arguments.index("--out")
    return [*arguments[:place], *arguments[place + 2 :]]


def prepare_models(folder: Path, geometries: Sequence[str], policies: Sequence[str]) -> dict[str, int]:
    """Write the film, and for each geometry a float checkpoint and two bundles; return the bundles' bytes."""
    import torch
    from PIL import Image

    from adaloraqat.datasets.phantom import draw_phantom
    from adaloraqat.export.bundle_writer import export_bundle
    from adaloraqat.models.checkpoints import load_base, save_base
    from adaloraqat.quantize.calibration import calibrate
    from adaloraqat.quantize.policy import POLICIES
    from adaloraqat.quantize.preparation import prepare
    from adaloraqat.radiograph import Box, Film

    pixels = draw_phantom(1, SIDE).pixels
    Image.fromarray((pixels * 255).astype(np.uint8)).save(folder / FILM)
    sizes = {}
    for geometry in geometries:
        model, preprocessing = start(geometry)
        save_base(model, folder / geometry / "base")
        image, frame = preprocessing(Film.from_array(pixels).pixels)
        box = torch.from_numpy(frame.box_to_model(Box(*BOX)))[None, None]
        for policy in policies:
            model = load_base(folder / geometry / "base")
            prepare(model, POLICIES[policy])
            if POLICIES[policy].quantizes:
                calibrate(model, [(torch.from_numpy(image)[None], box)])
            target = folder / geometry / policy
            bundle = export_bundle(
                model,
                target,
                policy=POLICIES[policy],
                preprocessing=preprocessing,
                name=f"{geometry} {policy}",
                outlines="nothing: for the measurement of time",
            )
            sizes[f"{geometry}, {policy}"] = sum(record.bytes for record in bundle.files.values())
    return sizes


def start(geometry: str) -> tuple[Any, Any]:
    """Return the model of a geometry, or of `WEIGHTS:SIZE`, in evaluation mode, and its preprocessing."""
    import torch

    from adaloraqat.models.families import build
    from adaloraqat.models.registry import architecture
    from adaloraqat.training.recipe import BaseModelChoice
    from adaloraqat.training.run import load_start
    from adaloraqat.training.structure import usual_preprocessing

    weights, _, size = geometry.partition(":")
    if size:
        model, structure = load_start(BaseModelChoice(weights=weights, image_size=int(size)), 0)
        return model.eval(), structure.preprocessing_at()
    torch.manual_seed(0)
    config = architecture(geometry).to_dict()
    return build(config).eval(), usual_preprocessing(config)


def load(folder: Path, geometry: str, backend: str, threads: int) -> Any:
    """Return a Segmenter of one candidate."""
    from adaloraqat.bundle import Segmenter, load_bundle

    engine, _, kind = backend.partition(" ")
    if engine != "pytorch":
        return Segmenter.load(folder / geometry / kind, engine, threads)
    import torch

    from adaloraqat.models.checkpoints import load_base
    from adaloraqat.training.run import TorchEngine

    torch.set_num_threads(threads)
    model = load_base(folder / geometry / "base")
    if kind == "published":
        model.config._attn_implementation = "eager"
        model.config.mask_decoder_config._attn_implementation = "eager"
        for module in model.vision_encoder.modules():
            if hasattr(module, "fused"):
                module.fused = False
    bundle = load_bundle(folder / geometry / "fp32")  # its preprocessing
    return Segmenter(replace(bundle, name=f"{geometry} {backend}"), TorchEngine(model))


def read(folder: Path) -> Any:
    from adaloraqat.radiograph import read_film

    return read_film(folder / FILM)


def _on(segmenter: Any, film: Any) -> Callable[[], object]:
    return lambda: segmenter.segment(film, BOX)


def parts(segmenters: Mapping[str, Any], film: Any, turns: int) -> dict[str, list[tuple[float, float]]]:
    """Return, for each turn after the first, the processor's milliseconds of encoder and decoder.

    With one thread this is what the work costs, on a busy computer too.
    """
    from adaloraqat.radiograph import Box

    found: dict[str, list[tuple[float, float]]] = {name: [] for name in segmenters}
    for turn in range(turns + 1):
        for name, segmenter in segmenters.items():
            image, frame = segmenter.bundle.preprocessing(film.pixels)
            began = time.process_time()
            embedding = segmenter.engine.encode(image)
            encoded = time.process_time()
            segmenter.engine.decode(embedding, frame.box_to_model(Box(*BOX))[None])
            if turn:
                found[name].append(((encoded - began) * 1000, (time.process_time() - encoded) * 1000))
    return found


def stack_times(segmenters: Mapping[str, Any], count: int) -> dict[str, list[float]]:
    """Return the milliseconds of each slice of a stack, the candidates taking turns after every slice."""
    from adaloraqat.datasets.phantom import draw_phantom
    from adaloraqat.radiograph import Film

    times: dict[str, list[float]] = {name: [] for name in segmenters}
    for number in range(count):
        film = Film.from_array(draw_phantom(100 + number % 4, SIDE).pixels)
        for name, segmenter in segmenters.items():
            began = time.perf_counter()
            segmenter.segment(film, BOX)
            times[name].append((time.perf_counter() - began) * 1000)
    return times


def started(folder: Path, name: str, threads: int, cache: bool) -> tuple[float, dict[str, float]]:
    """Run one candidate in a process of its own; return its milliseconds, and those of its parts."""
    geometry, _, backend = name.partition(", ")
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    if not cache:
        environment["ADALORAQAT_CACHE"] = "off"
    command = [sys.executable, __file__, "--threads", str(threads), "--once", str(folder), geometry, backend]
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return (time.perf_counter() - began) * 1000, json.loads(done.stdout.splitlines()[-1])


def once(folder: Path, geometry: str, backend: str, threads: int) -> dict[str, float]:
    """Read, load, segment; return the milliseconds of each."""
    began = time.perf_counter()
    film = read(folder)
    was_read = time.perf_counter()
    segmenter = load(folder, geometry, backend, threads)
    loaded = time.perf_counter()
    segmenter.segment(film, BOX)
    ended = time.perf_counter()
    parts = {"read_film": was_read - began, "import_and_load": loaded - was_read, "segment": ended - loaded}
    return {part: seconds * 1000 for part, seconds in parts.items()}


def summary(times: Mapping[str, list[float]]) -> dict[str, dict[str, float]]:
    from adaloraqat.bundle.timing import median_ratio

    published, sdpa = list(times)[:2]  # of the first geometry
    return {
        name: {
            "median_ms": median(own),
            "times_published": median_ratio(times, name, published),
            "times_sdpa": median_ratio(times, name, sdpa),
        }
        for name, own in times.items()
    }


if __name__ == "__main__":
    main()
