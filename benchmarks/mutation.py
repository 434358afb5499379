"""Every small fault that can be put into a module of Python: for `mutants.py`, which draws from them.

A fault (mutant) changes one place of the syntax tree: a comparison, an operator, a constant, a condition, a call
that is not made or is another, an argument or a statement left out. Annotations, docstrings and the texts of
errors are left alone: they compute nothing.
"""

import ast
import copy
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

Kind = str
_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_BUILTINS = (("min", "max"), ("any", "all"))
_METHODS = (
    *(*_BUILTINS, ("minimum", "maximum"), ("floor", "ceil"), ("amin", "amax"), ("argmin", "argmax")),
    *(("zeros", "ones"), ("zeros_like", "ones_like"), ("round", "floor"), ("rint", "floor"), ("mean", "sum")),
)
_OTHER_NAME = {one: other for pair in _BUILTINS for one, other in (pair, pair[::-1])}
_OTHER_METHOD = {one: other for pair in _METHODS for one, other in (pair, pair[::-1])}
_DROPPED_CALLS = frozenset({"abs", "square", "sqrt", "round", "clone", "copy", "detach", "double", "cpu"})


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Attributes:
        module: path of the file below the package, as `quantize/numerics.py`.
        place: qualified name of the class or function that holds it; empty at the top of the module.
        line: of the unchanged file.
        kind: what sort of change it is.
        before, after: the changed part, as source.
        number: from 0, of those that read the same in one place.
        index: its place among the mutants of its module.
    """

    module: str
    place: str
    line: int
    kind: Kind
    before: str
    after: str
    number: int
    index: int

    @property
    def name(self) -> str:
        """What it is known by as long as its own place does not change."""
        ordinal = f" #{self.number + 1}" if self.number else ""
        return f"{self.module} {self.place}: {self.before} -> {self.after}{ordinal}"

    def order(self, seed: int) -> bytes:
        """Where a draw with `seed` puts it: by itself, so that a changed module moves no other's mutants."""
        return hashlib.sha256(f"{seed} {self.name}".encode()).digest()


def mutants_of(package: Path, module: str) -> list[Mutant]:
    """Return every mutant of one module, in the order of the file."""
    seen: dict[tuple[str, str, str], int] = {}
    found = []
    for index, (place, owner, field, at, kind, new) in enumerate(_changes(_tree(package, module))):
        old = getattr(owner, field) if at is None else getattr(owner, field)[at]
        before, after = ast.unparse(old), "" if isinstance(new, ast.Pass) else ast.unparse(new)
        number = seen[place, before, after] = seen.get((place, before, after), -1) + 1
        line = getattr(old, "lineno", 0)
        found.append(Mutant(module, place, line, kind, before, after or "(left out)", number, index))
    return found


def with_fault(package: Path, mutant: Mutant) -> str:
    """Return the source of the mutant's module with the fault in it."""
    tree = _tree(package, mutant.module)
    _, owner, field, at, _, new = next(islice(_changes(tree), mutant.index, None))
    if at is None:
        setattr(owner, field, new)
    else:
        getattr(owner, field)[at] = new
    return ast.unparse(ast.fix_missing_locations(tree))


def _tree(package: Path, module: str) -> ast.Module:
    return ast.parse((package / module).read_text(encoding="utf-8"))


Change = tuple[str, ast.AST, str, int | None, Kind, ast.AST]


def _changes(tree: ast.AST, place: str = "") -> Iterator[Change]:
    """Give every change below `tree`: where it is put, its kind, and the new node."""
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        nodes = value if isinstance(value, list) else [value]
        for index, node in enumerate(nodes):
            if not isinstance(node, ast.AST) or _is_inert(node):
                continue
            at = index if isinstance(value, list) else None
            for kind, new in _variants(node):
                yield place, tree, field, at, kind, new
            if field in ("test", "ifs") and not isinstance(node, ast.Compare | ast.BoolOp | ast.UnaryOp):
                yield place, tree, field, at, "condition", ast.UnaryOp(ast.Not(), node)
            if isinstance(node, ast.Raise):
                continue  # its words
            named = isinstance(node, ast.ClassDef | ast.FunctionDef)
            yield from _changes(node, f"{place}.{node.name}".lstrip(".") if named else place)


