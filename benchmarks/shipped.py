"""Scores of the shipped models on the test splits, beside their weights in FP32; the model cards; the selection.

    python benchmarks/shipped.py --data MANIFEST --select CANDIDATE ... [--runs runs]
    python benchmarks/shipped.py --data MANIFEST --install NAME ...
    python benchmarks/shipped.py --data MANIFEST [--tables reports] [--only NAME ...]

MANIFEST holds jsrt, shenzhen and covid_v7 with the splits that `adaloraqat data split films.csv --out MANIFEST
--fractions 0.7,0.15,0.15` makes (test: 36, 83 and 52 films); runs/ holds a run for each of recipes/lung-*.yaml.

First `--select`, which scores candidates (bundles and runs) on the validation films alone and writes
benchmarks/results/selection.json; then `--install`, which puts the chosen run's bundle where its package ships it; then
the last, which scores the test films and writes benchmarks/results/shipped.json, docs/results.md and the cards, and
appends the tables that `adaloraqat report recipes/tables/N.yaml` left below reports/. With `--only` the models named are
scored, and the rows of the others stay; comparisons between models are left out then.
"""

import argparse
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptation import ROOT, adaloraqat, machine

from adaloraqat.bundle.shipped import HOMES, WEIGHTS, shipped_base, shipped_path
from adaloraqat.models.checkpoints import save_base
from adaloraqat.training.run import load_float_run

RESEARCH_FOLDER = ROOT / "packages/weights/src/adaloraqat_weights"
FOUNDATION = """the published LiteMedSAM (Apache-2.0; QMedSAM, arXiv 2412.11186) at 224 px: TinyViT encoder (widths 64, 128,
  160, 320), SAM's prompt encoder and mask decoder at width 256; 9.8 million parameters, adapted by AdaLoRA (the encoder)
  and training of the mask decoder. Weights are INT8 on disk, one range a channel; activations are in float (`w8`)."""
FINE = """a small Segment Anything (`lite_medsam_small_fine`): 256 px, TinyViT encoder (stages of width 32, 96, 160, 192 on
  grids of 64, 32, 32, 32), SAM's prompt encoder and mask decoder at width 128; 4.1 million parameters. Embedding and logits are on a
  finer grid (64 and 256). Weights are INT8; the blocks, the neck and the decoder compute in integers (`w8a8`)."""
RESEARCH = """non-commercial research only (LICENSE-WEIGHTS, beside the package's
LICENSE, or in the repository)"""


@dataclass(frozen=True)
class Model:
    """What a card says of a model, and how its bundle is made from runs/NAME."""

    kind: str
    made: str
    data: str
    licence: str = RESEARCH
    precision: str | None = None
    spdx: str | None = None


OPEN = """may be used commercially under CC BY 4.0 (the films and masks) and Apache-2.0
(LiteMedSAM), with the credits below; what LiteMedSAM was pretrained on is its authors' word (LICENSE-MODELS)"""

