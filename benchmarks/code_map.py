"""How large the map of the code is that one has to hold in the head: modules, chains of imports, switches, statements.

    python benchmarks/code_map.py [--source src]              this checkout, printed only
    python benchmarks/code_map.py --commit REV [REV ...]      commits, as git keeps them; writes the result

- Modules are the files of src/adaloraqat; lines are all lines of a file. An `__init__.py` does not count as short.
- The longest chain counts the modules of the longest row in which each imports the next while it is loaded: imports
  inside functions and those for type checkers only are left out.
- A module with one importer is imported by exactly one other module, wherever in it.
- A test of type is an `isinstance` against a stage kind or a film format (a class derived from `Stage`, `_Stage` or
  `Format`); two of them on one value in one function are a ladder.
- Statements are the nodes of the syntax tree that Python calls statements; comments and layout weigh nothing.
- Public docstrings: modules, classes, functions and methods whose names have no leading underscore.

Writes benchmarks/results/code_map.json.
"""

import argparse
import ast
import io
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from statistics import median
from typing import Any

import grimp

ROOT = Path(__file__).parents[1]
PACKAGE = "adaloraqat"
ROOTS = ("Stage", "_Stage", "Format")
SHORT, LONG = 60, 400
WHY = {
    "e35de86b493e": "before the redesign: the parent of 42d5e0f, which records the golden values before anything moves",
    "48e15536f9ac": (
        "right after it: the first commit that has the stage kinds as objects (training/kinds), the rooms evaluate, "
        "report and experiments, radiograph/formats and challenge; the features made beside it are merged later"
    ),
    "2483871a41aa": "before the consolidation: the first parent of 1c1c619, with the same features",
    "1c1c619cc6a5": "after the consolidation: modules merged where a reader gains, at equal features",
    "46df97d79891": "before the second consolidation, with the same features",
    "5443f7b66a59": "after the second consolidation: training/, the way of a film, wrappers and duplicates",
}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def count(source: Path) -> dict[str, Any]:
    """Return the numbers of the package in the folder `source`, which is not imported."""
    trees = {
        path.relative_to(source).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted((source / PACKAGE).rglob("*.py"))
    }
    lines = {name: len((source / name).read_text(encoding="utf-8").splitlines()) for name in trees}
    tests, ladders = _switches(trees)
    documented = [has for name, tree in trees.items() for has in _documented(name, tree)]
    chain, one_importer = _imports(source, trees)
    return {
        "modules": len(trees),
        "median_lines": median(lines.values()),
        "longest_import_chain": len(chain),
        "one_importer": one_importer,
        f"under_{SHORT}_lines": sum(
            n < SHORT and not name.endswith("__init__.py") for name, n in lines.items()
        ),
        f"above_{LONG}_lines": sorted(name for name, n in lines.items() if n > LONG),
        "tests_of_type": tests,
        "ladders": ladders,
        "statements": sum(isinstance(node, ast.stmt) for tree in trees.values() for node in ast.walk(tree)),
        "public_names": len(documented),
        "public_docstrings": round(sum(documented) / len(documented), 4),
        "chain": chain,
        "modules_by_room": dict(sorted(Counter(n.split("/")[1] for n in trees if n.count("/") > 1).items())),
    }


def _imports(source: Path, trees: dict[str, ast.Module]) -> tuple[list[str], int]:
    """Return the longest chain of imports while loading, and how many modules exactly one other imports."""
    sys.path.insert(0, str(source))
    try:
        graph = grimp.build_graph(PACKAGE, cache_dir=None, exclude_type_checking_imports=True)
    finally:
        sys.path.remove(str(source))
    found = {name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): name for name in trees}
    if graph.modules != set(found):
        raise SystemExit(f"the modules found are not those of {source}: is {PACKAGE} imported already?")
    loaded: dict[str, set[str]] = {}
    importers: Counter[str] = Counter()
    for module, name in found.items():
        late = _lines_in_functions(trees[name])
        imported = graph.find_modules_directly_imported_by(module)
        importers.update(imported)
        loaded[module] = {
            other
            for other in imported
            for detail in graph.get_import_details(importer=module, imported=other)
            if detail["line_number"] not in late
        }
    longest: dict[str, list[str]] = {}
    for module in TopologicalSorter(loaded).static_order():
        below = (longest[other] for other in sorted(loaded[module]))
        longest[module] = [module, *max(below, key=len, default=[])]
    return max(sorted(longest.values()), key=len), sum(n == 1 for n in importers.values())