def _is_inert(node: ast.AST) -> bool:
    """A docstring, what computes nothing but text, or what only the type checker reads."""
    return (
        isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        or (isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING")
    )


def _variants(node: ast.AST) -> Iterator[tuple[Kind, ast.AST]]:
    """Give (kind, other node) for every way in which this node alone may be wrong."""
    match node:
        case ast.Compare():
            for index, operator in enumerate(node.ops):
                for other in _COMPARISONS[type(operator)]:
                    changed = copy.deepcopy(node)
                    changed.ops[index] = other()
                    yield "comparison", changed
        case ast.BinOp() | ast.AugAssign() if type(node.op) in _ARITHMETIC and not _of_text(node):
            changed = copy.deepcopy(node)
            changed.op = _ARITHMETIC[type(node.op)]()
            yield "arithmetic", changed
        case ast.BoolOp():
            changed = copy.deepcopy(node)
            changed.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield "boolean", changed
            for index in range(len(node.values)):
                kept = [value for number, value in enumerate(node.values) if number != index]
                yield "boolean", kept[0] if len(kept) == 1 else ast.BoolOp(node.op, kept)
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert()):
            yield "sign", node.operand
        case ast.Constant(value=bool() as value):
            yield "constant", ast.Constant(not value)
        case ast.Constant(value=int() as value):
            yield "off by one", ast.Constant(value + 1)
            if value > 0:
                yield "off by one", ast.Constant(value - 1)
        case ast.Constant(value=float() as value):
            yield "constant", ast.Constant(2 * value if value else 1.0)
        case ast.IfExp():
            yield "condition", ast.IfExp(node.test, node.orelse, node.body)
        case ast.Call():
            yield from _other_calls(node)
        case ast.Subscript(slice=ast.Slice() as part):
            for bound in ("lower", "upper", "step"):
                if getattr(part, bound) is not None:
                    changed = copy.deepcopy(node)
                    setattr(changed.slice, bound, None)
                    yield "slice", changed
        case ast.Continue():
            yield "statement", ast.Break()
    if _is_removable(node):
        yield "statement", ast.Pass()


def _other_calls(node: ast.Call) -> Iterator[tuple[Kind, ast.AST]]:
    called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    changed = copy.deepcopy(node)
    if isinstance(changed.func, ast.Name) and called in _OTHER_NAME:
        changed.func.id = _OTHER_NAME[called]
        yield "call", changed
    elif isinstance(changed.func, ast.Attribute) and called in _OTHER_METHOD:
        changed.func.attr = _OTHER_METHOD[called]
        yield "call", changed
    if called in _DROPPED_CALLS:
        if node.args and not node.keywords:
            yield "call", node.args[0]
        elif isinstance(node.func, ast.Attribute) and not node.args:
            yield "call", node.func.value
    for index in range(len(node.keywords) if called[:1].islower() else 0):  # a class would not be made at all
        changed = copy.deepcopy(node)
        del changed.keywords[index]
        yield "argument", changed


def _of_text(node: ast.BinOp | ast.AugAssign) -> bool:
    sides = (node.left, node.right) if isinstance(node, ast.BinOp) else (node.value,)
    return any(
        isinstance(side, ast.JoinedStr) or (isinstance(side, ast.Constant) and isinstance(side.value, str))
        for side in sides
    )


def _is_removable(node: ast.AST) -> bool:
    """A statement whose loss leaves a module that can still be imported."""
    if isinstance(node, ast.Assign):
        return all(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets)
    return isinstance(node, ast.AugAssign | ast.Raise | ast.Delete) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    )
