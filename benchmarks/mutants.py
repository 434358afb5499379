"""Would the tests notice? Faults put into the mathematics one by one: `python benchmarks/mutants.py [--seconds 600]`.

Two lists. `faults.py` holds faults that once passed the suite; 150 more are drawn with a seed from every small
change (`mutation.py`) of `lowrank`, `quantize`, `measure` and the preprocessing. Each is put into a copy of the
package, and the tests that concern its module run until the first fails. A fault that none notices has survived:
it needs a test, or the reason in `equivalent_mutants.json` why it changes nothing that can be seen.

Works in pieces: what a run has found is kept line by line in build/mutants.jsonl, and the next goes on. With
`--again` the survivors are tried once more. Results in results/mutants.json. Give it low priority (`nice`): one
process, about three seconds a fault.
"""

import argparse
import hashlib
import importlib
import json
import os
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults import FAULTS
from mutation import mutants_of, with_fault

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "adaloraqat"
JOURNAL = ROOT / "build" / "mutants.jsonl"
RESULT = Path(__file__).parent / "results" / "mutants.json"
EQUIVALENT = Path(__file__).parent / "equivalent_mutants.json"

NUMBER = 150
LIMIT = 60  # seconds of CPU for the tests of one fault; beyond, it hangs, which is noticed
ROOMS = ("lowrank", "quantize", "measure")
SINGLE = ("radiograph/preprocess.py", "radiograph/geometry.py")
TESTS = {
    "lowrank": ("tests/lowrank/test_*.py",),
    "quantize": ("tests/quantize/test_*.py",),
    "measure/statistics": ("tests/measure/statistics/test_*.py",),
    "measure": ("tests/measure/test_*.py",),
    "radiograph": ("tests/radiograph/test_preprocess.py", "tests/radiograph/test_geometry.py"),
}
_HEAVY = (  # imported once, before the fork: half of a test's time
    *(
        "torch",
        "transformers",
        "transformers.models.sam.modeling_sam",
        "peft",
        "safetensors.torch",
        "pydantic",
    ),
    *(
        "scipy.stats",
        "scipy.spatial",
        "scipy.ndimage",
        "skimage.metrics",
        "PIL.Image",
        "yaml",
        "onnxruntime",
        "onnx",
    ),
)


@dataclass(frozen=True)
class Trial:
    """A fault to be tried: `source` is the module with it, `tests` those that ought to notice."""

    name: str
    module: str
    source: str
    tests: tuple[str, ...]


def named() -> list[Trial]:
    """Return the faults by hand.

    Raises:
        SystemExit: the code that a fault changes is not there any more.
    """
    trials = []
    for fault in FAULTS:
        text = (PACKAGE / fault.module).read_text(encoding="utf-8")
        if text.count(fault.before) != 1:
            raise SystemExit(
                f"{fault.name}: {fault.module} holds its code {text.count(fault.before)} times, not once."
            )
        source = text.replace(fault.before, fault.after)
        trials.append(Trial(fault.name, fault.module, source, _files(fault.tests) or tests_of(fault.module)))
    return trials


def drawn(number: int, seed: int) -> tuple[list[Trial], int]:
    """Return the drawn mutants in the order of the draw, and how many there are in all."""
    modules = [
        path.relative_to(PACKAGE).as_posix()
        for room in ROOMS
        for path in sorted((PACKAGE / room).rglob("*.py"))
    ]
    found = [mutant for module in (*modules, *SINGLE) for mutant in mutants_of(PACKAGE, module)]
    chosen = sorted(found, key=lambda mutant: mutant.order(seed))[:number]
    return [Trial(m.name, m.module, with_fault(PACKAGE, m), tests_of(m.module)) for m in chosen], len(found)


def tests_of(module: str) -> tuple[str, ...]:
    """Return the tests that concern a module: its own file, those of its room that name it, then the rest."""
    room = next(TESTS[parent] for parent in _parents(module) if parent in TESTS)
    name = Path(module).stem

    def distance(test: str) -> int:
        if Path(test).name == f"test_{name}.py":
            return 0
        return 1 if re.search(rf"\b{name}\b", (ROOT / test).read_text(encoding="utf-8")) else 2

    return tuple(sorted(_files(room), key=distance))


def _files(patterns: Iterable[str]) -> tuple[str, ...]:
    """Return the files of tests that the patterns stand for, each once, in this order."""
    found = (file for pattern in patterns for file in sorted(ROOT.glob(pattern)))
    return tuple(dict.fromkeys(file.relative_to(ROOT).as_posix() for file in found))


def _parents(module: str) -> Iterable[str]:
    return (parent.as_posix() for parent in Path(module).parents)


class _FirstFailure:
    """A plugin of pytest's: remembers what noticed."""

    test: str | None = None

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and self.test is None:
            self.test = report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed and self.test is None:
            self.test = f"{report.nodeid} (cannot be collected)"


def noticed_by(trial: Trial, copied: Path, limit: float) -> str | None:
    """Return the first test that fails with the fault in the copy of the package; None where all pass."""
    file = copied / "adaloraqat" / trial.module
    whole = file.read_bytes()
    file.write_text(trial.source, encoding="utf-8")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        _run_tests(trial, copied, limit, write)
    os.close(write)
    with os.fdopen(read) as answer:
        text = answer.read()
    _, status = os.waitpid(child, 0)
    file.write_bytes(whole)
    if text:
        return json.loads(text)
    return f"stopped after {limit:g} s" if os.WIFSIGNALED(status) else "the process ended"


