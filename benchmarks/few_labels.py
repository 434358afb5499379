"""How many labelled films does a new hospital need? LiteMedSAM adapted to 4, 16, 64 and all of them, method by method.

    python benchmarks/few_labels.py --data MANIFEST [--target jsrt] [--method adalora] [--films 16] [--draw 0]

Without --method, --films and --draw every row is run, in the order of `METHODS` and `SIZES`; each is trained with
equal steps (40 of 4 films, the first of which each film gives as 4 fixed views) and scored once on the target's test
films, no box. Its learning rates are those of the recipe times 1/3, 1 or 3: whichever had the best validation Dice
with 16 films (draw 0), chosen before a test film is read. Resumable: what was run is kept in --runs and in the results
file (delete a row there to run it again), a training that was cut off continues. Rows that were not run are a dash. The
manifest is the one of docs/results.md (15 % of the patients of each source for validation, 15 % for the test). Writes
benchmarks/results/few_labels.json, docs/few_labels.md and docs/images/few_labels.svg; --finished only writes them.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, TypedDict

from machine import machine

from adaloraqat.datasets.manifest import read_manifest, write_manifest
from adaloraqat.report.style import PALETTE, new_figure, style, svg_text
from adaloraqat.training.recipe import SHIPPED_RECIPES, load_recipe

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/few_labels.json"
PAGE = ROOT / "docs/few_labels.md"
PICTURE = ROOT / "docs/images/few_labels.svg"
METHODS = {
    "adalora": "AdaLoRA + decoder",
    "full": "full fine-tuning",
    "decoder-only": "decoder only",
    "unet": "U-Net from scratch",
    "lora-r16": "LoRA r = 16 + decoder",
}
TARGETS = ("jsrt", "covid_v7")
SIZES: tuple[tuple[int | None, tuple[int, ...]], ...] = (
    (16, (0,)),
    (4, (0,)),
    (64, (0,)),
    (None, (0,)),
    (16, (1, 2)),
    (4, (1, 2)),
)
"""Training films (None: all), and the draws of them, in the order in which they are run."""
FACTORS = (1.0, 3.0, 1 / 3)
CHOSEN_AT = 16  # films
ACROSS = (4, 16, 64, None)


class Cell(TypedDict):
    """One trained row: what it was trained on, its validation Dice, and, once scored, its test films."""

    target: str
    method: str
    films: int | None
    draw: int
    factor: float
    validation: float
    trainable: int
    seconds: float | None
    test: dict[str, Any] | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--target", choices=TARGETS, default=TARGETS[0])
    parser.add_argument("--method", choices=METHODS, action="append", help="these alone; repeatable")
    parser.add_argument("--films", type=int, help="with so many training films alone; 0: all")
    parser.add_argument("--draw", type=int, help="with this draw of them alone")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/few-labels")
    parser.add_argument("--finished", action="store_true", help="only write what was run")
    options = parser.parse_args()
    study = Study(options.target, options.data, options.runs)
    methods = options.method or list(METHODS)
    if not options.finished:
        for films, draws in SIZES:
            for method in methods:
                for draw in draws:
                    if options.films in (None, films or 0) and options.draw in (None, draw):
                        study.run(method, films, draw)
                        write(study.cells())
    write(study.cells())


class Study:
    """The rows of one target, in one folder."""

    def __init__(self, target: str, data: Path, runs: Path) -> None:
        self.target, self.folder = target, runs / target
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data = self.folder / "films.csv"
        if not self.data.exists():
            write_manifest(self.data, [entry for entry in read_manifest(data) if entry.source == target])

    def run(self, method: str, films: int | None, draw: int) -> None:
        """Train and score one row; the first of a method with its rates chosen on validation films."""
        factor = self._factor(method)
        key = (self.target, method, films, draw, round(factor, 2))
        if any(_key(row) == key and row.get("test") for row in _recorded()):
            return
        run = self._train(method, films, draw, factor)
        scores = run.with_name(f"{run.name}-scores")
        if not (scores / "evaluation.json").exists():
            adaloraqat("evaluate", run, "--data", self.data, "--out", scores)
        print(f"{self.target}: {method}, {films or 'all'} films, draw {draw}: done", flush=True)

    def _factor(self, method: str) -> float:
        """Return the factor with the best validation Dice at `CHOSEN_AT` films; no test film is read."""
        known = {_key(row): row["validation"] for row in _recorded()}
        found = {}
        for factor in FACTORS:
            key = (self.target, method, CHOSEN_AT, 0, round(factor, 2))
            if key not in known:
                known[key] = _stage(self._train(method, CHOSEN_AT, 0, factor))["after"]["dice_no_box"]
            found[factor] = known[key]
        return max(found, key=lambda factor: found[factor])

    def _train(self, method: str, films: int | None, draw: int, factor: float) -> Path:
        run = self.folder / f"{method}-{films or 'all'}-{draw}-x{factor:.2f}"
        if (run / "result.json").exists():
            return run
        recipe = SHIPPED_RECIPES / f"few-labels/{method}.yaml"
        given = load_recipe(recipe).stages[0].learning_rates
        rates = {part: rate * factor for part, rate in given.model_dump(exclude_unset=True).items()}
        changes = {f"stages.0.learning_rates.{part}": rate for part, rate in rates.items()}
        changes["data.draw"] = draw
        if films is not None:
            changes["data.limit"] = films
        settings = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
        started, again = time.perf_counter(), run.exists()
        adaloraqat("train", recipe, "--data", self.data, "--out", run, "--resume", *settings)
        if not again:
            (run / "seconds.txt").write_text(f"{time.perf_counter() - started:.1f}\n")
        return run

    def cells(self) -> list[Cell]:
        """Return every row that was trained: those of the results file, and newer ones of this folder."""
        rows = {_key(row): row for row in _recorded()}
        for run in sorted(self.folder.glob("*-x*.*")):
            if (run / "result.json").exists():
                cell = self._cell(run)
                rows[_key(cell)] = cell
        return [rows[key] for key in sorted(rows, key=str)]

    def _cell(self, run: Path) -> Cell:
        method, films, draw, factor = run.name.rsplit("-", 3)
        scores = run.with_name(f"{run.name}-scores") / "evaluation.json"
        test = None
        if scores.exists():
            (groups,) = json.loads(scores.read_text())["models"].values()
            numbers = groups[self.target]["no_box"]
            keys = (
                "films",
                "patients",
                "failed",
                "dice_mean",
                "dice_interval",
                "dice_worst",
                "nsd_2_mean",
                "nsd_2_interval",
            )
            test = {key: numbers[key] for key in keys}
        seconds = run / "seconds.txt"
        return Cell(
            target=self.target,
            method=method,
            films=None if films == "all" else int(films),
            draw=int(draw),
            factor=float(factor[1:]),
            validation=_stage(run)["after"]["dice_no_box"],
            trainable=_stage(run)["trainable_parameters"],
            seconds=float(seconds.read_text()) if seconds.exists() else None,
            test=test,
        )


def _recorded() -> list[Cell]:
    recorded: list[Cell] = json.loads(RESULTS.read_text())["rows"] if RESULTS.is_file() else []
    return recorded


def _key(row: Cell) -> tuple[str, str, int | None, int, float]:
    return row["target"], row["method"], row["films"], row["draw"], round(row["factor"], 2)


def _stage(run: Path) -> dict[str, Any]:
    stage: dict[str, Any] = json.loads((run / "result.json").read_text())["stages"][0]
    return stage


def adaloraqat(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "adaloraqat", *map(str, arguments)], check=True)


def write(rows: list[Cell]) -> None:
    """Write the results, the page and the figure of all rows that are known."""
    document = {
        "rows": rows,
        "machine": machine(),
        "command": "python benchmarks/few_labels.py --data MANIFEST",
    }
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    scored = [row for row in rows if row["test"]]
    PAGE.write_text(page(rows, scored))
    if scored:
        with style():
            PICTURE.write_text(picture(scored))


def before(target: str) -> dict[str, float]:
    """Dice of LiteMedSAM as published on the target's test films: the film as its box, or a proposed box."""
    known = json.loads((ROOT / "benchmarks/results/automatic_prompt.json").read_text())
    found: dict[str, float] = known["splits"]["test"][target]
    return found