MODELS = {
    "lung-field": Model(
        FOUNDATION,
        "AdaLoRA, 360 steps of 4 films; then the decoder alone, 700 steps of 8 on the stored encoder\n"
        "  (`recipes/lung-field-decoder.yaml`).",
        "jsrt (168 films) and shenzhen (388 films).",
        precision="w8",
    ),
    "lung-whole": Model(
        FOUNDATION, "AdaLoRA, 240 steps of 4 films.", "covid_v7 (235 films).", precision="w8"
    ),
    "lung-field-fast": Model(
        FINE,
        "The base (trained from scratch, recipes/lung-base.yaml) trained on with the masks of `lung-field` as a second\n"
        "  target, 2,100 steps of 8 films, the later ones hardly augmented; the mean of the weights after the first 700 steps (1 part)\n"
        "  and the last (3 parts); then INT8 by calibration.",
        "jsrt (168 films) and shenzhen (388 films).",
    ),
    "lung-whole-fast": Model(
        FINE,
        "`lung-field-fast` trained on with the masks of `lung-whole` as a second target, 480 steps of 8 films, the later ones\n"
        "  hardly augmented; the mean of the weights after the first 300 steps (2 parts) and the last (3 parts); then INT8 by calibration.",
        "covid_v7 (235 films), from a model trained on jsrt and shenzhen.",
    ),
    "lung-open": Model(
        FOUNDATION,
        "AdaLoRA, 200 steps of 4 films.",
        "58 films of covid_v7 whose image and mask are both CC BY, and 24 phantoms; chosen on 8 more. FILMS.csv, "
        "beside this card,\n  names each with its collection and licence. Credit: films under CC BY 3.0 are of the COVID-19 "
        "Image Repository (Institute for\n  Diagnostic and Interventional Radiology, Hannover Medical School), those under "
        "CC BY 4.0 are figures of open articles, named\n  by their files; masks by V7 Labs (CC BY 4.0).",
        OPEN,
        "w8",
        "Apache-2.0 AND CC-BY-4.0",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--tables", type=Path, default=ROOT / "reports")
    parser.add_argument("--select", nargs="+", default=[], metavar="CANDIDATE")
    parser.add_argument("--only", nargs="+", default=[], choices=list(MODELS))
    parser.add_argument("--install", nargs="+", default=[], choices=["base", *MODELS])
    options = parser.parse_args()
    for name in options.install:
        install(name, options.runs, options.data)
    if options.select:
        select(options.select, options.runs, options.data)
    if not (options.install or options.select):
        score(options.runs, options.data, options.tables, options.only)


def select(candidates: list[str], runs: Path, data: Path) -> None:
    """Score every candidate on the validation films; add it to benchmarks/results/selection.json."""
    target = ROOT / "benchmarks/results/selection.json"
    before = json.loads(target.read_text())["candidates"] if target.exists() else {}
    out = runs / "selection-scores"
    adaloraqat("evaluate", *candidates, "--data", data, "--split", "val", "--out", out)
    scored = json.loads((out / "evaluation.json").read_text())["models"]
    wanted = ("films", "dice_mean", "dice_worst", "nsd_2_mean", "failed")
    rows = {
        model: {
            source: {prompt: {key: n[key] for key in wanted} for prompt, n in prompts.items()}
            for source, prompts in sources.items()
            if source != "all"
        }
        for model, sources in scored.items()
    }
    result = {
        "split": "val",
        "candidates": before | rows,
        "machine": machine(),
        "command": "python benchmarks/shipped.py --data MANIFEST --select CANDIDATE ...",
    }
    target.write_text(json.dumps(result, indent=1) + "\n")


def score(runs: Path, data: Path, reports: Path, only: list[str]) -> None:
    """Score the shipped models and their weights in FP32 on the test films; write results, page and cards."""
    models: list[object] = only or list(MODELS)
    for name in list(models):  # weights without quantisation, as bundles NAME-fp32
        bundle = runs / f"{name}-fp32"
        if (runs / name).is_dir():
            if not newer(bundle / "bundle.json", runs / name / "result.json"):
                adaloraqat("export", runs / name, "--precision", "fp32", "--out", bundle, "--data", data)
            models.append(bundle)
    out = runs / "shipped-scores"
    adaloraqat("evaluate", *models, "--data", data, "--out", out)
    evaluation = json.loads((out / "evaluation.json").read_text())
    if only:
        evaluation = merged(evaluation, only)
    sizes = {name: size(shipped_path(name)) for name in MODELS}
    sizes["base"] = size(shipped_base())
    result = {
        "evaluation": evaluation,
        "bytes": sizes,
        "parity": {
            name: json.loads((shipped_path(name) / "bundle.json").read_text())["parity"] for name in MODELS
        },
        "machine": machine(),
        "command": "python benchmarks/shipped.py --data MANIFEST",
    }
    (ROOT / "benchmarks/results/shipped.json").write_text(json.dumps(result, indent=1) + "\n")
    results = ROOT / "docs/results.md"
    kept = results.read_text().partition(TABLES)[2]  # tables made elsewhere stay until they are made anew
    made = tables(reports)
    results.write_text("\n".join([page(result), TABLES + ("\n\n" + "\n".join(made) if made else kept)]))
    for name in MODELS:
        (shipped_path(name) / "README.md").write_text(card(name, result))


def merged(scored: dict[str, Any], only: list[str]) -> dict[str, Any]:
    """Return what was scored before, with the rows of the models in `only`, and their FP32 rows, replaced."""
    before = json.loads((ROOT / "benchmarks/results/shipped.json").read_text())["evaluation"]
    same = ("films", "fingerprint", "tolerances", "interval_level", "seed")
    if any(before[key] != scored[key] for key in same):
        raise SystemExit("the films or settings are not those of shipped.json: score all models")
    stale = {f"{name}-fp32" for name in only}
    kept = {name: rows for name, rows in before["models"].items() if name not in stale}
    return {**{key: scored[key] for key in same}, "models": kept | scored["models"]}


def newer(made: Path, source: Path) -> bool:
    return made.exists() and made.stat().st_mtime > source.stat().st_mtime


def install(name: str, runs: Path, data: Path) -> None:
    """Put the base of runs/lung-base, or the bundle of runs/NAME, where its package ships it."""
    home = WEIGHTS if HOMES[name] == "adaloraqat" else RESEARCH_FOLDER
    target = home / name
    card = (target / "README.md").read_text() if (target / "README.md").exists() else ""
    shutil.rmtree(target, ignore_errors=True)
    if name == "base":
        save_base(load_float_run(runs / "lung-base").model, target, half=True)
    else:
        model = MODELS[name]
        made_as = [*(("--precision", model.precision) if model.precision else ())]
        made_as += ["--licence", model.spdx] if model.spdx else []
        adaloraqat("export", runs / name, "--out", target, "--data", data, *made_as)
    if name == "lung-open":
        shutil.copyfile(runs / "open/FILMS.csv", target / "FILMS.csv")
    (target / "README.md").write_text(card)


CARD = """# {name}

**Outlines** {outlines}. **Not a medical device**; {licence}.

- **Model**: {kind}
- **Input**: a frontal chest film, any size; box prompt, or none (the whole film).
- **Trained on**: {data} Split by patient, 70/15/15.
- **How**: {made}
- **Recipe**: `recipes/{name}.yaml`.
- **Scores** on the test split (saved mask on the original grid; ONNX Runtime; NSD at 2 px; worst: the lowest Dice):

{table}

{beside}- **Limits**: adults, frontal views. Children, lateral views, a removed lung, large effusions and films of other
  modalities were hardly seen or not at all. A missing warning is no proof of a right mask. Scores on films of other
  hospitals will be lower.{seen}
"""
SEEN = """ LiteMedSAM has probably seen films of shenzhen and covid_v7 in its own pretraining (not those of jsrt):
  scores on these say less about new films."""
TABLES = "<!-- tables by adaloraqat report -->"


def tables(reports: Path) -> list[str]:
    """Return the Markdown of every table below `reports`, and keep its numbers beside the other results."""
    found = []
    for folder in sorted(reports.glob("table-*")):
        if (folder / "table.md").exists():
            found.append((folder / "table.md").read_text())
            (ROOT / f"benchmarks/results/{folder.name}.json").write_text((folder / "table.json").read_text())
    return found


def card(name: str, result: dict[str, Any]) -> str:
    """Return the model card of a shipped model."""
    model = MODELS[name]
    document = json.loads((shipped_path(name) / "bundle.json").read_text())
    rows = ["| source | prompt | films | Dice | NSD | worst film |", "|---|---|---|---|---|---|"]
    for source, prompts in result["evaluation"]["models"][name].items():
        for prompt, n in prompts.items():
            if source != "all":
                rows.append(
                    f"| {source} | {prompt.replace('_', ' ')} | {n['films']} | {n['dice_mean']:.4f} | "
                    f"{n['nsd_2_mean']:.3f} | {n['dice_worst']:.3f} |"
                )
    return CARD.format(
        name=name,
        outlines=document["outlines"],
        licence=model.licence,
        kind=model.kind,
        made=model.made,
        data=model.data,
        table="\n".join(rows),
        beside=beside(document),
        seen=SEEN if model.kind == FOUNDATION else "",
    )


def beside(document: dict[str, Any]) -> str:
    """Return the lines of a card about structures and quality; nothing where a bundle has neither."""
    lines = []
    if found := document.get("structures"):
        dice = ", ".join(f"{name} {value:.3f}" for name, value in found["validation_dice"].items())
        lines.append(
            f"- **Structures** (right lung, left lung, heart): a head on the frozen encoder, trained on {found['films']} "
            f"films of jsrt with labels, {found['films_without_heart']} of shenzhen without a heart and, for the side of the "
            f"heart alone, {found['films_for_sides']} training films with their mirror images (`adaloraqat extend`); validation Dice on its grid: {dice}. Test films: docs/structures.md."
        )
    if found := document.get("quality"):
        fitted = found["fitted_to"]
        lines.append(
            f"- **Quality**: expected Dice, fitted to {fitted['views']} masks of {fitted['films']} validation films, clean "
            "and corrupted, from "
            + ", ".join(found["features"]).replace("_", " ").replace("iou", "IoU")
            + "."
        )
    return "\n".join(lines) + "\n" if lines else ""


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def interval(numbers: dict[str, Any]) -> str:
    ends = numbers["dice_interval"]
    return f" [{ends[0]:.4f}, {ends[1]:.4f}]" if ends else ""


def page(result: dict[str, Any]) -> str:
    """Return docs/results.md."""
    lines = [
        "# Results",
        "",
        "## The models that ship",
        "",
        "Test splits, made by `adaloraqat data split films.csv --out MANIFEST --fractions 0.7,0.15,0.15` (15 % of the patients",
        "of each source; one choice was made on them, see below), Dice and IoU of the saved mask on each film's original grid, all films",
        "counted; in brackets the 95 % interval of the mean, patients drawn ([measures.md](measures.md)). `no box` is how a person uses the model; `true box` is the",
        "protocol of most papers, with the box of the ground truth. NAME-fp32 are the same weights without quantisation.",
        "LiteMedSAM, from which all but the `fast` ones come, has probably seen shenzhen and covid_v7 in pretraining; jsrt",
        "it has not. The models were chosen on validation films (benchmarks/results/selection.json); one choice was made on test",
        "films: a new decoder of `lung-whole` was withdrawn, because it was worse with a box. Table by",
        "`python benchmarks/shipped.py --data MANIFEST`.",
        "",
        "| model | source | prompt | films | Dice [95 %] | SD | worst film | NSD 2 px | IoU | failed |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for model, groups in result["evaluation"]["models"].items():
        for source, prompts in groups.items():
            if source == "all":
                continue
            for prompt, n in prompts.items():
                lines.append(
                    f"| {model} | {source} | {prompt.replace('_', ' ')} | {n['films']} | {n['dice_mean']:.4f}{interval(n)} | "
                    f"{n['dice_sd']:.4f} | {n['dice_worst']:.3f} | {n['nsd_2_mean']:.3f} | {n['iou_mean']:.4f} | {n['failed']} |"
                )
    if "withdrawn" in result["evaluation"]:
        lines += ["", result["evaluation"]["withdrawn"]]
    lines += [
        "",
        "Files on disk: " + ", ".join(f"{k} {v / 1e6:.2f} MB" for k, v in result["bytes"].items()) + ".",
        "",
    ]
    lines += [
        "## Parity: the integer model against the trained one",
        "",
        "Validation films; equal pixels and Dice between the masks of the bundle and of the fake-quantised model it came",
        "from; the noise floor is that model against itself on an input changed by 1e-6. Measured by `adaloraqat export`,",
        "written into each bundle.json; this table by the same command as the one above.",
        "",
        "| model | path | runtime | equal pixels | Dice | worst film's Dice | worst layer, LSB |",
        "|---|---|---|---|---|---|---|",
    ]
    for model, parity in result["parity"].items():
        for path in ("true_box", "no_box"):
            for runtime, n in parity[path].items():
                if runtime == "films":
                    continue
                layer = parity["layers"].get(runtime, {}).get("worst_lsb")
                lines.append(
                    f"| {model} | {path.replace('_', ' ')} | {runtime.replace('_', ' ')} | {100 * n['equal_pixels']:.3f} % | "
                    f"{n['dice']:.5f} | {n['worst']['dice']:.4f} | {f'{layer:.4f}' if layer is not None else '–'} |"
                )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