def _run_tests(trial: Trial, copied: Path, limit: float, answer: int) -> None:
    code = 1
    try:
        spent = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        resource.setrlimit(resource.RLIMIT_CPU, (int(spent + limit), int(spent + limit) + 5))
        log = os.open(JOURNAL.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.chdir(ROOT)
        os.environ["PYTHONPATH"] = str(copied)
        sys.path.insert(0, str(copied))
        sys.dont_write_bytecode = True
        import pytest

        import adaloraqat

        if Path(adaloraqat.__file__).parents[1] != copied:
            os._exit(code)
        first = _FirstFailure()
        quiet = "ignore::pytest.PytestAssertRewriteWarning"  # of plugins that the imports above brought along
        options = ["-x", "-W", quiet, "-p", "no:cacheprovider", "--hypothesis-seed=0", *trial.tests]
        ended = pytest.main(options, plugins=[first])
        found = first.test or (None if ended == 0 else f"pytest ended with {int(ended)}")
        os.write(answer, json.dumps(found).encode())
        code = 0
    except BaseException:  # nothing may return into the parent's code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--number", type=int, default=NUMBER, help="how many mutants are drawn")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--seconds", type=float, help="stop after this time; the next call goes on")
    parser.add_argument("--again", action="store_true", help="try survivors that are not judged once more")
    parser.add_argument("--only", default="", help="only faults whose name holds this text")
    options = parser.parse_args()
    by_hand, (by_chance, possible) = named(), drawn(options.number, options.seed)
    trials = [trial for trial in (*by_hand, *by_chance) if options.only in trial.name]
    known = read_journal()
    excused = json.loads(EQUIVALENT.read_text(encoding="utf-8")) if EQUIVALENT.exists() else {}
    wanted = [
        trial
        for trial in trials
        if trial.name not in known
        or (options.again and known[trial.name] is None and trial.name not in excused)
    ]
    JOURNAL.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    for name in _HEAVY:
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(PACKAGE, Path(folder, "adaloraqat"), ignore=shutil.ignore_patterns("__pycache__"))
        check_without_fault(wanted, Path(folder), known)
        for place, trial in enumerate(wanted, start=1):
            if options.seconds is not None and time.monotonic() - started > options.seconds:
                break
            known[trial.name] = noticed_by(trial, Path(folder), LIMIT)
            note(trial.name, known[trial.name])
            print(f"{place}/{len(wanted)} {trial.name}\n    {known[trial.name] or 'SURVIVED'}", flush=True)
    if not options.only:
        write_results(by_hand, by_chance, possible, known, excused, options.seed)


def check_without_fault(wanted: list[Trial], copied: Path, known: dict[str, str | None]) -> None:
    """Run all tests of `wanted` on the package as it is, unless that was done with these very files.

    Raises:
        SystemExit: one fails already.
    """
    tests = tuple(dict.fromkeys(test for trial in wanted for test in trial.tests))
    digest = hashlib.sha256()
    for file in (*sorted(PACKAGE.rglob("*.py")), *(ROOT / test for test in tests)):
        digest.update(file.read_bytes())
    name = f"no fault {digest.hexdigest()[:16]}"
    if not tests or name in known:
        return
    whole = (PACKAGE / "errors.py").read_text(encoding="utf-8")
    failing = noticed_by(Trial(name, "errors.py", whole, tests), copied, 20 * LIMIT)
    if failing:
        raise SystemExit(f"Without any fault {failing} fails already: mend that first.")
    note(name, None)


def note(fault: str, test: str | None) -> None:
    """Add a line to the journal."""
    with JOURNAL.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({"fault": fault, "noticed_by": test}) + "\n")


def read_journal() -> dict[str, str | None]:
    """Return {fault: test that noticed it, or None}; a later line counts."""
    if not JOURNAL.exists():
        return {}
    lines = map(json.loads, JOURNAL.read_text(encoding="utf-8").splitlines())
    return {line["fault"]: line["noticed_by"] for line in lines}


def write_results(
    by_hand: list[Trial],
    by_chance: list[Trial],
    possible: int,
    known: dict[str, str | None],
    excused: dict[str, str],
    seed: int,
) -> None:
    """Write results/mutants.json; survivors of earlier results that a test notices now stay in it by name."""
    from machine import machine  # imports the package, which must not be there before the forks

    before = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    tried = [trial.name for trial in by_chance if trial.name in known]
    alive = [name for name in tried if known[name] is None]
    once = dict.fromkeys(
        [*before.get("survived_first", {}), *(survivor["fault"] for survivor in before.get("survivors", []))]
    )
    survivors = [
        {"fault": name, "equivalent": excused[name]}
        if name in excused
        else {"fault": name, "equivalent": None}
        for name in alive
    ]
    document = {
        "command": "python benchmarks/mutants.py",
        "seed": seed,
        "possible": possible,
        "drawn": len(by_chance),
        "tried": len(tried),
        "noticed": len(tried) - len(alive),
        "survivors": survivors,
        "survived_first": {name: known[name] for name in once if known.get(name)},
        "by_hand": {trial.name: known.get(trial.name, "not tried") for trial in by_hand},
        "machine": machine(),
    }
    RESULT.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    unjudged = [survivor["fault"] for survivor in survivors if survivor["equivalent"] is None]
    print(
        f"{len(tried)} of {len(by_chance)} tried, {len(alive)} survived, {len(unjudged)} of them are not judged"
    )
    for name in unjudged:
        print(f"  {name}")


if __name__ == "__main__":
    main()