def _lines_in_functions(tree: ast.Module) -> set[int]:
    functions = (node for node in ast.walk(tree) if isinstance(node, Function))
    return {line for node in functions for line in range(node.lineno, (node.end_lineno or 0) + 1)}


def _switches(trees: dict[str, ast.Module]) -> tuple[dict[str, int], list[str]]:
    """Return {file: tests of the type of a stage or format}, and the functions that hold a ladder of them."""
    classes = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    bases = {node.name: {ast.unparse(base).split(".")[-1] for base in node.bases} for node in classes}

    @cache
    def is_kind(name: str) -> bool:
        return name in ROOTS or any(is_kind(base) for base in bases.get(name, ()) if base != name)

    def tested(within: ast.AST) -> Iterator[str]:
        for node in ast.walk(within):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
                subject, types = node.args
                names = (ast.unparse(n) for n in ast.walk(types) if isinstance(n, ast.Name | ast.Attribute))
                if any(is_kind(name.split(".")[-1]) for name in names):
                    yield ast.unparse(subject)

    tests = {name: number for name, tree in trees.items() if (number := len([*tested(tree)]))}
    ladders = [
        f"{name} {node.name}"
        for name in tests
        for node in ast.walk(trees[name])
        if isinstance(node, Function) and max(Counter(tested(node)).values(), default=0) > 1
    ]
    return tests, ladders


def _documented(name: str, tree: ast.Module) -> Iterator[bool]:
    """Yield for each public thing of a module whether it has a docstring; nothing for a private module."""

    def within(node: ast.Module | ast.ClassDef) -> Iterator[bool]:
        yield ast.get_docstring(node) is not None
        for each in node.body:
            if isinstance(each, Function | ast.ClassDef) and not each.name.startswith("_"):
                yield from (
                    within(each) if isinstance(each, ast.ClassDef) else [ast.get_docstring(each) is not None]
                )

    file = Path(name).name
    if not file.startswith("_") or file in ("__init__.py", "__main__.py"):
        yield from within(tree)


def count_commit(revision: str) -> dict[str, Any]:
    """Return a commit's hash, date, subject and numbers; its files are unpacked into a temporary folder."""
    commit, date, subject = _git("log", "-1", "--format=%H%n%cI%n%s", revision).decode().splitlines()
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(_git("archive", commit, f"src/{PACKAGE}"))) as archive:
            archive.extractall(folder, filter="data")
        numbers = count(Path(folder, "src"))
    return {
        "commit": commit,
        "date": date,
        "subject": subject,
        "chosen": WHY.get(commit[:12], revision),
    } | numbers


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", type=Path, default=ROOT / "src", help="the folder that holds the package")
    parser.add_argument("--commit", nargs="+", help="count these commits instead, and write the result")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "code_map.json")
    given = parser.parse_args()
    counted = [count_commit(one) for one in given.commit] if given.commit else [count(given.source.resolve())]
    for numbers in counted:
        print(*(f"{key}: {value}" for key, value in numbers.items()), sep="\n", end="\n\n")
    if given.commit:
        from machine import (
            machine,
        )  # it imports the package, which must not be loaded while others are counted

        from adaloraqat.files import write_json

        command = f"python benchmarks/code_map.py --commit {' '.join(given.commit)}"
        write_json(given.out, {"command": command, "commits": counted, "machine": machine()})


if __name__ == "__main__":
    main()
