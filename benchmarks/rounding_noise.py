"""How far rounding carries: the pixels of a mask that turn over when every rounded value moves by a millionth.

    python benchmarks/rounding_noise.py runs/adalora-qat --data MANIFEST [--films 24]

Two engines never add floats in the same order, so that now and then a value falls on the other side of a rounding
step, and the next layers carry the difference on. Here the run's last float stage is quantised after training with
one kind of convolution after another left in floating point, and the same engine answers twice: as it is, and with
every value moved by 3e-7 of itself (seeded noise) before it is rounded. Validation films, whole film as box, the
model's own grid. Writes benchmarks/results/rounding_noise.json.
"""

import argparse
import copy
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from machine import machine
from parts_of_tiny_vit import DEPTHWISE, DOWNSAMPLING, NECK, PATCHES, POINTWISE, convolutions, floating
from torch import Tensor, nn
from torch.nn import functional

from adaloraqat.datasets.manifest import Entry, read_manifest
from adaloraqat.models.sam import decode, encode
from adaloraqat.quantize.calibration import calibrate
from adaloraqat.quantize.fake_quantize import ActivationQuantizer
from adaloraqat.quantize.policy import PrecisionPolicy, policy_named
from adaloraqat.quantize.preparation import prepare
from adaloraqat.training.films import load_films, normalise
from adaloraqat.training.run import LoadedRun, load_float_run

NUDGE = 3e-7
BLOCK = 8
ALL = (*POINTWISE, *DEPTHWISE, *DOWNSAMPLING, *NECK, *PATCHES)
TRIALS = {
    "all convolutions in integers": convolutions(*ALL),
    "depthwise ones float": (*floating(*DEPTHWISE), *convolutions(*ALL)),
    "those between stages float": (*floating(*DOWNSAMPLING), *convolutions(*ALL)),
    "both float (the policy int8)": (),
    "all convolutions float": floating(*ALL),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--films", type=int, default=24)
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    run = load_float_run(options.run)
    sources = run.recipe.data.sources
    entries = [entry for entry in read_manifest(options.data) if not sources or entry.source in sources]
    films = {
        split: images(run, [entry for entry in entries if entry.split == split][: options.films])
        for split in ("train", "val")
    }
    turned = {name: share_turned(run, rules, films) for name, rules in TRIALS.items()}
    result = {
        "pixels_turned_percent": turned,
        "run": f"{options.run.name}, stage {run.stage}, quantised after training",
        "films": len(films["val"]),
        "nudge": NUDGE,
        "machine": machine(),
        "command": "python benchmarks/rounding_noise.py runs/adalora-qat --data MANIFEST",
    }
    (Path(__file__).parent / "results/rounding_noise.json").write_text(json.dumps(result, indent=1) + "\n")


def images(run: LoadedRun, entries: Sequence[Entry]) -> Tensor:
    """Return the films as the model sees them, (n, C, S, S) float32."""
    pixels, _, valid = load_films(entries, run.preprocessing).batch(list(range(len(entries))))
    return normalise(pixels, valid, run.preprocessing)


def share_turned(run: LoadedRun, rules: tuple[tuple[str, str], ...], films: dict[str, Tensor]) -> float:
    """Return the percentage of pixels that turn over, for the policy int8 with `rules` before its own."""
    base = policy_named("int8")
    model = copy.deepcopy(run.model).eval()
    prepare(model, PrecisionPolicy("trial", (*rules, *base.rules), base.weight_range))
    with torch.no_grad():
        calibrate(model, [(block, whole(block)) for block in films["train"].split(BLOCK)])
        plain = masks(model, films["val"])
        nudge(model)
        torch.manual_seed(0)
        again = masks(model, films["val"])
    turned = 100 * (plain != again).float().mean().item()
    print(f"{turned:.3f} %", [rule for rule, _ in rules][:2], flush=True)
    return round(turned, 4)


def nudge(model: nn.Module) -> None:
    """Move every value by about `NUDGE` of itself, at random, before it is rounded."""
    for module in model.modules():
        if isinstance(module, ActivationQuantizer):
            module.register_forward_pre_hook(
                lambda _, values: (values[0] * (1 + NUDGE * torch.randn_like(values[0])),)
            )


def masks(model: nn.Module, pixels: Tensor) -> Tensor:
    """Return the masks (n, S, S) bool on the model's square, with the whole film as box."""
    side = pixels.shape[-1]
    found = [decode(model, encode(model, block), whole(block))[0] for block in pixels.split(BLOCK)]
    return functional.interpolate(torch.cat(found)[:, :1], (side, side), mode="bilinear")[:, 0] > 0


def whole(block: Tensor) -> Tensor:
    """Return the whole square as box for each film of a block, (n, 1, 4)."""
    side = float(block.shape[-1])
    return torch.tensor([[[0.0, 0.0, side, side]]]).expand(len(block), 1, 4)


if __name__ == "__main__":
    main()