def page(rows: list[Cell], scored: list[Cell]) -> str:
    """Return docs/few_labels.md."""
    lines = [
        "# How many labelled films does a new hospital need?",
        "",
        "LiteMedSAM as published, adapted to 4, 16, 64 and all training films of one source by each method with equal steps",
        "(40 of 4 films at 224 px, each film in 4 fixed views), one seed. Test films of that source, no box, scored once; Dice and",
        "[NSD at 2 px](measures.md), each with the 95 % interval over test patients where one draw was trained, else the",
        "range of the draws. Learning rates: the best of three by validation Dice with 16 films. A dash: not trained. By",
        "`python benchmarks/few_labels.py --data MANIFEST`, with the split of [results.md](results.md). Times are those of the",
        "machine in [few_labels.json](../benchmarks/results/few_labels.json), which did other work meanwhile, so none is printed.",
        "",
        "Of a film's views the first is the film as it is, the others are varied. In 160 pictures all films come once, as they are; 64",
        "come once as they are and 96 times varied; fewer come again and again. So part of the step from 64 films to all is that the",
        "last pictures are like the test films: equal steps are not equal pictures.",
        "",
        "![Dice and NSD against the number of training films](images/few_labels.svg)",
    ]
    for target in [target for target in TARGETS if any(row["target"] == target for row in scored)]:
        published = before(target)
        lines += [
            "",
            f"## {target}",
            "",
            f"As published, without training: Dice {published['whole film']:.4f} with the film as its box, "
            f"{published['proposed-box']:.4f} with a box that `lung-whole-fast` proposes, {published['true box']:.4f} with the true box.",
            "",
            "| method | trainable | rates × | "
            + " | ".join(f"{films or 'all'} films" for films in ACROSS)
            + " |",
            "|---|---|---|" + "---|" * len(ACROSS),
        ]
        for method, title in METHODS.items():
            own = [row for row in scored if (row["target"], row["method"]) == (target, method)]
            cells = [_numbers([row for row in own if row["films"] == films]) for films in ACROSS]
            trainable, factor = (f"{own[0]['trainable']:,}", f"{own[0]['factor']:g}") if own else ("–", "–")
            lines.append(f"| {title} | {trainable} | {factor} | " + " | ".join(cells) + " |")
        tried = [row for row in rows if (row["target"], row["films"], row["draw"]) == (target, CHOSEN_AT, 0)]
        lines += ["", f"Validation Dice of the rates that were tried ({CHOSEN_AT} films): "]
        for method in METHODS:
            found = [row for row in tried if row["method"] == method]
            if found:
                tries = ", ".join(f"× {row['factor']:g}: {row['validation']:.4f}" for row in found)
                lines.append(f"{METHODS[method]} {tries}; ")
        lines[-1] = lines[-1].rstrip("; ") + "."
    return "\n".join(lines) + "\n"


