"""Which activations does INT8 harm in the adapted foundation model? Groups of products in integers, masks compared.

`python benchmarks/integer_activations.py --data MANIFEST [--model lung-field]`: the stored weights of a bundle, in
PyTorch; ranges from training films, masks of validation films (`--films` of each source, spread evenly) against the
model's own. No test film is read. Writes benchmarks/results/integer_activations.json and prints a table.
"""

import argparse
import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine

from adaloraqat import Segmenter
from adaloraqat.datasets.manifest import Entry, read_manifest
from adaloraqat.export.films import calibration_films
from adaloraqat.measure.overlap import dice
from adaloraqat.quantize.calibration import calibrate
from adaloraqat.quantize.policy import POLICIES, PrecisionPolicy
from adaloraqat.quantize.preparation import prepare
from adaloraqat.radiograph import read_film, read_mask
from adaloraqat.training.run import load_published, model_segmenter
from adaloraqat.training.run_films import UsableFilms

RESULTS = Path(__file__).parent / "results" / "integer_activations.json"
BLOCKS = tuple(
    (f"vision_encoder.layers.*.{layer}", "int8 per channel")
    for layer in ("attn.qkv", "attn.proj", "mlp.lin?")
)
FIRST_STAGE = tuple((f"vision_encoder.layers.0.*.conv{number}.c", "int8 convolution") for number in (1, 3))
NECK = (("vision_encoder.neck.conv?", "int8 convolution"),)
TOKENS = (("mask_decoder.iou_token", "float32"), ("mask_decoder.mask_tokens", "float32"))
DECODER = (
    *TOKENS,
    ("mask_decoder.upscale_conv?", "int8 storage per channel"),
    ("mask_decoder.*", "int8 per channel"),
)
GROUPS: dict[str, PrecisionPolicy] = {
    "attention blocks": PrecisionPolicy("blocks", BLOCKS),
    "decoder": PrecisionPolicy("decoder", DECODER),
    "neck": PrecisionPolicy("neck", NECK),
    "first stage, pointwise convolutions": PrecisionPolicy("first stage", FIRST_STAGE),
    "blocks, neck and decoder (w8a8)": POLICIES["w8a8"],
    "int8": POLICIES["int8"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="lung-field")
    parser.add_argument("--source", action="append", help="default: jsrt and shenzhen")
    parser.add_argument("--films", type=int, default=6, help="validation films of each source")
    parser.add_argument("--calibration", type=int, default=8, help="training films of each source")
    asked = parser.parse_args()
    entries = read_manifest(asked.data)
    sources = asked.source or ["jsrt", "shenzhen"]
    model, structure = load_published(asked.model)
    preprocessing, prompt = structure.preprocessing_at(), Segmenter.load(asked.model).bundle.prompt
    films = [read_film(entry.path_image) for entry in _spread(entries, sources, "val", asked.films)]
    truths = [
        read_mask(entry.path_mask, film.shape)
        for entry, film in zip(_spread(entries, sources, "val", asked.films), films, strict=True)
    ]
    training = _spread(entries, sources, "train", asked.calibration)
    batches = list(calibration_films(training, preprocessing, UsableFilms(), print))

    def masks(network: Any) -> list[np.ndarray]:
        segmenter = model_segmenter(network, preprocessing, prompt)
        return [segmenter.segment(film).mask for film in films]

    own = masks(model)
    rows = []
    for name, policy in GROUPS.items():
        rounded = prepare(copy.deepcopy(model), policy)
        found = masks(calibrate(rounded, batches))
        agreed = [dice(one, other) for one, other in zip(found, own, strict=True)]
        lost = [dice(o, t) - dice(f, t) for f, o, t in zip(found, own, truths, strict=True)]
        row = {
            "in_integers": name,
            "dice_with_float": float(np.mean(agreed)),
            "dice_lost_mean": float(np.mean(lost)),
            "dice_lost_most": max(lost),
        }
        rows.append(row)
        print(row, flush=True)
    document = {
        "model": asked.model,
        "films": len(films),
        "calibration_films": len(training),
        "rows": rows,
        "machine": machine(),
        "command": "python benchmarks/integer_activations.py --data MANIFEST",
    }
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    print(
        "| in integers | Dice with the float model's masks | mean Dice lost | largest loss of a film |\n|---|---|---|---|"
    )
    for row in rows:
        print(
            f"| {row['in_integers']} | {row['dice_with_float']:.4f} | {row['dice_lost_mean']:+.4f} | {row['dice_lost_most']:+.4f} |"
        )


def _spread(entries: list[Entry], sources: list[str], split: str, count: int) -> list[Entry]:
    found = []
    for source in sources:
        own = [entry for entry in entries if entry.source == source and entry.split == split]
        found += [own[at] for at in np.unique(np.linspace(0, len(own) - 1, min(count, len(own))).astype(int))]
    return found


if __name__ == "__main__":
    main()
