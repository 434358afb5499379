"""How good is LiteMedSAM without a box? Untrained, with boxes that the small shipped model proposes.

`python benchmarks/automatic_prompt.py --data split.csv --split val`, then `--split test` (about 2 s a film on
2 cores): Dice of the mask on the film's own grid, for the whole film as box, the true box, one true box a lung,
one proposed box, and one proposed box a lung; and the time and memory of the proposal. On validation films also the
candidates from which the proposer and its margin were chosen (`CANDIDATES`, `MARGINS`). The split is made by
`adaloraqat data split MANIFEST --out split.csv --fractions 0.7,0.15,0.15`. Needs `adaloraqat weights get
lite-medsam`. Writes benchmarks/results/automatic_prompt.json, where both splits stand.

LiteMedSAM has probably seen films of shenzhen and covid_v7 (docs/weights.md); jsrt is in no list of its data.
"""

import argparse
import json
import resource
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from machine import machine

from adaloraqat import Segmenter
from adaloraqat.bundle.format import PROPOSED_BOX, PROPOSED_LUNGS
from adaloraqat.bundle.proposer import boxes_of, propose_boxes, widened
from adaloraqat.datasets.manifest import read_manifest, select
from adaloraqat.measure.overlap import dice
from adaloraqat.radiograph import Box, read_film, read_mask

RESULTS = Path(__file__).parent / "results" / "automatic_prompt.json"
WHOLE, TRUE_BOX, TRUE_LUNGS = "whole film", "true box", "true box a lung"
CANDIDATES = ("lung-field-fast", "lung-whole-fast")
MARGINS = (0.0, 0.01, 0.02, 0.03)  # on each side of one box, in its width and height
CHOICE = "val"  # the split that they are scored on


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--model", default="lite-medsam")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    films = select(read_manifest(arguments.data), arguments.split)
    model = Segmenter.load(arguments.model, threads=arguments.threads)
    candidates = CANDIDATES if arguments.split == CHOICE else ()
    proposers = {name: Segmenter.load(name, threads=arguments.threads) for name in candidates}
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    times: dict[str, list[float]] = defaultdict(list)
    alone = _memory()
    for done, entry in enumerate(films, start=1):
        film = read_film(entry.path_image)
        truth = read_mask(entry.path_mask, film.shape)
        started = time.perf_counter()
        prompts = {kind: propose_boxes(model.proposer, film, kind) for kind in (PROPOSED_BOX, PROPOSED_LUNGS)}
        times["proposal"].append((time.perf_counter() - started) / 2)
        for name, proposer in proposers.items():
            boxes = boxes_of(proposer.segment(film).mask, PROPOSED_BOX)
            for margin in MARGINS:
                prompts[f"{name}, margin {margin:g}"] = tuple(
                    widened(box, margin).checked(film.shape) for box in boxes
                )
        prompts = {kind: boxes or (Box.whole(film.shape),) for kind, boxes in prompts.items()}
        prompts |= {
            WHOLE: (Box.whole(film.shape),),
            TRUE_BOX: (Box.around(truth),),
            TRUE_LUNGS: boxes_of(truth, PROPOSED_LUNGS),
        }
        started = time.perf_counter()
        embedded = model.embed(film.pixels, film.aspect)
        times["encoding"].append(time.perf_counter() - started)
        for kind, boxes in prompts.items():
            logits, _ = model.union(embedded, boxes)
            scores[entry.source][kind].append(dice(embedded.frame.logits_to_original(logits) > 0, truth))
        if done % 20 == 0:
            print(f"{done} of {len(films)} films", flush=True)
    sources = {
        source: {"films": len(kinds[WHOLE]), **{kind: float(np.mean(found)) for kind, found in kinds.items()}}
        for source, kinds in sorted(scores.items())
    }
    known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    splits = known.get("splits", {}) | {arguments.split: sources}
    document = {
        "model": arguments.model,
        "proposer": model.proposer.bundle.name,
        "splits": splits,
        "milliseconds": {part: 1000 * float(np.median(found)) for part, found in times.items()},
        "megabytes": {"model alone": alone, "with its proposer": _memory()},
        "machine": machine(),
    }
    RESULTS.write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(sources, indent=2))


def _memory() -> float:
    """Largest memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