def _numbers(cells: list[Cell]) -> str:
    """Return Dice and NSD of a method's draws at one size."""
    tests = [cell["test"] for cell in cells if cell["test"]]
    if not tests:
        return "–"
    parts = []
    for measure in ("dice", "nsd_2"):
        values = [test[f"{measure}_mean"] for test in tests]
        low, high = tests[0][f"{measure}_interval"] if len(tests) == 1 else (min(values), max(values))
        parts.append(f"{statistics.mean(values):.4f} [{low:.3f}, {high:.3f}]")
    return "; NSD ".join(parts)


def picture(scored: list[Cell]) -> str:
    """Draw Dice and NSD against training films, one row of axes a target; draws are points, means a line."""
    targets = [target for target in TARGETS if any(row["target"] == target for row in scored)]
    figure = new_figure(9, 3.4 * len(targets))
    places = figure.subplots(len(targets), 2, squeeze=False)
    for line, target in zip(places, targets, strict=True):
        for axes, (measure, title) in zip(line, (("dice", "Dice"), ("nsd_2", "NSD at 2 px")), strict=True):
            for place, (method, name) in enumerate(METHODS.items()):
                _curve(
                    axes,
                    [r for r in scored if (r["target"], r["method"]) == (target, method)],
                    measure,
                    name,
                    place,
                )
            axes.set_title(f"{target}: {title} of the test films")
            axes.set_xticks(range(len(ACROSS)), [str(films or "all") for films in ACROSS])
            axes.set_xlabel("training films")
    places[0][1].legend(frameon=False, fontsize=8, loc="center")
    return svg_text(figure)


def _curve(axes: Any, rows: list[Cell], measure: str, name: str, place: int) -> None:
    """Draw one method: its draws as points, the mean as a line, the test patients' interval of draw 0 as a bar."""
    colour, shift = PALETTE[place], 0.06 * (place - len(METHODS) / 2)
    across, means = [], []
    for at, films in enumerate(ACROSS):
        tests = [
            row["test"]
            for row in sorted(rows, key=lambda row: row["draw"])
            if row["films"] == films and row["test"]
        ]
        if not tests:
            continue
        values = [test[f"{measure}_mean"] for test in tests]
        across.append(at + shift)
        means.append(statistics.mean(values))
        axes.plot([at + shift] * len(values), values, ".", color=colour, markersize=5)
        axes.vlines(at + shift, *tests[0][f"{measure}_interval"], color=colour, linewidth=0.8, alpha=0.6)
    if across:
        axes.plot(across, means, "-", color=colour, label=name, linewidth=1.3)


if __name__ == "__main__":
    main()
